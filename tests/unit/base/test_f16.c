// SPDX-License-Identifier: Apache-2.0
// bfloat16 and half against the compiler's own _Float16 and against the definition of rounding.
#include "base/f16.h"
#include "base/prng.h"

#include <criterion/criterion.h>
#include <math.h>

static float float_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

Test(f16, every_half_widens_as_the_compiler_does_and_narrows_back) {
    for (uint32_t i = 0; i < 65536; i++) {
        _Float16 half;
        uint16_t bits = (uint16_t)i;
        memcpy(&half, &bits, sizeof half);
        float mine = f16_to_f32(bits), theirs = (float)half;
        if (isnan(theirs)) {
            cr_assert(isnan(mine));
            continue;
        }
        cr_assert_eq(memcmp(&mine, &theirs, 4), 0, "half %04x", i);
        cr_assert_eq(f16_from_f32(mine), bits, "half %04x", i);
    }
}

Test(f16, random_floats_narrow_as_the_compiler_does) {
    for (uint64_t i = 0; i < 4000000; i++) {
        uint32_t bits = (uint32_t)prng_u64(5, 0, i);
        if (i % 2) { // most random exponents are out of range: bring half of them into it
            bits = (bits & 0x807fffffu) | ((100 + bits % 48) << 23);
        }
        float x = float_of_bits(bits);
        _Float16 half = (_Float16)x;
        uint16_t theirs;
        memcpy(&theirs, &half, sizeof theirs);
        if (!isnan(x)) {
            cr_assert_eq(f16_from_f32(x), theirs, "float %08x", bits);
        } else {
            cr_assert(isnan(f16_to_f32(f16_from_f32(x))));
        }
    }
}

Test(bf16, rounds_to_nearest_even) {
    for (uint64_t i = 0; i < 1000000; i++) {
        float x = float_of_bits((uint32_t)prng_u64(6, 0, i));
        uint16_t narrow = bf16_from_f32(x);
        if (isnan(x)) {
            cr_assert(isnan(bf16_to_f32(narrow)));
            continue;
        }
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        uint16_t down = (uint16_t)(bits >> 16), up = (uint16_t)(down + 1);
        uint32_t rest = bits & 0xffffu;
        uint16_t expected = rest > 0x8000u || (rest == 0x8000u && (down & 1)) ? up : down;
        cr_assert_eq(narrow, expected, "float %08x", bits);
    }
    cr_assert_eq(bf16_from_f32(61.967733f), bf16_from_f32(62.0f)); // sqrt(3840), model.md 1.2
}
