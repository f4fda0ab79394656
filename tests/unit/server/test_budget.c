// SPDX-License-Identifier: Apache-2.0
// What the server holds for its clients has a sum, which nobody exceeds and no user takes alone:
// messages that never end, pictures of accepted calls, blobs, answers that nobody reads.
#include "tests/unit/server/bench.h"

#include "base/num.h"
#include "host/server/budget.h"
#include "rpc/msg.h"
#include "tests/unit/server/png.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { MIB = 1 << 20, HELD = 16 * MIB, MANY = 40 };

static char file[2 * USER_LINE_TEXT + 64], tokens[2][USER_TOKEN_TEXT];

static void open_two_users(Bench *bench) {
    char lines[2][USER_LINE_TEXT];
    cr_assert_eq(users_make_token("alice", tokens[0], lines[0], NULL), OK);
    cr_assert_eq(users_make_token("bob", tokens[1], lines[1], NULL), OK);
    snprintf(file, sizeof file, "%s\n%s\n", lines[0], lines[1]);
    bench_open(bench, 64, file);
    bench->options.connections_max = 4 * MANY;
    bench->options.held_bytes_max = HELD;
    bench->options.blob_bytes_max = HELD;
    bench->options.images_max = 16;
    bench_reopen(bench);
}

static uint64_t held(const Bench *bench) {
    service_check(bench->service); // adds up, and is never more than the limit
    return bench_stats(bench).held_bytes;
}

// A connection without a client: its bytes are made here.
static uint32_t raw_connect(Bench *bench, const char *token) {
    uint32_t connection;
    cr_assert_eq(service_connect(bench->service, bench->now_ms, &connection, NULL), OK);
    Buffer out = {0};
    msg_put_request(&out, 1, "hello");
    msg_put_map(&out, 2);
    msg_pair_uint(&out, "version", 1);
    msg_pair_word(&out, "token", token);
    service_receive(bench->service, connection, (Bytes){out.data, out.length}, bench->now_ms);
    buffer_free(&out);
    return connection;
}

// The beginning of a blob of 31 MiB, of which `bytes` come.
static void raw_begin(Bench *bench, uint32_t connection, size_t bytes) {
    static const uint8_t big[] = {0xc6, 0x01, 0xf0, 0x00, 0x00};
    Buffer out = {0};
    uint8_t *body = calloc(1, bytes);
    msg_put_request(&out, 2, "put_blob");
    msg_put_map(&out, 1);
    msg_put_key(&out, "data");
    buffer_append(&out, big, sizeof big);
    buffer_append(&out, body, bytes);
    for (size_t at = 0; at < out.length; at += 65536) {
        size_t count = num_min(65536, out.length - at);
        service_receive(bench->service, connection, (Bytes){out.data + at, count}, bench->now_ms);
        cr_assert_leq(held(bench), HELD);
    }
    free(body);
    buffer_free(&out);
}

Test(budget, messages_that_never_end_leave_room_to_another_user) {
    Bench bench;
    open_two_users(&bench);
    uint32_t connections[MANY];
    bench_connect(&bench, 1, tokens[0]);
    for (int i = 0; i < MANY; i++) {
        connections[i] = raw_connect(&bench, tokens[0]);
        raw_begin(&bench, connections[i], MIB);
    }
    cr_expect_gt(held(&bench), HELD / 4, "something was held at all");
    bench_connect(&bench, 0, tokens[1]);
    uint8_t *blob = calloc(1, MIB);
    client_put_blob(bench.clients[0].client, (Bytes){blob, MIB});
    bench_pump(&bench);
    bench_event(&bench, 0, CLIENT_RESULT);
    // Who holds too much is told so, and when to come again; the connection stays.
    client_put_blob(bench.clients[1].client, (Bytes){blob, MIB});
    bench_pump(&bench);
    ClientEvent refused = bench_event(&bench, 1, CLIENT_REFUSED);
    cr_expect_eq(refused.error.status, E_USER_BUSY);
    cr_expect_gt(refused.retry_after_ms, 0);
    client_call(bench.clients[1].client, METHOD_HEALTH);
    bench_pump(&bench);
    bench_event(&bench, 1, CLIENT_RESULT);
    free(blob);
    for (int i = 0; i < MANY; i++) {
        service_disconnect(bench.service, connections[i], bench.now_ms);
    }
    bench_close(&bench);
}

