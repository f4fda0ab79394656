// SPDX-License-Identifier: Apache-2.0
// The service by itself: who is let in, whose turn it is, and that every accepted request ends once
// however it ends.
#include "tests/unit/server/bench.h"

#include "host/server/blobs.h"
#include "tests/unit/server/exposition.h"
#include "tests/unit/server/png.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const Bytes no_picture = {0};

static Bytes picture_header(uint32_t width, uint32_t height) {
    static uint8_t bytes[PNG_WITHOUT_PIXELS_BYTES];
    png_put_without_pixels(bytes, width, height);
    return (Bytes){bytes, sizeof bytes};
}

static bool text_is(Bytes text, const char *expected) {
    return bytes_equal(text, bytes_of_text(expected));
}

Test(service, an_answer_from_question_to_done) {
    Bench bench;
    bench_open(&bench, 8, NULL);
    bench_connect(&bench, 0, NULL);
    bench_ask(&bench, 0, "hello", no_picture, true);
    uint64_t stream = bench_event(&bench, 0, CLIENT_RESULT).stream;
    cr_assert_eq(bench.work_count, 1);
    cr_expect_eq(bench.command_count, 0, "nothing is stepped before it is prepared");
    bench_prepare(&bench);
    StepperCommand add = bench_command(&bench, STEPPER_ADD);
    cr_expect_eq(add.sequence->token_count, 1 + 2, "<bos>, and hello by four bytes a token");
    cr_expect_eq(add.sequence->new_tokens_max, 8);
    cr_expect_eq(add.sequence->stop_ids[0], 1);
    bench_token(&bench, add.tag, 41, FINISH_NONE);
    ClientEvent token = bench_event(&bench, 0, CLIENT_TOKEN);
    cr_expect_eq(token.stream, stream);
    cr_expect(text_is(token.piece.text, "<41>"));
    bench_token(&bench, add.tag, 1, FINISH_STOP);
    ClientEvent done = bench_event(&bench, 0, CLIENT_DONE);
    cr_expect_eq(done.stream, stream);
    cr_expect(text_is(done.samples[0].reason, "stop"));
    cr_expect_eq(done.samples[0].token_count, 2);
    cr_expect_eq(done.usage.output_tokens, 2);
    cr_expect_eq(done.usage.prompt_tokens, 3);
    ServerStats stats = bench_stats(&bench);
    cr_expect_eq(stats.requests_accepted, 1);
    cr_expect_eq(stats.requests_finished, 1);
    cr_expect_eq(stats.queued_tokens, 0);
    bench_close(&bench);
}

// Count and seconds of a stage of the metrics page.
static void expect_stage(const Bench *bench, const char *stage, double count, double seconds) {
    static Exposition page;
    Buffer text = {0};
    metrics_text(bench->metrics, &text);
    buffer_append_byte(&text, '\0');
    cr_assert(exposition_read((const char *)text.data, true, &page), "%s", page.fault);
    buffer_free(&text);
    char series[2][80];
    snprintf(series[0], 80, "tessera_stage_seconds_count{stage=\"%s\"}", stage);
    snprintf(series[1], 80, "tessera_stage_seconds_sum{stage=\"%s\"}", stage);
    const ExpositionSample *seen = exposition_find(&page, series[0]);
    const ExpositionSample *took = exposition_find(&page, series[1]);
    cr_assert(seen != NULL && took != NULL, "there is no stage %s", stage);
    cr_expect_eq(seen->value, count, "%s was seen %g times", stage, seen->value);
    cr_expect_float_eq(took->value, seconds, 1e-9, "%s took %g s", stage, took->value);
}

Test(service, a_request_is_seen_once_in_every_stage_of_its_way) {
    Bench bench;
    bench_open(&bench, 8, NULL);
    bench_connect(&bench, 0, NULL);
    bench_ask(&bench, 0, "hello", no_picture, false);
    bench.now_ms += 30;
    bench_prepare(&bench);
    StepperCommand add = bench_command(&bench, STEPPER_ADD);
    bench.now_ms += 200;
    bench_token(&bench, add.tag, 41, FINISH_NONE);
    bench.now_ms += 50;
    bench_token(&bench, add.tag, 1, FINISH_STOP);
    bench_event(&bench, 0, CLIENT_DONE);
    expect_stage(&bench, "receive", 1, 0);
    expect_stage(&bench, "prep", 1, 0.030);
    expect_stage(&bench, "queue", 1, 0);
    expect_stage(&bench, "prefill", 1, 0.200);
    expect_stage(&bench, "send", 3, 0); // of hello, of the acceptance, and done
    bench_close(&bench);
}

