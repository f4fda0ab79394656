// SPDX-License-Identifier: Apache-2.0
// The service by itself: who is let in, whose turn it is, and that every accepted request ends once
// however it ends.
#include "tests/unit/server/service_fixture.h"

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
    Fixture fixture;
    fixture_open(&fixture, 8, NULL);
    fixture_connect(&fixture, 0, NULL);
    fixture_ask(&fixture, 0, "hello", no_picture, true);
    uint64_t stream = fixture_event(&fixture, 0, CLIENT_RESULT).stream;
    cr_assert_eq(fixture.work_count, 1);
    cr_expect_eq(fixture.command_count, 0, "nothing is stepped before it is prepared");
    fixture_prepare(&fixture);
    StepperCommand add = fixture_command(&fixture, STEPPER_ADD);
    cr_expect_eq(add.sequence->token_count, 1 + 2, "<bos>, and hello by four bytes a token");
    cr_expect_eq(add.sequence->new_tokens_max, 8);
    cr_expect_eq(add.sequence->stop_ids[0], 1);
    fixture_token(&fixture, add.tag, 41, FINISH_NONE);
    ClientEvent token = fixture_event(&fixture, 0, CLIENT_TOKEN);
    cr_expect_eq(token.stream, stream);
    cr_expect(text_is(token.piece.text, "<41>"));
    fixture_token(&fixture, add.tag, 1, FINISH_STOP);
    ClientEvent done = fixture_event(&fixture, 0, CLIENT_DONE);
    cr_expect_eq(done.stream, stream);
    cr_expect(text_is(done.samples[0].reason, "stop"));
    cr_expect_eq(done.samples[0].token_count, 2);
    cr_expect_eq(done.usage.output_tokens, 2);
    cr_expect_eq(done.usage.prompt_tokens, 3);
    ServerStats stats = fixture_stats(&fixture);
    cr_expect_eq(stats.requests_accepted, 1);
    cr_expect_eq(stats.requests_finished, 1);
    cr_expect_eq(stats.queued_tokens, 0);
    fixture_close(&fixture);
}

// Count and seconds of a stage of the metrics page.
static void expect_stage(const Fixture *fixture, const char *stage, double count, double seconds) {
    static Exposition page;
    Buffer text = {0};
    metrics_text(fixture->metrics, &text);
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
    Fixture fixture;
    fixture_open(&fixture, 8, NULL);
    fixture_connect(&fixture, 0, NULL);
    fixture_ask(&fixture, 0, "hello", no_picture, false);
    fixture.now_ms += 30;
    fixture_prepare(&fixture);
    StepperCommand add = fixture_command(&fixture, STEPPER_ADD);
    fixture.now_ms += 200;
    fixture_token(&fixture, add.tag, 41, FINISH_NONE);
    fixture.now_ms += 50;
    fixture_token(&fixture, add.tag, 1, FINISH_STOP);
    fixture_event(&fixture, 0, CLIENT_DONE);
    expect_stage(&fixture, "receive", 1, 0);
    expect_stage(&fixture, "prep", 1, 0.030);
    expect_stage(&fixture, "queue", 1, 0);
    expect_stage(&fixture, "prefill", 1, 0.200);
    expect_stage(&fixture, "send", 3, 0); // of hello, of the acceptance, and done
    fixture_close(&fixture);
}

Test(service, a_full_house_refuses_before_anything_is_prepared) {
    Fixture fixture;
    fixture_open(&fixture, 3, NULL);
    fixture_connect(&fixture, 0, NULL);
    for (int i = 0; i < 3; i++) {
        fixture_ask(&fixture, 0, "x", no_picture, false);
        fixture_event(&fixture, 0, CLIENT_RESULT);
    }
    fixture_ask(&fixture, 0, "x", no_picture, false);
    ClientEvent refused = fixture_event(&fixture, 0, CLIENT_REFUSED);
    cr_expect_eq(refused.error.status, E_BUSY);
    cr_expect_gt(refused.retry_after_ms, 0);
    cr_expect_eq(fixture.work_count, 2, "as many as there are threads for");
    cr_expect_eq(fixture_stats(&fixture).requests_refused, 1);
    fixture_disconnect(&fixture, 0);
    fixture_prepare(&fixture);
    fixture_prepare(&fixture);
    cr_expect_eq(fixture.command_count, 0, "who is gone is not stepped");
    fixture_close(&fixture);
}

