// SPDX-License-Identifier: Apache-2.0
// IEEE 754 binary16 in plain C, for every machine; the hot paths use the processor's own conversion
// and are tested against this one.
#include "base/f16.h"

float f16_to_f32(uint16_t x) {
    uint32_t sign = (uint32_t)(x & 0x8000u) << 16;
    uint32_t exponent = (x >> 10) & 0x1fu;
    uint32_t fraction = x & 0x3ffu;
    uint32_t bits;
    if (exponent == 0x1f) {
        bits = sign | 0x7f800000u | (fraction << 13) | (fraction != 0 ? 0x400000u : 0);
    } else if (exponent != 0) {
        bits = sign | ((exponent + 112) << 23) | (fraction << 13);
    } else if (fraction == 0) {
        bits = sign;
    } else {
        uint32_t shift = 0;
        while ((fraction & 0x400u) == 0) {
            fraction <<= 1;
            shift++;
        }
        bits = sign | ((113 - shift) << 23) | ((fraction & 0x3ffu) << 13);
    }
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

uint16_t f16_from_f32(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    }
    if (magnitude >= 0x47800000u) { // 65536 and above, infinity among them
        return (uint16_t)(sign | 0x7c00u);
    }
    if (magnitude >= 0x38800000u) { // normal: rounding may carry into the exponent, up to infinity
        uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
        return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
    }
    if (magnitude < 0x33000000u) { // below half the smallest subnormal
        return sign;
    }
    uint32_t shift = 126 - (magnitude >> 23); // 14..24
    uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
    uint32_t half = 1u << (shift - 1);
    uint32_t value = significand >> shift;
    uint32_t rest = significand & ((1u << shift) - 1);
    if (rest > half || (rest == half && (value & 1u))) {
        value++;
    }
    return (uint16_t)(sign | value);
}