// A PNG of 16 x 16 by its header, and `bytes` behind its end.
static Bytes trailing_picture(size_t bytes) {
    uint8_t *data = calloc(1, PNG_WITHOUT_PIXELS_BYTES + bytes);
    png_put_without_pixels(data, 16, 16);
    return (Bytes){data, PNG_WITHOUT_PIXELS_BYTES + bytes};
}

Test(budget, pictures_of_accepted_calls_count) {
    Bench bench;
    open_two_users(&bench);
    bench_connect(&bench, 0, tokens[0]);
    bench_connect(&bench, 1, tokens[1]);
    Bytes picture = trailing_picture(MIB);
    ClientEvent event;
    uint32_t accepted = 0, refused = 0;
    for (int i = 0; i < 20; i++) {
        bench_ask(&bench, 0, "?", picture, false);
        cr_assert(bench_has_event(&bench, 0, &event));
        accepted += event.kind == CLIENT_RESULT;
        refused += event.kind == CLIENT_REFUSED && event.error.status == E_USER_BUSY;
        cr_assert_leq(held(&bench), HELD);
    }
    cr_expect_gt(accepted, 2);
    cr_expect_eq(accepted + refused, 20);
    bench_ask(&bench, 1, "?", picture, false);
    bench_event(&bench, 1, CLIENT_RESULT);
    free((void *)(uintptr_t)picture.data);
    bench_disconnect(&bench, 0);
    bench_disconnect(&bench, 1);
    while (bench.work_count > 0) {
        bench_prepare(&bench);
    }
    cr_expect_lt(held(&bench), MIB, "given back with the requests");
    bench_close(&bench);
}

Test(budget, a_users_own_blobs_make_room_for_the_next) {
    Bench bench;
    open_two_users(&bench);
    bench_connect(&bench, 0, tokens[0]);
    uint8_t *blob = calloc(1, MIB);
    for (int i = 0; i < 30; i++) {
        blob[0] = (uint8_t)i;
        client_put_blob(bench.clients[0].client, (Bytes){blob, MIB});
        bench_pump(&bench);
        bench_event(&bench, 0, CLIENT_RESULT);
        cr_assert_leq(held(&bench), HELD);
    }
    cr_expect_lt(bench_stats(&bench).blobs, 30);
    cr_expect_gt(bench_stats(&bench).blobs, 2);
    free(blob);
    bench_close(&bench);
}

Test(budget, no_purse_has_more_than_is_left_when_others_may_come) {
    Budget *budget = malloc(sizeof *budget);
    budget_open(budget, 1600);
    Purse *alice = budget_purse(budget, 0), *bob = budget_purse(budget, 1);
    cr_expect(purse_take(alice, 750));
    cr_expect_not(purse_take(alice, 1));
    cr_expect_eq(alice->refused, E_USER_BUSY);
    cr_expect(purse_take(bob, 375));
    cr_expect_not(purse_take(bob, 1));
    Purse *stranger = budget_purse(budget, BUDGET_STRANGERS);
    cr_expect(purse_take(stranger, 100), "a part is kept for who comes");
    purse_give(alice, 750);
    cr_expect(purse_take(bob, 100));
    budget_check(budget);
    purse_give(bob, 475);
    budget->alone = true;
    cr_expect(purse_take(bob, 1400));
    cr_expect_not(purse_take(bob, 1));
    cr_expect_eq(bob->refused, E_BUSY);
    budget_check(budget);
    free(budget);
}