Test(service, the_queue_is_counted_in_tokens_from_picture_headers) {
    Fixture fixture;
    fixture_open(&fixture, 60, NULL); // 1,000 queued tokens
    fixture_connect(&fixture, 0, NULL);
    uint32_t accepted = 0;
    ClientEvent event;
    for (int i = 0; i < 20; i++) {
        fixture_ask(&fixture, 0, "?", picture_header(1000, 1000), false);
        cr_assert(fixture_has_event(&fixture, 0, &event));
        accepted += event.kind == CLIENT_RESULT;
    }
    // 64 patches for a square, 2 around them, and what a conversation adds.
    cr_expect_eq(accepted, 1000 / (64 + 2 + 8 + 16));
    cr_expect_eq(event.error.status, E_BUSY);
    fixture_disconnect(&fixture, 0);
    fixture_prepare(&fixture);
    fixture_prepare(&fixture);
    fixture_close(&fixture);
}

Test(service, bad_pictures_are_refused_from_their_headers) {
    Fixture fixture;
    fixture_open(&fixture, 8, NULL);
    fixture_connect(&fixture, 0, NULL);
    const struct {
        Bytes picture;
        Status status;
    } cases[] = {
        {picture_header(60000, 60000), E_IMAGE_TOO_LARGE},
        {bytes_of_text("not a picture"), E_IMAGE_FORMAT},
    };
    for (size_t i = 0; i < 2; i++) {
        fixture_ask(&fixture, 0, "?", cases[i].picture, false);
        cr_expect_eq(fixture_event(&fixture, 0, CLIENT_REFUSED).error.status, cases[i].status);
    }
    cr_expect_eq(fixture.work_count, 0);
    // What only decoding can find ends the accepted stream.
    fixture_ask(&fixture, 0, "?", picture_header(100, 50), false);
    fixture_event(&fixture, 0, CLIENT_RESULT);
    fixture_prepare(&fixture);
    ClientEvent done = fixture_event(&fixture, 0, CLIENT_DONE);
    cr_expect_eq(done.error.status, E_IMAGE_DAMAGED);
    cr_expect(text_is(done.samples[0].reason, "error"));
    fixture_close(&fixture);
}

// Where a request is when it is cancelled.
typedef enum Place { WAITING, PREPARING, STEPPING, PLACES } Place;

static void cancelled_at(Place place, bool disconnect) {
    Fixture fixture;
    fixture_open(&fixture, 8, NULL);
    fixture_connect(&fixture, 0, NULL);
    fixture_connect(&fixture, 1, NULL);
    for (int i = 0; i < (place == WAITING ? 2 : 0); i++) {
        fixture_ask(&fixture, 1, "occupies a thread", no_picture, false);
    }
    fixture_ask(&fixture, 0, "x", no_picture, true);
    uint64_t stream = fixture_event(&fixture, 0, CLIENT_RESULT).stream;
    StepperCommand add = {0};
    if (place == STEPPING) {
        fixture_prepare(&fixture);
        add = fixture_command(&fixture, STEPPER_ADD);
        fixture_token(&fixture, add.tag, 9, FINISH_NONE);
    }
    if (disconnect) {
        fixture_disconnect(&fixture, 0);
    } else {
        client_cancel(fixture.clients[0].client, stream);
        fixture_pump(&fixture);
    }
    if (place == PREPARING) {
        fixture_prepare(&fixture);
        cr_expect_eq(fixture.command_count, 0);
    }
    if (place == STEPPING) {
        cr_expect_eq(fixture_command(&fixture, STEPPER_CANCEL).tag, add.tag);
        fixture_token(&fixture, add.tag, 9, FINISH_NONE); // was on its way
        fixture_ended(&fixture, add.tag, FINISH_CANCEL, OK);
    }
    if (!disconnect) {
        ClientEvent done = fixture_event(&fixture, 0, CLIENT_DONE);
        cr_expect(text_is(done.samples[0].reason, "cancel"));
    }
    cr_expect_eq(fixture_stats(&fixture).requests_cancelled, 1);
    fixture_disconnect(&fixture, 1);
    while (fixture.work_count > 0) {
        fixture_prepare(&fixture);
    }
    fixture_close(&fixture);
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
    Fixture fixture;
    char token[USER_TOKEN_TEXT], line[USER_LINE_TEXT], file[USER_LINE_TEXT + 32];
    cr_assert_eq(users_make_token("light", token, line, NULL), OK);
    snprintf(file, sizeof file, "user heavy token=none\n%s\n", line);
    fixture_open(&fixture, 40, file);
    fixture_connect(&fixture, 0, NULL);
    fixture_connect(&fixture, 1, token);
    for (int i = 0; i < 10; i++) {
        fixture_ask(&fixture, 0, "many", no_picture, false);
    }
    fixture_ask(&fixture, 1, "one", no_picture, false);
    // Two of the heavy user's were with the threads already; the light user's is next.
    for (int i = 0; i < 3; i++) {
        fixture_prepare(&fixture);
    }
    uint32_t user[3];
    for (int i = 0; i < 3; i++) {
        user[i] = fixture_command(&fixture, STEPPER_ADD).sequence->user;
    }
    cr_expect_eq(user[0], 0);
    cr_expect_eq(user[1], 0);
    cr_expect_eq(user[2], 1);
    fixture_disconnect(&fixture, 0);
    fixture_disconnect(&fixture, 1);
    for (int i = 0; i < 3; i++) {
        fixture_ended(&fixture, fixture_command(&fixture, STEPPER_CANCEL).tag, FINISH_CANCEL, OK);
    }
    while (fixture.work_count > 0) {
        fixture_prepare(&fixture);
    }
    fixture_close(&fixture);
}

