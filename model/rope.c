// SPDX-License-Identifier: Apache-2.0
#include "model/rope.h"

#include <math.h>

void rope_inverse_frequency(const RopeShape *rope, uint32_t head_dim, float *out) {
    uint32_t rotated = gemma4_rotated_pairs(rope, head_dim);
    for (uint32_t j = 0; j < head_dim / 2; j++) {
        float exponent = (float)(2 * j) / (float)head_dim;
        float power = (float)pow(rope->theta, (double)exponent);
        out[j] = j < rotated ? 1.0f / power / (float)rope->factor : 0.0f;
    }
}
