// SPDX-License-Identifier: Apache-2.0
#include "base/prng.h"

#include <math.h>

float prng_normal(uint64_t seed, uint64_t stream, uint64_t counter) {
    uint64_t bits = prng_u64(seed, stream, counter);
    double u = ((double)(uint32_t)bits + 0.5) * 0x1.0p-32; // (0, 1)
    double v = (double)(uint32_t)(bits >> 32) * 0x1.0p-32;
    return (float)(sqrt(-2.0 * log(u)) * cos(2.0 * 3.14159265358979323846 * v));
}
