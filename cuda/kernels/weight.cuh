// SPDX-License-Identifier: Apache-2.0
// One value of a placed weight matrix: for row gathers and for the kernel that takes everything.
#ifndef CUDA_KERNELS_WEIGHT_CUH
#define CUDA_KERNELS_WEIGHT_CUH

#include "cuda/prim/prim.cuh"
#include "cuda/weight_layout.h"

// A placed matrix as kernels are given it.
typedef struct WeightView {
    WeightLevel level;
    uint32_t panels;
    uint32_t columns; // of the device form, a multiple of WEIGHT_COLUMN_ALIGN unless f32
    uint32_t group;   // 0 for f32 and bf16
    const unsigned char *codes;
    const uint16_t *scales;
} WeightView;

static inline WeightView weight_view(const Matrix *placed) {
    return {placed->level, cuda_weight_panels(placed),           cuda_weight_columns(placed),
            placed->group, (const unsigned char *)placed->codes, placed->scales};
}

// The word of 4 bytes that holds (row, k), and the bit at which the value begins.
DEVICE size_t weight_word(const WeightView &w, uint32_t row, uint32_t k, uint32_t *shift) {
    uint32_t lane = row % 8 * 4 + k % 32 / 8, high = row / 8 % 2, quad = k / 4 % 2;
    size_t panel = row / 16, unit = 0;
    uint32_t word = 0;
    if (w.level == LEVEL_INT4) {
        unit = panel * (w.columns / 64) + k / 64;
        word = k % 64 / 32 * 2 + high;
        *shift = k % 4 * 8 + quad * 4;
    } else if (w.level == LEVEL_INT8) {
        unit = panel * (w.columns / 32) + k / 32;
        word = quad * 2 + high;
        *shift = k % 4 * 8;
    } else {
        unit = panel * (w.columns / 16) + k / 32 * 2 + quad;
        word = k % 4 / 2 * 2 + high;
        *shift = k % 2 * 16;
    }
    return (unit * 32 + lane) * 4 + word;
}

// f32, exact at every level: a code has at most 8 bits, an f16 scale 11. row < 16 panels.
DEVICE float weight_value(const WeightView &w, uint32_t row, uint32_t k) {
    if (w.level == LEVEL_F32) {
        size_t at = ((size_t)(row / 16) * w.columns + k) * 16 + row % 16;
        return global_load((const float *)w.codes + at);
    }
    uint32_t shift = 0;
    size_t word = weight_word(w, row, k, &shift);
    uint32_t bits = global_load((const uint32_t *)w.codes + word) >> shift;
    if (w.level == LEVEL_BF16) {
        return bf16_to_float((uint16_t)bits);
    }
    int32_t code = w.level == LEVEL_INT4 ? (int32_t)(bits << 28) >> 28 : (int32_t)(int8_t)bits;
    size_t group = (size_t)(row / 16) * (w.columns / w.group) + k / w.group;
    uint16_t scale = global_load(w.scales + group * 16 + row % 8 * 2 + row / 8 % 2);
    return (float)code * f16_to_float(scale);
}

#endif
