// SPDX-License-Identifier: Apache-2.0
// media_probe and media_decode: every form of the three formats gives the pixels of Pillow's
// open + exif_transpose + convert("RGB"), bit for bit; everything else gives the right error.
#include "media_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static const MediaLimits no_limits = {UINT64_MAX, UINT64_MAX, UINT32_MAX, NULL};

static Buffer read_picture(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "files/%s", name);
    return fixture_read(path);
}

Test(decode, equals_pillow_on_every_form) {
    json_t *root = fixture_expected();
    json_t *rows = json_object_get(root, "decode"), *row;
    cr_assert_geq(json_array_size(rows), 80);
    MediaLimits limits = media_limits_default();
    Image image = {0}; // used again from file to file
    size_t i;
    json_array_foreach(rows, i, row) {
        const char *name = fixture_text(row, "file");
        Buffer file = read_picture(name);
        ImageInfo info;
        Error error;
        cr_assert_eq(media_probe(fixture_bytes(&file), &limits, &info, &error), OK, "%s: %s", name,
                     error.text);
        cr_assert_eq(media_decode(fixture_bytes(&file), &limits, &image, &error), OK, "%s: %s",
                     name, error.text);
        cr_expect_eq(info.orientation, fixture_number(row, "orientation"), "%s", name);
        cr_expect_eq(info.width, fixture_number(row, "width"), "%s", name);
        cr_expect_eq(info.height, fixture_number(row, "height"), "%s", name);
        cr_assert(image.width == info.width && image.height == info.height, "%s", name);
        uint64_t print =
            fixture_fingerprint(image.pixels.data, (size_t)image.width * image.height * 3);
        cr_expect_eq(print, fixture_hex(row, "fingerprint"), "%s: other pixels", name);
        buffer_free(&file);
    }
    image_free(&image);
    json_decref(root);
}

// Every fixture is cut at 64 places and before its last byte. Nothing of it may pass.
Test(decode, a_cut_file_is_damaged_wherever_it_is_cut) {
    json_t *root = fixture_expected();
    json_t *rows = json_object_get(root, "decode"), *row;
    Image image = {0};
    size_t i;
    json_array_foreach(rows, i, row) {
        const char *name = fixture_text(row, "file");
        Buffer file = read_picture(name);
        for (size_t part = 0; part <= 64; part++) {
            size_t length = part < 64 ? file.length * part / 64 : file.length - 1;
            // A copy of its own, so that a sanitizer sees any read behind the cut.
            Buffer cut = {0};
            buffer_append(&cut, file.data, length);
            Error error;
            Status status = media_decode(fixture_bytes(&cut), &no_limits, &image, &error);
            // Shorter than the signature, it cannot be told from any other file.
            cr_assert_eq(status, length < 12 ? status : E_IMAGE_DAMAGED,
                         "%s cut to %zu of %zu bytes: %s", name, length, file.length,
                         status_name(status));
            cr_assert_neq(status, OK);
            cr_assert_eq(image.width, 0);
            buffer_free(&cut);
        }
        buffer_free(&file);
    }
    image_free(&image);
    json_decref(root);
}

Test(decode, other_files_are_named_for_what_they_are) {
    static const struct {
        const char *bytes;
        size_t length;
        const char *word;
    } cases[] = {
        {"", 0, "empty"},
        {"GIF89a\1\0\1\0", 10, "GIF"},
        {"BM\0\0\0\0\0\0\0\0\0\0", 12, "BMP"},
        {"II*\0\10\0\0\0", 8, "TIFF"},
        {"\0\0\0\x1c"
         "ftypavif",
         12, "AVIF"},
        {"%PDF-1.7\n", 9, "PDF"},
        {"Dear reader,\nthis is a letter.\n", 31, "text"},
        {"\x7f"
         "ELF\2\1\1\0\0\0\0\0",
         12, "something else"},
        {"RIFF\x10\0\0\0WAVEfmt ", 16, "something else"},
        {"\xff\xd8", 2, "something else"},
    };
    MediaLimits limits = media_limits_default();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Bytes file = {(const uint8_t *)cases[i].bytes, cases[i].length};
        ImageInfo info;
        Error error;
        cr_expect_eq(media_probe(file, &limits, &info, &error), E_IMAGE_FORMAT);
        cr_expect(strstr(error.text, cases[i].word) != NULL, "'%s' lacks '%s'", error.text,
                  cases[i].word);
    }
}

