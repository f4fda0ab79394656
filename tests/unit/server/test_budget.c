// SPDX-License-Identifier: Apache-2.0
// What the server holds for its clients has a sum, which nobody exceeds and no user takes alone:
// messages that never end, pictures of accepted calls, blobs, answers that nobody reads.
#include "tests/unit/server/service_fixture.h"

#include "base/num.h"
#include "host/server/budget.h"
#include "rpc/msg.h"
#include "tests/unit/server/png.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { MIB = 1 << 20, HELD = 16 * MIB, MANY = 40 };

static char file[2 * USER_LINE_TEXT + 64], tokens[2][USER_TOKEN_TEXT];

static void open_two_users(Fixture *fixture) {
    char lines[2][USER_LINE_TEXT];
    cr_assert_eq(users_make_token("alice", tokens[0], lines[0], NULL), OK);
    cr_assert_eq(users_make_token("bob", tokens[1], lines[1], NULL), OK);
    snprintf(file, sizeof file, "%s\n%s\n", lines[0], lines[1]);
    fixture_open(fixture, 64, file);
    fixture->options.connections_max = 4 * MANY;
    fixture->options.held_bytes_max = HELD;
    fixture->options.blob_bytes_max = HELD;
    fixture->options.media_max = 16;
    fixture_reopen(fixture);
}

static uint64_t held(const Fixture *fixture) {
    service_check(fixture->service); // adds up, and is never more than the limit
    return fixture_stats(fixture).held_bytes;
}

// A connection without a client: its bytes are made here.
static uint32_t raw_connect(Fixture *fixture, const char *token) {
    uint32_t connection;
    cr_assert_eq(service_connect(fixture->service, fixture->now_ms, &connection, NULL), OK);
    Buffer out = {0};
    msg_put_request(&out, 1, "hello");
    msg_put_map(&out, 2);
    msg_pair_uint(&out, "version", 1);
    msg_pair_word(&out, "token", token);
    service_receive(fixture->service, connection, (Bytes){out.data, out.length}, fixture->now_ms);
    buffer_free(&out);
    return connection;
}

// The beginning of a blob of 31 MiB, of which `bytes` come.
static void raw_begin(Fixture *fixture, uint32_t connection, size_t bytes) {
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
        service_receive(fixture->service, connection, (Bytes){out.data + at, count},
                        fixture->now_ms);
        cr_assert_leq(held(fixture), HELD);
    }
    free(body);
    buffer_free(&out);
}

Test(budget, messages_that_never_end_leave_room_to_another_user) {
    Fixture fixture;
    open_two_users(&fixture);
    uint32_t connections[MANY];
    fixture_connect(&fixture, 1, tokens[0]);
    for (int i = 0; i < MANY; i++) {
        connections[i] = raw_connect(&fixture, tokens[0]);
        raw_begin(&fixture, connections[i], MIB);
    }
    cr_expect_gt(held(&fixture), HELD / 4, "something was held at all");
    fixture_connect(&fixture, 0, tokens[1]);
    uint8_t *blob = calloc(1, MIB);
    client_put_blob(fixture.clients[0].client, (Bytes){blob, MIB});
    fixture_pump(&fixture);
    fixture_event(&fixture, 0, CLIENT_RESULT);
    // Who holds too much is told so, and when to come again; the connection stays.
    client_put_blob(fixture.clients[1].client, (Bytes){blob, MIB});
    fixture_pump(&fixture);
    ClientEvent refused = fixture_event(&fixture, 1, CLIENT_REFUSED);
    cr_expect_eq(refused.error.status, E_USER_BUSY);
    cr_expect_gt(refused.retry_after_ms, 0);
    client_call(fixture.clients[1].client, METHOD_HEALTH);
    fixture_pump(&fixture);
    fixture_event(&fixture, 1, CLIENT_RESULT);
    free(blob);
    for (int i = 0; i < MANY; i++) {
        service_disconnect(fixture.service, connections[i], fixture.now_ms);
    }
    fixture_close(&fixture);
}

// A PNG of 16 x 16 by its header, and `bytes` behind its end.
static Bytes trailing_picture(size_t bytes) {
    uint8_t *data = calloc(1, PNG_WITHOUT_PIXELS_BYTES + bytes);
    png_put_without_pixels(data, 16, 16);
    return (Bytes){data, PNG_WITHOUT_PIXELS_BYTES + bytes};
}

Test(budget, pictures_of_accepted_calls_count) {
    Fixture fixture;
    open_two_users(&fixture);
    fixture_connect(&fixture, 0, tokens[0]);
    fixture_connect(&fixture, 1, tokens[1]);
    Bytes picture = trailing_picture(MIB);
    ClientEvent event;
    uint32_t accepted = 0, refused = 0;
    for (int i = 0; i < 20; i++) {
        fixture_ask(&fixture, 0, "?", picture, false);
        cr_assert(fixture_has_event(&fixture, 0, &event));
        accepted += event.kind == CLIENT_RESULT;
        refused += event.kind == CLIENT_REFUSED && event.error.status == E_USER_BUSY;
        cr_assert_leq(held(&fixture), HELD);
    }
    cr_expect_gt(accepted, 2);
    cr_expect_eq(accepted + refused, 20);
    fixture_ask(&fixture, 1, "?", picture, false);
    fixture_event(&fixture, 1, CLIENT_RESULT);
    free((void *)(uintptr_t)picture.data);
    fixture_disconnect(&fixture, 0);
    fixture_disconnect(&fixture, 1);
    while (fixture.work_count > 0) {
        fixture_prepare(&fixture);
    }
    cr_expect_lt(held(&fixture), MIB, "given back with the requests");
    fixture_close(&fixture);
}

Test(budget, a_users_own_blobs_make_room_for_the_next) {
    Fixture fixture;
    open_two_users(&fixture);
    fixture_connect(&fixture, 0, tokens[0]);
    uint8_t *blob = calloc(1, MIB);
    for (int i = 0; i < 30; i++) {
        blob[0] = (uint8_t)i;
        client_put_blob(fixture.clients[0].client, (Bytes){blob, MIB});
        fixture_pump(&fixture);
        fixture_event(&fixture, 0, CLIENT_RESULT);
        cr_assert_leq(held(&fixture), HELD);
    }
    cr_expect_lt(fixture_stats(&fixture).blobs, 30);
    cr_expect_gt(fixture_stats(&fixture).blobs, 2);
    free(blob);
    fixture_close(&fixture);
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