Test(service, a_full_house_refuses_before_anything_is_prepared) {
    Bench bench;
    bench_open(&bench, 3, NULL);
    bench_connect(&bench, 0, NULL);
    for (int i = 0; i < 3; i++) {
        bench_ask(&bench, 0, "x", no_picture, false);
        bench_event(&bench, 0, CLIENT_RESULT);
    }
    bench_ask(&bench, 0, "x", no_picture, false);
    ClientEvent refused = bench_event(&bench, 0, CLIENT_REFUSED);
    cr_expect_eq(refused.error.status, E_BUSY);
    cr_expect_gt(refused.retry_after_ms, 0);
    cr_expect_eq(bench.work_count, 2, "as many as there are threads for");
    cr_expect_eq(bench_stats(&bench).requests_refused, 1);
    bench_disconnect(&bench, 0);
    bench_prepare(&bench);
    bench_prepare(&bench);
    cr_expect_eq(bench.command_count, 0, "who is gone is not stepped");
    bench_close(&bench);
}

Test(service, the_queue_is_counted_in_tokens_from_picture_headers) {
    Bench bench;
    bench_open(&bench, 60, NULL); // 1,000 queued tokens
    bench_connect(&bench, 0, NULL);
    uint32_t accepted = 0;
    ClientEvent event;
    for (int i = 0; i < 20; i++) {
        bench_ask(&bench, 0, "?", picture_header(1000, 1000), false);
        cr_assert(bench_has_event(&bench, 0, &event));
        accepted += event.kind == CLIENT_RESULT;
    }
    // 64 patches for a square, 2 around them, and what a conversation adds.
    cr_expect_eq(accepted, 1000 / (64 + 2 + 8 + 16));
    cr_expect_eq(event.error.status, E_BUSY);
    bench_disconnect(&bench, 0);
    bench_prepare(&bench);
    bench_prepare(&bench);
    bench_close(&bench);
}

Test(service, bad_pictures_are_refused_from_their_headers) {
    Bench bench;
    bench_open(&bench, 8, NULL);
    bench_connect(&bench, 0, NULL);
    const struct {
        Bytes picture;
        Status status;
    } cases[] = {
        {picture_header(60000, 60000), E_IMAGE_TOO_LARGE},
        {bytes_of_text("not a picture"), E_IMAGE_FORMAT},
    };
    for (size_t i = 0; i < 2; i++) {
        bench_ask(&bench, 0, "?", cases[i].picture, false);
        cr_expect_eq(bench_event(&bench, 0, CLIENT_REFUSED).error.status, cases[i].status);
    }
    cr_expect_eq(bench.work_count, 0);
    // What only decoding can find ends the accepted stream.
    bench_ask(&bench, 0, "?", picture_header(100, 50), false);
    bench_event(&bench, 0, CLIENT_RESULT);
    bench_prepare(&bench);
    ClientEvent done = bench_event(&bench, 0, CLIENT_DONE);
    cr_expect_eq(done.error.status, E_IMAGE_DAMAGED);
    cr_expect(text_is(done.samples[0].reason, "error"));
    bench_close(&bench);
}

// Where a request is when it is cancelled.
typedef enum Place { WAITING, PREPARING, STEPPING, PLACES } Place;