// Turns are of pixels: one user's large pictures do not alternate with another's short texts.
Test(service, a_user_who_brings_much_to_decode_waits_for_those_who_bring_little) {
    Fixture fixture;
    char token[USER_TOKEN_TEXT], line[USER_LINE_TEXT], file[USER_LINE_TEXT + 32];
    cr_assert_eq(users_make_token("light", token, line, NULL), OK);
    snprintf(file, sizeof file, "user heavy token=none\n%s\n", line);
    fixture_open(&fixture, 40, file);
    fixture_connect(&fixture, 0, NULL);
    fixture_connect(&fixture, 1, token);
    for (int i = 0; i < 4; i++) {
        fixture_ask(&fixture, 0, "many", picture_header(4000, 3000), false);
    }
    for (int i = 0; i < 6; i++) {
        fixture_ask(&fixture, 1, "one", no_picture, false);
    }
    char order[16] = "";
    for (int i = 0; fixture.work_count > 0; i++) {
        order[i] = fixture.works[0]->request->source_count > 0 ? 'P' : 't';
        fixture_prepare(&fixture);
    }
    cr_expect_str_eq(order, "PPttttttPP", "two were with the threads when the texts came");
    fixture_disconnect(&fixture, 0);
    fixture_disconnect(&fixture, 1);
    for (int i = 0; i < 6; i++) {
        fixture_command(&fixture, STEPPER_ADD);
    }
    for (int i = 0; i < 6; i++) {
        fixture_ended(&fixture, fixture_command(&fixture, STEPPER_CANCEL).tag, FINISH_CANCEL, OK);
    }
    fixture_close(&fixture);
}

Test(service, a_user_with_much_here_leaves_places_to_others) {
    Fixture fixture;
    char token[USER_TOKEN_TEXT], line[USER_LINE_TEXT], file[USER_LINE_TEXT + 32];
    cr_assert_eq(users_make_token("light", token, line, NULL), OK);
    snprintf(file, sizeof file, "user heavy token=none\n%s\n", line);
    fixture_open(&fixture, 8, file);
    fixture_connect(&fixture, 0, NULL);
    fixture_connect(&fixture, 1, token);
    ClientEvent event;
    for (int i = 0; i < 8; i++) {
        fixture_ask(&fixture, 0, "many", no_picture, false);
        cr_assert(fixture_has_event(&fixture, 0, &event));
    }
    cr_expect_eq(event.kind, CLIENT_REFUSED);
    cr_expect_eq(event.error.status, E_USER_BUSY);
    fixture_ask(&fixture, 1, "one", no_picture, false);
    fixture_event(&fixture, 1, CLIENT_RESULT);
    fixture_disconnect(&fixture, 0);
    fixture_disconnect(&fixture, 1);
    while (fixture.work_count > 0) {
        fixture_prepare(&fixture);
    }
    fixture_close(&fixture);
}

static uint32_t names_in_stats(Fixture *fixture, uint32_t client, char names[64]) {
    client_call(fixture->clients[client].client, METHOD_STATS);
    fixture_pump(fixture);
    ClientEvent event = fixture_event(fixture, client, CLIENT_RESULT);
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
    Fixture fixture;
    char token[USER_TOKEN_TEXT], line[USER_LINE_TEXT], file[USER_LINE_TEXT + 64], names[64];
    cr_assert_eq(users_make_token("admin", token, line, NULL), OK);
    snprintf(file, sizeof file, "user guest token=none\n%s stats=all\n", line);
    fixture_open(&fixture, 8, file);
    fixture_connect(&fixture, 0, NULL);
    fixture_connect(&fixture, 1, token);
    cr_expect_eq(names_in_stats(&fixture, 0, names), 2, "the totals are everybody's");
    cr_expect_str_eq(names, "guest ");
    names_in_stats(&fixture, 1, names);
    cr_expect_str_eq(names, "guest admin ");
    fixture_disconnect(&fixture, 0);
    fixture_disconnect(&fixture, 1);
    fixture_close(&fixture);
}

