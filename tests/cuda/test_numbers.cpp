// SPDX-License-Identifier: Apache-2.0
// Arithmetic that kernels build from instructions, against the operators of the language.
#include "cuda/prim/prim.cuh"

#include <criterion/criterion.h>

extern "C" {
#include "base/prng.h"
}

// Sizes from 2^-60 to 2^127, quotients within what divide promises.
Test(numbers, divide_is_the_division_operator) {
    uint64_t checked = 0;
    for (uint64_t i = 0; i < 2000000; i++) {
        uint64_t bits = prng_u64(11, 0, i);
        uint32_t low = (uint32_t)bits, high = (uint32_t)(bits >> 32);
        float a = bits_to_float((low & 0x807fffffu) | (67 + (low >> 23 & 255) % 187) << 23);
        float b = bits_to_float((high & 0x007fffffu) | (67 + (high >> 23 & 255) % 187) << 23);
        float wanted = a / b;
        if (fabsf(wanted) < 0x1p-100f || fabsf(wanted) > 0x1p127f) {
            continue;
        }
        checked++;
        cr_assert_eq(divide(a, b), wanted, "%a / %a is %a, not %a", (double)a, (double)b,
                     (double)wanted, (double)divide(a, b));
    }
    cr_assert_gt(checked, 1000000);
    cr_assert_eq(divide(0.0f, 3.0f), 0.0f);
    cr_assert_eq(divide(-9.5f, 1.6e38f), -9.5f / 1.6e38f);
}