static void cancelled_at(Place place, bool disconnect) {
    Bench bench;
    bench_open(&bench, 8, NULL);
    bench_connect(&bench, 0, NULL);
    bench_connect(&bench, 1, NULL);
    for (int i = 0; i < (place == WAITING ? 2 : 0); i++) {
        bench_ask(&bench, 1, "occupies a thread", no_picture, false);
    }
    bench_ask(&bench, 0, "x", no_picture, true);
    uint64_t stream = bench_event(&bench, 0, CLIENT_RESULT).stream;
    StepperCommand add = {0};
    if (place == STEPPING) {
        bench_prepare(&bench);
        add = bench_command(&bench, STEPPER_ADD);
        bench_token(&bench, add.tag, 9, FINISH_NONE);
    }
    if (disconnect) {
        bench_disconnect(&bench, 0);
    } else {
        client_cancel(bench.clients[0].client, stream);
        bench_pump(&bench);
    }
    if (place == PREPARING) {
        bench_prepare(&bench);
        cr_expect_eq(bench.command_count, 0);
    }
    if (place == STEPPING) {
        cr_expect_eq(bench_command(&bench, STEPPER_CANCEL).tag, add.tag);
        bench_token(&bench, add.tag, 9, FINISH_NONE); // was on its way
        bench_ended(&bench, add.tag, FINISH_CANCEL, OK);
    }
    if (!disconnect) {
        ClientEvent done = bench_event(&bench, 0, CLIENT_DONE);
        cr_expect(text_is(done.samples[0].reason, "cancel"));
    }
    cr_expect_eq(bench_stats(&bench).requests_cancelled, 1);
    bench_disconnect(&bench, 1);
    while (bench.work_count > 0) {
        bench_prepare(&bench);
    }
    bench_close(&bench);
}

Test(service, a_cancel_ends_a_request_wherever_it_is) {
    for (Place place = WAITING; place < PLACES; place++) {
        cancelled_at(place, false);
    }
}

Test(service, a_disconnect_is_the_same_path) {
    for (Place place = WAITING; place < PLACES; place++) {
        cancelled_at(place, true);
    }
}

Test(service, users_take_turns_on_the_prep_threads) {
    Bench bench;
    char token[USER_TOKEN_TEXT], line[USER_LINE_TEXT], file[USER_LINE_TEXT + 32];
    cr_assert_eq(users_make_token("light", token, line, NULL), OK);
    snprintf(file, sizeof file, "user heavy token=none\n%s\n", line);
    bench_open(&bench, 40, file);
    bench_connect(&bench, 0, NULL);
    bench_connect(&bench, 1, token);
    for (int i = 0; i < 10; i++) {
        bench_ask(&bench, 0, "many", no_picture, false);
    }
    bench_ask(&bench, 1, "one", no_picture, false);
    // Two of the heavy user's were with the threads already; the light user's is next.
    for (int i = 0; i < 3; i++) {
        bench_prepare(&bench);
    }
    uint32_t user[3];
    for (int i = 0; i < 3; i++) {
        user[i] = bench_command(&bench, STEPPER_ADD).sequence->user;
    }
    cr_expect_eq(user[0], 0);
    cr_expect_eq(user[1], 0);
    cr_expect_eq(user[2], 1);
    bench_disconnect(&bench, 0);
    bench_disconnect(&bench, 1);
    for (int i = 0; i < 3; i++) {
        bench_ended(&bench, bench_command(&bench, STEPPER_CANCEL).tag, FINISH_CANCEL, OK);
    }
    while (bench.work_count > 0) {
        bench_prepare(&bench);
    }
    bench_close(&bench);
}

// Turns are of pixels: one user's large pictures do not alternate with another's short texts.
Test(service, a_user_who_brings_much_to_decode_waits_for_those_who_bring_little) {
    Bench bench;
    char token[USER_TOKEN_TEXT], line[USER_LINE_TEXT], file[USER_LINE_TEXT + 32];
    cr_assert_eq(users_make_token("light", token, line, NULL), OK);
    snprintf(file, sizeof file, "user heavy token=none\n%s\n", line);
    bench_open(&bench, 40, file);
    bench_connect(&bench, 0, NULL);
    bench_connect(&bench, 1, token);
    for (int i = 0; i < 4; i++) {
        bench_ask(&bench, 0, "many", picture_header(4000, 3000), false);
    }
    for (int i = 0; i < 6; i++) {
        bench_ask(&bench, 1, "one", no_picture, false);
    }
    char order[16] = "";
    for (int i = 0; bench.work_count > 0; i++) {
        order[i] = bench.works[0]->request->image_count > 0 ? 'P' : 't';
        bench_prepare(&bench);
    }
    cr_expect_str_eq(order, "PPttttttPP", "two were with the threads when the texts came");
    bench_disconnect(&bench, 0);
    bench_disconnect(&bench, 1);
    for (int i = 0; i < 6; i++) {
        bench_command(&bench, STEPPER_ADD);
    }
    for (int i = 0; i < 6; i++) {
        bench_ended(&bench, bench_command(&bench, STEPPER_CANCEL).tag, FINISH_CANCEL, OK);
    }
    bench_close(&bench);
}

