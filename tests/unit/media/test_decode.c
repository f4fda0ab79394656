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

static void assert_equals_pillow(json_t *row, Bytes file, Image *image) {
    const char *name = fixture_text(row, "file");
    MediaLimits limits = media_limits_default();
    ImageInfo info;
    Error error;
    cr_assert_eq(media_probe(file, &limits, &info, &error), OK, "%s: %s", name, error.text);
    cr_assert_eq(media_decode(file, &limits, fixture_scratch(), image, &error), OK, "%s: %s", name,
                 error.text);
    cr_expect_eq(info.orientation, fixture_number(row, "orientation"), "%s", name);
    cr_expect_eq(info.width, fixture_number(row, "width"), "%s", name);
    cr_expect_eq(info.height, fixture_number(row, "height"), "%s", name);
    cr_assert(image->width == info.width && image->height == info.height, "%s", name);
    uint64_t print =
        fixture_fingerprint(image->pixels.data, (size_t)image->width * image->height * 3);
    cr_expect_eq(print, fixture_hex(row, "fingerprint"), "%s: other pixels", name);
}

// Metadata is not read here where no pixel depends on it, so its damage is not seen.
static bool refused_by_pillow_alone(const char *name) {
    return strcmp(name, "chunks_wrong_sum_text.png") == 0;
}

// Rows that are not there are black to Pillow.
static bool refused_here_alone(const char *name) {
    return strcmp(name, "chunks_too_few_rows.png") == 0;
}

Test(decode, equals_pillow_on_every_form) {
    json_t *root = fixture_expected();
    json_t *rows = json_object_get(root, "decode"), *row;
    cr_assert_geq(json_array_size(rows), 300);
    Image image = {0}; // used again from file to file
    size_t i;
    json_array_foreach(rows, i, row) {
        const char *name = fixture_text(row, "file");
        Buffer file = read_picture(name);
        if (json_object_get(row, "refused") == NULL && !refused_here_alone(name)) {
            assert_equals_pillow(row, fixture_bytes(&file), &image);
        } else if (!refused_by_pillow_alone(name)) {
            Error error;
            cr_expect_neq(
                media_decode(fixture_bytes(&file), &no_limits, fixture_scratch(), &image, &error),
                OK, "%s was decoded", name);
        }
        buffer_free(&file);
    }
    image_free(&image);
    json_decref(root);
}

// `wanted` is what Pillow makes of the file cut to `length`: r(efused), w(hole), o(ther pixels).
static void assert_cut(json_t *row, const Buffer *file, size_t length, char wanted, Image *image) {
    const char *name = fixture_text(row, "file");
    Buffer cut = {0}; // a copy of its own, so that a sanitizer sees any read behind the cut
    buffer_append(&cut, file->data, length);
    Error error;
    Status status = media_decode(fixture_bytes(&cut), &no_limits, fixture_scratch(), image, &error);
    size_t bytes = (size_t)image->width * image->height * 3;
    if (wanted == 'w') {
        cr_expect_eq(status, OK, "%s cut to %zu of %zu bytes", name, length, file->length);
        cr_expect_eq(fixture_fingerprint(image->pixels.data, bytes),
                     fixture_hex(row, "fingerprint"), "%s cut to %zu: other pixels", name, length);
    } else if (status != OK || wanted == 'r') {
        // Shorter than the signature, it cannot be told from any other file.
        cr_expect(status == E_IMAGE_DAMAGED || (length < 12 && status == E_IMAGE_FORMAT),
                  "%s cut to %zu of %zu bytes: %s", name, length, file->length,
                  status_name(status));
        cr_expect_eq(bytes, 0);
    }
    buffer_free(&cut);
}

