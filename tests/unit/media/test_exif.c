// SPDX-License-Identifier: Apache-2.0
// exif.h: the orientation tag in both byte orders and in XMP, and nothing from anything else.
#include "host/media/exif.h"

#include "media_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"

#define BYTES(text) ((Bytes){(const uint8_t *)(text), sizeof(text) - 1})

Test(exif, reads_both_byte_orders_with_and_without_prefix) {
    cr_expect_eq(exif_orientation(BYTES("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0")),
                 6);
    cr_expect_eq(exif_orientation(BYTES("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0")),
                 8);
    cr_expect_eq(exif_orientation(BYTES("Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01"
                                        "\0\0\0\x03")),
                 3);
}

Test(exif, a_missing_tag_is_0) {
    cr_expect_eq(exif_orientation(BYTES("")), 0);
    cr_expect_eq(exif_orientation(BYTES("Exif\0\0")), 0);
    cr_expect_eq(exif_orientation(BYTES("II*\0\x08\0\0\0\0\0")), 0);
    cr_expect_eq(exif_orientation(BYTES("II+\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0")),
                 0, "BigTIFF is not TIFF");
    cr_expect_eq(exif_orientation(BYTES("II*\0\xff\xff\xff\xff\x01\0")), 0);
}

Test(exif, reads_xmp_as_attribute_and_as_element) {
    cr_expect_eq(exif_orientation_xmp(BYTES("<a tiff:Orientation=\"5\"/>")), 5);
    cr_expect_eq(exif_orientation_xmp(BYTES("<tiff:Orientation>7</tiff:Orientation>")), 7);
    cr_expect_eq(exif_orientation_xmp(BYTES("tiff:Orientation tiff:Orientation=\"2\"")), 2);
    cr_expect_eq(exif_orientation_xmp(BYTES("<a tiff:Orientation=\"")), 0);
    cr_expect_eq(exif_orientation_xmp(BYTES("tiff:Orientation")), 0);
    cr_expect_eq(exif_orientation_xmp((Bytes){0}), 0);
}

// Every type and count, values that lie elsewhere, broken directories.
Test(exif, reads_what_pillow_reads) {
    json_t *root = fixture_expected();
    json_t *rows = json_object_get(root, "exif"), *row;
    cr_assert_geq(json_array_size(rows), 200);
    size_t i;
    json_array_foreach(rows, i, row) {
        const char *hex = fixture_text(row, "exif");
        uint8_t bytes[512];
        size_t length = strlen(hex) / 2;
        cr_assert_leq(length, sizeof bytes);
        for (size_t k = 0; k < length; k++) {
            unsigned byte;
            cr_assert_eq(sscanf(hex + 2 * k, "%2x", &byte), 1);
            bytes[k] = (uint8_t)byte;
        }
        cr_expect_eq(exif_orientation((Bytes){bytes, length}), fixture_number(row, "orientation"),
                     "%s", hex);
    }
    json_decref(root);
}

// Under the address sanitizer this shows any read outside the bytes.
Test(exif, no_bytes_break_it) {
    const uint64_t seed = 20;
    for (uint64_t round = 0; round < 20000; round++) {
        uint8_t bytes[64];
        memcpy(bytes, "II*\0\x08\0\0\0\x05\0", 10);
        for (size_t i = 10; i < sizeof bytes; i++) {
            bytes[i] = (uint8_t)prng_u64(seed, round, i);
        }
        bytes[4] = (uint8_t)(prng_u64(seed, round, 0) % 80);
        size_t length = prng_u64(seed, round, 1) % (sizeof bytes + 1);
        uint8_t *copy = malloc(length + 1);
        memcpy(copy, bytes, length);
        exif_orientation((Bytes){copy, length});
        free(copy);
    }
}