Test(service, a_user_with_much_here_leaves_places_to_others) {
    Bench bench;
    char token[USER_TOKEN_TEXT], line[USER_LINE_TEXT], file[USER_LINE_TEXT + 32];
    cr_assert_eq(users_make_token("light", token, line, NULL), OK);
    snprintf(file, sizeof file, "user heavy token=none\n%s\n", line);
    bench_open(&bench, 8, file);
    bench_connect(&bench, 0, NULL);
    bench_connect(&bench, 1, token);
    ClientEvent event;
    for (int i = 0; i < 8; i++) {
        bench_ask(&bench, 0, "many", no_picture, false);
        cr_assert(bench_has_event(&bench, 0, &event));
    }
    cr_expect_eq(event.kind, CLIENT_REFUSED);
    cr_expect_eq(event.error.status, E_USER_BUSY);
    bench_ask(&bench, 1, "one", no_picture, false);
    bench_event(&bench, 1, CLIENT_RESULT);
    bench_disconnect(&bench, 0);
    bench_disconnect(&bench, 1);
    while (bench.work_count > 0) {
        bench_prepare(&bench);
    }
    bench_close(&bench);
}

static uint32_t names_in_stats(Bench *bench, uint32_t client, char names[64]) {
    client_call(bench->clients[client].client, METHOD_STATS);
    bench_pump(bench);
    ClientEvent event = bench_event(bench, client, CLIENT_RESULT);
    ServerStats stats;
    UserRow rows[4];
    uint32_t count = 0;
    cr_assert_eq(client_read_stats(event.result, &stats, rows, 4, &count, NULL), OK);
    names[0] = '\0';
    for (uint32_t i = 0; i < count; i++) {
        snprintf(names + strlen(names), 64 - strlen(names), "%.*s ", (int)rows[i].name.length,
                 (const char *)rows[i].name.data);
    }
    return stats.connections;
}

Test(service, a_user_sees_its_own_row_and_who_may_sees_all) {
    Bench bench;
    char token[USER_TOKEN_TEXT], line[USER_LINE_TEXT], file[USER_LINE_TEXT + 64], names[64];
    cr_assert_eq(users_make_token("admin", token, line, NULL), OK);
    snprintf(file, sizeof file, "user guest token=none\n%s stats=all\n", line);
    bench_open(&bench, 8, file);
    bench_connect(&bench, 0, NULL);
    bench_connect(&bench, 1, token);
    cr_expect_eq(names_in_stats(&bench, 0, names), 2, "the totals are everybody's");
    cr_expect_str_eq(names, "guest ");
    names_in_stats(&bench, 1, names);
    cr_expect_str_eq(names, "guest admin ");
    bench_disconnect(&bench, 0);
    bench_disconnect(&bench, 1);
    bench_close(&bench);
}

Test(service, an_engine_failure_is_told_to_everybody_and_to_health) {
    Bench bench;
    bench_open(&bench, 8, NULL);
    bench_connect(&bench, 0, NULL);
    uint32_t tags[3];
    for (int i = 0; i < 3; i++) {
        bench_ask(&bench, 0, "x", no_picture, false);
        bench_prepare(&bench);
        tags[i] = bench_command(&bench, STEPPER_ADD).tag;
    }
    for (int i = 0; i < 3; i++) {
        bench_ended(&bench, tags[i], FINISH_FAILED, E_DEVICE);
    }
    service_step_report(bench.service, &(StepReport){.failed = true}, bench.now_ms);
    for (int i = 0; i < 3; i++) {
        ClientEvent done = bench_event(&bench, 0, CLIENT_DONE);
        cr_expect_eq(done.error.status, E_DEVICE);
        cr_expect_str_eq(done.error.text, status_text(E_DEVICE), "the catalogue's words only");
    }
    cr_expect_eq(service_health(bench.service), HEALTH_FAILED);
    bench_ask(&bench, 0, "x", no_picture, false);
    cr_expect_eq(bench_event(&bench, 0, CLIENT_REFUSED).error.status, E_DEVICE);
    // What follows, as server.c does it: the goodbye names the same reason, and not a shutdown.
    service_drain(bench.service, bench.now_ms, bench.now_ms + 1000);
    bench_pump(&bench);
    cr_expect_eq(bench_event(&bench, 0, CLIENT_GOODBYE).error.status, E_DEVICE);
    uint32_t other;
    cr_expect_eq(service_connect(bench.service, bench.now_ms, &other, NULL), E_DEVICE);
    bench_close(&bench);
}

