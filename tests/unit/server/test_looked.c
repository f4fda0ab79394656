// SPDX-License-Identifier: Apache-2.0
// What the loop thread looks at before a call is accepted is bounded by what was received, however
// a call names what the server has: counted in bytes, not by a clock.
#include "tests/unit/server/service_fixture.h"

#include "base/prng.h"
#include "rpc/msg.h"
#include "tests/unit/server/png.h"

#include <criterion/criterion.h>
#include <string.h>

enum { PARTS_MAX = 16, BLOBS = 6, CALLS = 400 };

// A JPEG of 16 x 16 whose headers are as many segments as `bytes` holds, each without a body, and
// which is a picture by them.
static void put_segments(Buffer *out, size_t bytes) {
    static const uint8_t segment[] = {0xFF, 0xE0, 0, 2};
    buffer_append(out, "\xFF\xD8", 2);
    while (bytes >= sizeof segment) {
        buffer_append(out, segment, sizeof segment);
        bytes -= sizeof segment;
    }
    buffer_append(out, "\xFF\xC0\0\x0B\x08\0\x10\0\x10\x01\x01\x11\0\xFF\xDA\0\x02", 17);
    buffer_append(out, "\0\xFF\xD9", 3);
}

// One with EXIF bodies that claim 65,535 entries and have none.
static void put_exif(Buffer *out, size_t bytes) {
    static const uint8_t segment[] = "\xFF\xE1\0\x12"
                                     "Exif\0\0MM\0*\0\0\0\x08\xFF\xFF";
    buffer_append(out, "\xFF\xD8", 2);
    while (bytes >= sizeof segment - 1) {
        buffer_append(out, segment, sizeof segment - 1);
        bytes -= sizeof segment - 1;
    }
}

static void put_zeros(Buffer *out, size_t bytes) {
    buffer_append(out, "\xFF\xD8\xFF", 3);
    while (bytes-- > 0) {
        buffer_append_byte(out, 0);
    }
}

// A PNG of empty chunks.
static void put_chunks(Buffer *out, size_t bytes) {
    static const uint8_t chunk[12] = {0, 0, 0, 0, 't', 'E', 'X', 't', 0, 0, 0, 0};
    uint8_t header[PNG_HEADER_BYTES];
    png_put_header(header, 16, 16);
    buffer_append(out, header, sizeof header);
    while (bytes >= sizeof chunk) {
        buffer_append(out, chunk, sizeof chunk);
        bytes -= sizeof chunk;
    }
}

static void (*const kinds[])(Buffer *, size_t) = {put_segments, put_exif, put_zeros, put_chunks};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

typedef struct Dice {
    uint64_t seed, count;
} Dice;

static uint32_t draw(Dice *dice, uint32_t below) {
    return (uint32_t)(prng_u64(dice->seed, 0, dice->count++) % below);
}

static void put_picture(Buffer *out, Dice *dice, uint32_t bytes_max) {
    kinds[draw(dice, KINDS)](out, draw(dice, bytes_max));
}

static void put_part(Buffer *out, Dice *dice, const Hash128 blobs[BLOBS]) {
    msg_put_map(out, 2);
    msg_pair_word(out, "type", "image");
    if (draw(dice, 4) > 0) {
        char name[33];
        hash128_text(blobs[draw(dice, BLOBS)], name);
        msg_pair_word(out, "blob", name);
        return;
    }
    Buffer picture = {0};
    put_picture(&picture, dice, 400);
    msg_pair_binary(out, "data", (Bytes){picture.data, picture.length});
    buffer_free(&picture);
}

static void put_generate(Buffer *out, Dice *dice, uint32_t id, const Hash128 blobs[BLOBS]) {
    uint32_t parts = 1 + draw(dice, PARTS_MAX);
    msg_put_request(out, id, "generate");
    msg_put_map(out, 2);
    msg_pair_uint(out, "max_tokens",
                  FIXTURE_CONTEXT - 1); // no picture fits, when all were looked at
    msg_put_key(out, "messages");
    msg_put_array(out, 1);
    msg_put_map(out, 2);
    msg_pair_word(out, "role", "user");
    msg_put_key(out, "content");
    msg_put_array(out, parts);
    for (uint32_t i = 0; i < parts; i++) {
        put_part(out, dice, blobs);
    }
}

static void put_blob(Buffer *out, uint32_t id, const Buffer *picture) {
    msg_put_request(out, id, "put_blob");
    msg_put_map(out, 1);
    msg_pair_binary(out, "data", (Bytes){picture->data, picture->length});
}

// Sends `out` as the client would and empties it.
static void deliver(Fixture *fixture, Buffer *out) {
    service_receive(fixture->service, fixture->clients[0].connection,
                    (Bytes){out->data, out->length}, fixture->now_ms);
    out->length = 0;
    Bytes answer;
    do {
        service_turn(fixture->service, fixture->now_ms);
        answer = service_output(fixture->service, fixture->clients[0].connection);
        service_written(fixture->service, fixture->clients[0].connection, answer.length,
                        fixture->now_ms);
    } while (answer.length > 0 || service_has_more(fixture->service));
}

