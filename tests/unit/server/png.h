// SPDX-License-Identifier: Apache-2.0
// A PNG by its header only: enough to be let in, not enough to be decoded.
#ifndef TESTS_UNIT_SERVER_PNG_H
#define TESTS_UNIT_SERVER_PNG_H

#include <string.h>

#include "base/bytes.h"

enum { PNG_HEADER_BYTES = 33, PNG_WITHOUT_PIXELS_BYTES = PNG_HEADER_BYTES + 24 };

static inline void png_put_u32(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

// Signature and header of an RGB picture. The sum is that of the specification, bit by bit.
static inline void png_put_header(uint8_t out[PNG_HEADER_BYTES], uint32_t width, uint32_t height) {
    memcpy(out, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR....####\x08\x02\0\0\0....", PNG_HEADER_BYTES);
    png_put_u32(out + 16, width);
    png_put_u32(out + 20, height);
    uint32_t sum = UINT32_MAX;
    for (int i = 12; i < 29; i++) {
        sum ^= out[i];
        for (int bit = 0; bit < 8; bit++) {
            sum = sum >> 1 ^ (sum & 1 ? 0xEDB88320 : 0);
        }
    }
    png_put_u32(out + 29, ~sum);
}

static inline void png_put_without_pixels(uint8_t out[PNG_WITHOUT_PIXELS_BYTES], uint32_t width,
                                          uint32_t height) {
    png_put_header(out, width, height);
    memcpy(out + PNG_HEADER_BYTES, "\0\0\0\0IDAT....\0\0\0\0IEND....", 24);
}

#endif
