// SPDX-License-Identifier: Apache-2.0
// exif.h: the orientation tag in both byte orders and in XMP, and nothing from anything else.
#include "host/media/exif.h"

#include <criterion/criterion.h>
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