Test(service, an_engine_failure_is_told_to_everybody_and_to_health) {
    Fixture fixture;
    fixture_open(&fixture, 8, NULL);
    fixture_connect(&fixture, 0, NULL);
    uint32_t tags[3];
    for (int i = 0; i < 3; i++) {
        fixture_ask(&fixture, 0, "x", no_picture, false);
        fixture_prepare(&fixture);
        tags[i] = fixture_command(&fixture, STEPPER_ADD).tag;
    }
    for (int i = 0; i < 3; i++) {
        fixture_ended(&fixture, tags[i], FINISH_FAILED, E_DEVICE);
    }
    service_step_report(fixture.service, &(StepReport){.failed = true}, fixture.now_ms);
    for (int i = 0; i < 3; i++) {
        ClientEvent done = fixture_event(&fixture, 0, CLIENT_DONE);
        cr_expect_eq(done.error.status, E_DEVICE);
        cr_expect_str_eq(done.error.text, status_text(E_DEVICE), "the catalogue's words only");
    }
    cr_expect_eq(service_health(fixture.service), HEALTH_FAILED);
    fixture_ask(&fixture, 0, "x", no_picture, false);
    cr_expect_eq(fixture_event(&fixture, 0, CLIENT_REFUSED).error.status, E_DEVICE);
    // What follows, as server.c does it: the goodbye names the same reason, and not a shutdown.
    service_drain(fixture.service, fixture.now_ms, fixture.now_ms + 1000);
    fixture_pump(&fixture);
    cr_expect_eq(fixture_event(&fixture, 0, CLIENT_GOODBYE).error.status, E_DEVICE);
    uint32_t other;
    cr_expect_eq(service_connect(fixture.service, fixture.now_ms, &other, NULL), E_DEVICE);
    fixture_close(&fixture);
}

Test(service, a_drain_that_takes_too_long_ends_what_is_left) {
    Fixture fixture;
    fixture_open(&fixture, 8, NULL);
    fixture_connect(&fixture, 0, NULL);
    fixture_ask(&fixture, 0, "x", no_picture, false);
    fixture_ask(&fixture, 0, "x", no_picture, false);
    fixture_ask(&fixture, 0, "the third waits", no_picture, false);
    service_drain(fixture.service, fixture.now_ms, fixture.now_ms + 100);
    fixture.now_ms += 99;
    service_tick(fixture.service, fixture.now_ms);
    cr_expect_eq(fixture_stats(&fixture).requests_failed, 0);
    fixture.now_ms += 1;
    service_tick(fixture.service, fixture.now_ms);
    fixture_pump(&fixture);
    cr_expect_eq(fixture_event(&fixture, 0, CLIENT_DONE).error.status, E_DRAIN);
    cr_expect_not(service_drained(fixture.service), "two are still with prep threads");
    fixture_prepare(&fixture);
    fixture_prepare(&fixture);
    cr_expect_eq(fixture_event(&fixture, 0, CLIENT_DONE).error.status, E_DRAIN);
    fixture.now_ms += 50;
    service_tick(fixture.service, fixture.now_ms);
    fixture_pump(&fixture);
    cr_expect_eq(fixture_event(&fixture, 0, CLIENT_GOODBYE).error.status, E_DRAIN);
    cr_expect(fixture.clients[0].closed_by_server);
    fixture_close(&fixture);
}

Test(service, a_draining_service_says_goodbye_to_the_idle_and_takes_nobody) {
    Fixture fixture;
    fixture_open(&fixture, 8, NULL);
    fixture_connect(&fixture, 0, NULL);
    fixture_connect(&fixture, 1, NULL);
    fixture_ask(&fixture, 0, "x", no_picture, false);
    fixture_prepare(&fixture);
    uint32_t tag = fixture_command(&fixture, STEPPER_ADD).tag;
    service_drain(fixture.service, fixture.now_ms, fixture.now_ms + 60000);
    fixture_pump(&fixture);
    cr_expect(fixture.clients[1].closed_by_server);
    cr_expect_not(fixture.clients[0].closed_by_server);
    uint32_t other;
    cr_expect_eq(service_connect(fixture.service, fixture.now_ms, &other, NULL), E_DRAIN);
    fixture_ask(&fixture, 0, "more", no_picture, false);
    cr_expect_eq(fixture_event(&fixture, 0, CLIENT_REFUSED).error.status, E_DRAIN);
    fixture_token(&fixture, tag, 1, FINISH_STOP);
    fixture_event(&fixture, 0, CLIENT_DONE);
    service_tick(fixture.service, fixture.now_ms);
    fixture_pump(&fixture);
    fixture_event(&fixture, 0, CLIENT_GOODBYE);
    fixture_close(&fixture);
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