// Every fixture is cut at 32 places and at each of its last bytes.
Test(decode, a_cut_file_is_refused_or_whole_as_by_pillow) {
    json_t *root = fixture_expected();
    json_t *rows = json_object_get(root, "decode"), *row;
    Image image = {0};
    size_t i;
    json_array_foreach(rows, i, row) {
        const char *name = fixture_text(row, "file");
        if (json_object_get(row, "refused") != NULL || refused_here_alone(name)) {
            continue;
        }
        Buffer file = read_picture(name);
        const char *wanted = fixture_text(row, "cuts");
        for (size_t part = 0; part < 32; part++) {
            assert_cut(row, &file, file.length * part / 32, *wanted++, &image);
        }
        for (size_t missing = 1; missing < 40 && missing < file.length; missing++) {
            assert_cut(row, &file, file.length - missing, *wanted++, &image);
        }
        cr_assert_eq(*wanted, '\0');
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

// The sum of the header chunk anew; bit by bit, as the specification of PNG defines it.
static void mend_header_sum(Buffer *png) {
    uint32_t sum = UINT32_MAX;
    for (size_t i = 12; i < 29; i++) {
        sum ^= png->data[i];
        for (int bit = 0; bit < 8; bit++) {
            sum = sum >> 1 ^ (sum & 1 ? 0xEDB88320 : 0);
        }
    }
    put_big_u32(png->data + 29, ~sum);
}

// Small files that declare the largest sizes their formats can write down.
Test(decode, huge_declared_sizes_are_refused_from_the_header) {
    MediaLimits limits = media_limits_default();
    Image image = {0};
    Error error;

    Buffer png = read_picture("png_rgb_8.png");
    put_big_u32(png.data + 16, 0x7FFFFFFF);
    put_big_u32(png.data + 20, 0x7FFFFFFF);
    mend_header_sum(&png);
    cr_expect_eq(media_decode(fixture_bytes(&png), &limits, fixture_scratch(), &image, &error),
                 E_IMAGE_TOO_LARGE);
    cr_expect(strstr(error.text, "2147483647") != NULL && strstr(error.text, "65535") != NULL, "%s",
              error.text);
    put_big_u32(png.data + 16, 65535);
    put_big_u32(png.data + 20, 65535);
    mend_header_sum(&png);
    cr_expect_eq(media_decode(fixture_bytes(&png), &limits, fixture_scratch(), &image, &error),
                 E_IMAGE_TOO_LARGE);
    cr_expect(strstr(error.text, "4294836225") != NULL, "%s", error.text);

    Buffer jpeg = read_picture("jpeg_420.jpg");
    uint8_t *frame = jpeg.data + (find(&jpeg, "\xff\xc0\0\x11\x08", 5) - jpeg.data);
    memset(frame + 5, 0xFF, 4);
    cr_expect_eq(media_decode(fixture_bytes(&jpeg), &limits, fixture_scratch(), &image, &error),
                 E_IMAGE_TOO_LARGE);

    Buffer webp = read_picture("webp_animated_lossy.webp");
    memset(webp.data + 24, 0xFF, 6); // the canvas of the VP8X chunk: 16777216 squared
    cr_expect_eq(media_decode(fixture_bytes(&webp), &limits, fixture_scratch(), &image, &error),
                 E_IMAGE_TOO_LARGE);
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
    cr_expect_eq(media_decode(fixture_bytes(&file), &no_limits, fixture_scratch(), &image, &error),
                 E_IMAGE_DAMAGED);
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
    cr_expect_eq(media_decode(fixture_bytes(&file), &no_limits, fixture_scratch(), &image, &error),
                 E_UNSUPPORTED, "%s", error.text);
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
        Status status =
            media_decode(fixture_bytes(&bomb), &no_limits, fixture_scratch(), &image, &error);
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
    cr_expect_eq(media_decode(fixture_bytes(&file), &no_limits, fixture_scratch(), &image, &error),
                 E_IMAGE_DAMAGED);
    cr_expect(strstr(error.text, "canvas") != NULL, "%s", error.text);
    image_free(&image);
    buffer_free(&file);
}
