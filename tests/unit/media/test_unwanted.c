// SPDX-License-Identifier: Apache-2.0
// Work on a picture is bounded and can be ended: a flag that is set from outside ends every decoder
// at its next strip of rows, and a JPEG's scans may not go over more coefficients than any picture
// needs. What is counted is work, not time.
#include "media_fixture.h"

#include <criterion/criterion.h>
#include <string.h>

#include "host/media/read.h"

// ---- The flag -----------------------------------------------------------------------------------

static const char *const pictures[] = {
    "jpeg_420.jpg",        "jpeg_gray_progressive.jpg", "png_rgb_8.png", "png_rgb_8_interlaced.png",
    "webp_lossy_rgb.webp", "webp_lossless_rgb.webp",
};
enum { PICTURES = sizeof pictures / sizeof pictures[0] };

static Buffer read_picture(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "files/%s", name);
    return fixture_read(path);
}

Test(unwanted, a_picture_that_nobody_wants_is_not_decoded) {
    const atomic_bool unwanted = true;
    MediaLimits limits = media_limits_default();
    limits.unwanted = &unwanted;
    for (size_t i = 0; i < PICTURES; i++) {
        Buffer file = read_picture(pictures[i]);
        MediaScratch scratch = {0};
        Patches patches = {0};
        Error error;
        cr_expect_eq(media_load(fixture_bytes(&file), &limits, 70, &scratch, &patches, &error),
                     E_CANCELLED, "%s: %s", pictures[i], error.text);
        cr_expect_eq(patches.count, 0);
        patches_free(&patches);
        media_scratch_free(&scratch);
        buffer_free(&file);
    }
}

// A sink that wants no more than it has got.
typedef struct OneStrip {
    RowSink sink;
    atomic_bool unwanted;
    uint32_t pushes, rows;
} OneStrip;

static void push_one(RowSink *sink, const uint8_t *rows, size_t stride, uint32_t first,
                     uint32_t count) {
    OneStrip *one = (OneStrip *)sink;
    (void)rows, (void)stride, (void)first;
    one->pushes++;
    one->rows += count;
    one->unwanted = true;
}

Test(unwanted, no_strip_comes_after_the_one_in_which_it_became_unwanted) {
    static const struct {
        const char *name;
        Status (*read)(Bytes, const ImageInfo *, MediaBuffer *, RowSink *, Error *);
    } cases[] = {{"jpeg_420.jpg", read_jpeg},
                 {"jpeg_gray_progressive.jpg", read_jpeg},
                 {"png_1x40.png", read_png}};
    const MediaLimits limits = media_limits_default();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Buffer file = read_picture(cases[i].name);
        OneStrip one = {.sink = {.push = push_one}};
        one.sink.unwanted = &one.unwanted;
        MediaBuffer work = {0};
        ImageInfo info;
        Error error;
        cr_assert_eq(media_probe(fixture_bytes(&file), &limits, &info, &error), OK);
        cr_assert_gt(info.stored_height, READ_STRIP_ROWS, "%s is one strip", cases[i].name);
        cr_expect_eq(cases[i].read(fixture_bytes(&file), &info, &work, &one.sink, &error),
                     E_CANCELLED, "%s", cases[i].name);
        cr_expect_eq(one.pushes, 1, "%s", cases[i].name);
        cr_expect_eq(one.rows, READ_STRIP_ROWS);
        free(work.data);
        buffer_free(&file);
    }
}

// ---- The budget of a JPEG's scans ---------------------------------------------------------------

static void put_u16(Buffer *out, uint32_t value) {
    const uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    buffer_append(out, bytes, 2);
}

static void put_scan(Buffer *out, uint32_t components, uint8_t first, uint8_t last) {
    put_u16(out, 0xFFDA);
    put_u16(out, 6 + 2 * components);
    buffer_append(out, &(uint8_t){(uint8_t)components}, 1);
    for (uint32_t c = 1; c <= components; c++) {
        buffer_append(out, (uint8_t[2]){(uint8_t)c, 0}, 2);
    }
    buffer_append(out, (uint8_t[3]){first, last, 0}, 3);
}

// A progressive JPEG that is all gray. Its first scan has one bit a block; each of `scans` others
// has 15 bits for 32,767 blocks, so that a file of some bytes asks for much work.
static Buffer make_bomb(uint32_t side, uint32_t components, uint32_t scans) {
    Buffer out = {0};
    put_u16(&out, 0xFFD8);
    put_u16(&out, 0xFFDB), put_u16(&out, 67);
    const uint8_t ones[65] = {0, [1 ... 64] = 1};
    buffer_append(&out, ones, sizeof ones);
    put_u16(&out, 0xFFC2), put_u16(&out, 8 + 3 * components);
    buffer_append(&out, &(uint8_t){8}, 1);
    put_u16(&out, side), put_u16(&out, side);
    buffer_append(&out, &(uint8_t){(uint8_t)components}, 1);
    for (uint32_t c = 1; c <= components; c++) {
        buffer_append(&out, (uint8_t[3]){(uint8_t)c, 0x11, 0}, 3);
    }
    for (uint8_t class = 0; class <= 1; class ++) { // one code: '0' is 0, and a run of 2^14 blocks
        put_u16(&out, 0xFFC4), put_u16(&out, 20);
        buffer_append(&out, (uint8_t[18]){(uint8_t)(class << 4), 1, [17] = class ? 0xE0 : 0}, 18);
    }
    size_t blocks = (size_t)(side / 8) * (side / 8);
    put_scan(&out, components, 0, 0);
    for (size_t i = 0; i < (blocks * components + 7) / 8; i++) {
        buffer_append(&out, "", 1);
    }
    for (uint32_t i = 0; i < scans; i++) {
        put_scan(&out, 1, 1, 63);
        for (size_t at = 0; at < blocks;
             at += 16384) { // 15 zeros: a run of 16,384; filled with a 1
            buffer_append(&out, (uint8_t[2]){0, 0}, 2);
        }
    }
    put_u16(&out, 0xFFD9);
    return out;
}

Test(unwanted, scans_may_go_over_no_more_coefficients_than_a_picture_at_the_limit_needs) {
    static const struct {
        uint32_t side, components, scans;
        bool refused;
    } cases[] = {
        {2048, 1, 190, false}, {4096, 1, 110, false}, {4096, 1, 125, true}, {8192, 1, 27, false},
        {8192, 1, 31, true},   {4096, 3, 110, false}, {4096, 3, 125, true},
    };
    const MediaLimits limits = media_limits_default();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Buffer file = make_bomb(cases[i].side, cases[i].components, cases[i].scans);
        MediaScratch scratch = {0};
        Patches patches = {0};
        Error error = {0};
        Status status = media_load(fixture_bytes(&file), &limits, 70, &scratch, &patches, &error);
        cr_expect_eq(status, cases[i].refused ? E_IMAGE_TOO_LARGE : OK, "%u, %u scans: %s",
                     cases[i].side, cases[i].scans, error.text);
        cr_expect_eq(strstr(error.text, "fewer scans") != NULL, cases[i].refused, "%s", error.text);
        patches_free(&patches);
        media_scratch_free(&scratch);
        buffer_free(&file);
    }
}