Test(service, a_drain_that_takes_too_long_ends_what_is_left) {
    Bench bench;
    bench_open(&bench, 8, NULL);
    bench_connect(&bench, 0, NULL);
    bench_ask(&bench, 0, "x", no_picture, false);
    bench_ask(&bench, 0, "x", no_picture, false);
    bench_ask(&bench, 0, "the third waits", no_picture, false);
    service_drain(bench.service, bench.now_ms, bench.now_ms + 100);
    bench.now_ms += 99;
    service_tick(bench.service, bench.now_ms);
    cr_expect_eq(bench_stats(&bench).requests_failed, 0);
    bench.now_ms += 1;
    service_tick(bench.service, bench.now_ms);
    bench_pump(&bench);
    cr_expect_eq(bench_event(&bench, 0, CLIENT_DONE).error.status, E_DRAIN);
    cr_expect_not(service_drained(bench.service), "two are still with prep threads");
    bench_prepare(&bench);
    bench_prepare(&bench);
    cr_expect_eq(bench_event(&bench, 0, CLIENT_DONE).error.status, E_DRAIN);
    bench.now_ms += 50;
    service_tick(bench.service, bench.now_ms);
    bench_pump(&bench);
    cr_expect_eq(bench_event(&bench, 0, CLIENT_GOODBYE).error.status, E_DRAIN);
    cr_expect(bench.clients[0].closed_by_server);
    bench_close(&bench);
}

Test(service, a_draining_service_says_goodbye_to_the_idle_and_takes_nobody) {
    Bench bench;
    bench_open(&bench, 8, NULL);
    bench_connect(&bench, 0, NULL);
    bench_connect(&bench, 1, NULL);
    bench_ask(&bench, 0, "x", no_picture, false);
    bench_prepare(&bench);
    uint32_t tag = bench_command(&bench, STEPPER_ADD).tag;
    service_drain(bench.service, bench.now_ms, bench.now_ms + 60000);
    bench_pump(&bench);
    cr_expect(bench.clients[1].closed_by_server);
    cr_expect_not(bench.clients[0].closed_by_server);
    uint32_t other;
    cr_expect_eq(service_connect(bench.service, bench.now_ms, &other, NULL), E_DRAIN);
    bench_ask(&bench, 0, "more", no_picture, false);
    cr_expect_eq(bench_event(&bench, 0, CLIENT_REFUSED).error.status, E_DRAIN);
    bench_token(&bench, tag, 1, FINISH_STOP);
    bench_event(&bench, 0, CLIENT_DONE);
    service_tick(bench.service, bench.now_ms);
    bench_pump(&bench);
    bench_event(&bench, 0, CLIENT_GOODBYE);
    bench_close(&bench);
}

Test(service, a_blob_is_its_users_own_and_outlives_the_store_while_it_is_used) {
    Blobs blobs;
    const MediaLimits limits = media_limits_default();
    cr_assert_eq(blobs_open(&blobs, 10000, &limits, 1, NULL), OK);
    uint8_t bytes[3000] = {0};
    Hash128 names[4];
    Blob *held = NULL;
    for (int i = 0; i < 4; i++) {
        bytes[0] = (uint8_t)i;
        Call *call = calloc(1, sizeof *call);
        buffer_append(&call->message, bytes, sizeof bytes);
        call->put_blob.data = (Bytes){call->message.data, call->message.length};
        cr_assert_eq(blobs_put(&blobs, 0, call, &names[i], NULL), OK);
        if (i == 0) {
            cr_expect_null(blobs_hold(&blobs, 1, names[0]), "another user cannot name it");
            held = blobs_hold(&blobs, 0, names[0]);
            cr_assert_not_null(held);
        }
    }
    cr_expect_leq(blobs.bytes, 10000);
    cr_expect_null(blobs_hold(&blobs, 0, names[0]), "forgotten: the longest unused");
    Blob *last = blobs_hold(&blobs, 0, names[3]);
    cr_assert_not_null(last);
    cr_expect_eq(last->data.data[0], 3);
    blobs_drop(&blobs, last);
    cr_expect_eq(held->data.data[0], 0, "still whole for the request that uses it");
    blobs_drop(&blobs, held);
    blobs_close(&blobs);
}