static void put_big_u32(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static const uint8_t *find(const Buffer *file, const char *bytes, size_t length) {
    const uint8_t *at = memmem(file->data, file->length, bytes, length);
    cr_assert_not_null(at);
    return at;
}

// Small files that declare the largest sizes their formats can write down.
Test(decode, huge_declared_sizes_are_refused_from_the_header) {
    MediaLimits limits = media_limits_default();
    Image image = {0};
    Error error;

    Buffer png = read_picture("png_rgb_8.png");
    put_big_u32(png.data + 16, 0x7FFFFFFF);
    put_big_u32(png.data + 20, 0x7FFFFFFF);
    cr_expect_eq(media_decode(fixture_bytes(&png), &limits, &image, &error), E_IMAGE_TOO_LARGE);
    cr_expect(strstr(error.text, "2147483647") != NULL && strstr(error.text, "65535") != NULL, "%s",
              error.text);
    put_big_u32(png.data + 16, 65535);
    put_big_u32(png.data + 20, 65535);
    cr_expect_eq(media_decode(fixture_bytes(&png), &limits, &image, &error), E_IMAGE_TOO_LARGE);
    cr_expect(strstr(error.text, "4294836225") != NULL, "%s", error.text);

    Buffer jpeg = read_picture("jpeg_420.jpg");
    uint8_t *frame = jpeg.data + (find(&jpeg, "\xff\xc0\0\x11\x08", 5) - jpeg.data);
    memset(frame + 5, 0xFF, 4);
    cr_expect_eq(media_decode(fixture_bytes(&jpeg), &limits, &image, &error), E_IMAGE_TOO_LARGE);

    Buffer webp = read_picture("webp_animated_lossy.webp");
    memset(webp.data + 24, 0xFF, 6); // the canvas of the VP8X chunk: 16777216 squared
    cr_expect_eq(media_decode(fixture_bytes(&webp), &limits, &image, &error), E_IMAGE_TOO_LARGE);
    cr_expect_eq(image.pixels.capacity, 0, "memory was taken before the limits were checked");

    buffer_free(&png);
    buffer_free(&jpeg);
    buffer_free(&webp);
}

Test(decode, each_limit_is_exact_and_named) {
    Buffer file = read_picture("jpeg_420.jpg"); // 61 x 47
    ImageInfo info;
    Error error;
    MediaLimits limits = {.file_bytes_max = file.length, .pixels_max = 61 * 47, .side_max = 61};
    cr_expect_eq(media_probe(fixture_bytes(&file), &limits, &info, &error), OK);
    limits.side_max = 60;
    cr_expect_eq(media_probe(fixture_bytes(&file), &limits, &info, &error), E_IMAGE_TOO_LARGE);
    cr_expect(strstr(error.text, "side") != NULL);
    limits.side_max = 61, limits.pixels_max = 61 * 47 - 1;
    cr_expect_eq(media_probe(fixture_bytes(&file), &limits, &info, &error), E_IMAGE_TOO_LARGE);
    cr_expect(strstr(error.text, "pixels") != NULL);
    limits.pixels_max++, limits.file_bytes_max--;
    cr_expect_eq(media_probe(fixture_bytes(&file), &limits, &info, &error), E_IMAGE_TOO_LARGE);
    cr_expect(strstr(error.text, "bytes") != NULL);
    buffer_free(&file);
}

// One byte of the compressed pixels is changed. Where the format can tell, it must.
Test(decode, a_wrong_byte_in_the_pixels_of_a_png_is_damage) {
    Buffer file = read_picture("png_rgb_8.png");
    const uint8_t *pixels = find(&file, "IDAT", 4);
    file.data[pixels - file.data + 40] ^= 0x10;
    Image image = {0};
    Error error;
    cr_expect_eq(media_decode(fixture_bytes(&file), &no_limits, &image, &error), E_IMAGE_DAMAGED);
    image_free(&image);
    buffer_free(&file);
}

Test(decode, forms_that_no_decoder_reads_are_unsupported) {
    Buffer file = read_picture("jpeg_420.jpg");
    uint8_t *frame = file.data + (find(&file, "\xff\xc0\0\x11\x08", 5) - file.data);
    ImageInfo info;
    Error error;
    frame[4] = 12; // bits per sample
    cr_expect_eq(media_probe(fixture_bytes(&file), &no_limits, &info, &error), E_UNSUPPORTED);
    frame[4] = 8;
    frame[1] = 0xC3; // lossless
    Image image = {0};
    cr_expect_eq(media_decode(fixture_bytes(&file), &no_limits, &image, &error), E_UNSUPPORTED,
                 "%s", error.text);
    frame[1] = 0xC0;
    frame[9] = 2; // components
    cr_expect_eq(media_probe(fixture_bytes(&file), &no_limits, &info, &error), E_UNSUPPORTED);
    image_free(&image);
    buffer_free(&file);
}

// Where the nth start-of-scan marker stands.
static size_t scan_start(const Buffer *file, int n) {
    const uint8_t *at = file->data - 1;
    for (int i = 0; i <= n; i++) {
        at++;
        at = memmem(at, (size_t)(file->data + file->length - at), "\xff\xda", 2);
        cr_assert_not_null(at);
    }
    return (size_t)(at - file->data);
}

// The first scan of AC coefficients, repeated. It is told to carry all bits at once (successive
// approximation 0, 0), because such a scan may be repeated without breaking a rule of the format.
Test(decode, a_jpeg_of_endless_scans_is_refused) {
    Buffer file = read_picture("jpeg_gray_progressive.jpg");
    size_t begin = scan_start(&file, 1), end = scan_start(&file, 2);
    file.data[begin + 9] = 0;
    Image image = {0};
    Error error;
    for (int repeats = 100; repeats <= 1000; repeats *= 10) {
        Buffer bomb = {0};
        buffer_append(&bomb, file.data, begin);
        for (int i = 0; i < repeats; i++) {
            buffer_append(&bomb, file.data + begin, end - begin);
        }
        buffer_append(&bomb, "\xff\xd9", 2);
        Status status = media_decode(fixture_bytes(&bomb), &no_limits, &image, &error);
        cr_expect_eq(status, repeats == 100 ? OK : E_IMAGE_DAMAGED, "%d scans: %s", repeats,
                     error.text);
        buffer_free(&bomb);
    }
    cr_expect(strstr(error.text, "scans") != NULL, "%s", error.text);
    image_free(&image);
    buffer_free(&file);
}

Test(decode, an_animation_frame_outside_its_canvas_is_damage) {
    Buffer file = read_picture("webp_animated_island.webp");
    uint8_t *frame = file.data + (find(&file, "ANMF", 4) - file.data) + 8;
    frame[0] = 200; // x of the frame, halved
    Image image = {0};
    Error error;
    cr_expect_eq(media_decode(fixture_bytes(&file), &no_limits, &image, &error), E_IMAGE_DAMAGED);
    cr_expect(strstr(error.text, "canvas") != NULL, "%s", error.text);
    image_free(&image);
    buffer_free(&file);
}
