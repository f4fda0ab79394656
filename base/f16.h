// SPDX-License-Identifier: Apache-2.0
// bfloat16 and IEEE half, bit exact with round to nearest even, NaN kept quiet, subnormals kept.
// Stored as uint16_t. The same results as torch and numpy give (tests/unit/base/test_f16.c).
#ifndef BASE_F16_H
#define BASE_F16_H

#include <stdint.h>
#include <string.h>

static inline float bf16_to_f32(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

static inline uint16_t bf16_from_f32(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)((bits >> 16) | 0x40u); // quiet NaN, sign and top payload kept
    }
    bits += 0x7fffu + ((bits >> 16) & 1u);
    return (uint16_t)(bits >> 16);
}

float f16_to_f32(uint16_t x);
uint16_t f16_from_f32(float x);

#endif
