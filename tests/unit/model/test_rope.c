// SPDX-License-Identifier: Apache-2.0
// Inverse frequencies against transformers 5.24 on torch 2.15: compute_default_rope_parameters and
// _compute_proportional_rope_parameters of the 12B shape, printed with float.hex.
#include "model/rope.h"

#include <criterion/criterion.h>

#include <math.h>

static void same(const float *ours, uint32_t j, float theirs) {
    // torch's vectorized powf is within one unit in the last place of the rounded power.
    cr_assert_leq(fabsf(ours[j] - theirs), theirs * 0x1p-23f, "pair %u: %a, not %a", j,
                  (double)ours[j], (double)theirs);
}

Test(rope, sliding_layers_turn_every_pair) {
    float inverse[128];
    rope_inverse_frequency(&(RopeShape){1e4, 1.0, 1.0}, 256, inverse);
    same(inverse, 0, 0x1.0p+0f);
    same(inverse, 1, 0x1.dc73f0p-1f);
    same(inverse, 64, 0x1.47ae14p-7f);
    same(inverse, 127, 0x1.c2b922p-14f);
}

Test(rope, full_layers_turn_a_quarter_with_the_whole_head_as_denominator) {
    float inverse[256];
    rope_inverse_frequency(&(RopeShape){1e6, 1.0, 0.25}, 512, inverse);
    same(inverse, 0, 0x1.0p+0f);
    same(inverse, 1, 0x1.e519f0p-1f);
    same(inverse, 31, 0x1.8062cap-3f);
    same(inverse, 63, 0x1.116b10p-5f);
    for (uint32_t j = 64; j < 256; j++) {
        cr_assert_eq(inverse[j], 0.0f);
    }
}

Test(rope, the_factor_divides) {
    float plain[16], scaled[16];
    rope_inverse_frequency(&(RopeShape){1e6, 1.0, 0.5}, 32, plain);
    rope_inverse_frequency(&(RopeShape){1e6, 8.0, 0.5}, 32, scaled);
    for (uint32_t j = 0; j < 16; j++) {
        cr_assert_eq(scaled[j], plain[j] / 8.0f);
    }
}