Test(looked, the_bytes_looked_at_are_no_more_than_those_received_however_blobs_are_named) {
    Fixture fixture;
    fixture_open(&fixture, 64, NULL);
    fixture.options.media_max = PARTS_MAX;
    fixture.options.blob_bytes_max = 1 << 20;
    fixture_reopen(&fixture);
    fixture_connect(&fixture, 0, NULL);
    Dice dice = {.seed = 9};
    Buffer out = {0};
    Hash128 blobs[BLOBS];
    uint32_t id = 100;
    for (int i = 0; i < BLOBS; i++) {
        Buffer picture = {0};
        put_segments(&picture, 60000 + (size_t)draw(&dice, 1000) * 4);
        blobs[i] = hash128((Bytes){picture.data, picture.length});
        put_blob(&out, id++, &picture);
        deliver(&fixture, &out);
        buffer_free(&picture);
    }
    for (int i = 0; i < CALLS; i++) {
        put_generate(&out, &dice, id++, blobs);
        deliver(&fixture, &out);
    }
    buffer_free(&out);
    uint64_t looked = metrics_get(fixture.metrics, METRIC_LOOKED_BYTES, 0);
    uint64_t received = metrics_get(fixture.metrics, METRIC_RECEIVED_BYTES, 0);
    cr_expect_gt(looked, 0);
    cr_expect_leq(looked, received, "%llu bytes were looked at, %llu received",
                  (unsigned long long)looked, (unsigned long long)received);
    cr_expect_eq(fixture_stats(&fixture).requests_refused, CALLS);
    cr_expect_eq(fixture_stats(&fixture).blobs, BLOBS);
    fixture_close(&fixture);
}

Test(looked, a_busy_server_refuses_before_it_looks_at_a_picture) {
    Fixture fixture;
    fixture_open(&fixture, 1, NULL);
    fixture_connect(&fixture, 0, NULL);
    fixture_ask(&fixture, 0, "takes the only place", (Bytes){0}, false);
    fixture_event(&fixture, 0, CLIENT_RESULT);
    Buffer picture = {0};
    put_segments(&picture, 2000);
    fixture_ask(&fixture, 0, "?", (Bytes){picture.data, picture.length}, false);
    cr_expect_eq(fixture_event(&fixture, 0, CLIENT_REFUSED).error.status, E_BUSY);
    cr_expect_eq(metrics_get(fixture.metrics, METRIC_LOOKED_BYTES, 0), 0);
    buffer_free(&picture);
    fixture_disconnect(&fixture, 0);
    fixture_prepare(&fixture);
    fixture_close(&fixture);
}

Test(looked, headers_end_where_the_limit_is) {
    const MediaLimits limits = media_limits_default();
    for (int i = 0; i < KINDS; i++) {
        Buffer picture = {0};
        ImageInfo info;
        kinds[i](&picture, 2 * MEDIA_HEADER_BYTES_MAX);
        cr_expect_eq(media_probe((Bytes){picture.data, picture.length}, &limits, &info, NULL),
                     E_IMAGE_TOO_LARGE, "kind %d", i);
        cr_expect_leq(info.looked_at, MEDIA_HEADER_BYTES_MAX + UINT16_MAX);
        buffer_free(&picture);
    }
}

Test(looked, a_client_that_sends_many_calls_leaves_turns_to_others) {
    Fixture fixture;
    fixture_open(&fixture, 8, NULL);
    fixture_connect(&fixture, 0, NULL);
    fixture_connect(&fixture, 1, NULL);
    uint32_t at_once = session_limits_default().calls_at_once, many = 3 * at_once;
    uint64_t before = metrics_get(fixture.metrics, METRIC_CALLS, 0);
    Buffer out = {0};
    for (uint32_t i = 0; i < many; i++) {
        msg_put_request(&out, 100 + i, "health");
        msg_put_map(&out, 0);
    }
    uint32_t connection = fixture.clients[0].connection;
    service_receive(fixture.service, connection, (Bytes){out.data, out.length}, fixture.now_ms);
    cr_expect_eq(metrics_get(fixture.metrics, METRIC_CALLS, 0) - before, at_once);
    cr_expect_not(service_reads(fixture.service, connection));
    cr_expect(service_has_more(fixture.service));
    client_call(fixture.clients[1].client, METHOD_HEALTH);
    Bytes bytes = client_output(fixture.clients[1].client);
    service_receive(fixture.service, fixture.clients[1].connection, bytes, fixture.now_ms);
    cr_expect_gt(service_output(fixture.service, fixture.clients[1].connection).length, 0,
                 "the other is answered meanwhile");
    uint32_t turns = 0;
    while (service_has_more(fixture.service)) {
        service_turn(fixture.service, fixture.now_ms);
        turns++;
    }
    cr_expect_eq(turns, 2);
    cr_expect_eq(metrics_get(fixture.metrics, METRIC_CALLS, 0) - before, many + 1, "none is lost");
    cr_expect(service_reads(fixture.service, connection));
    buffer_free(&out);
    fixture_close(&fixture);
}
