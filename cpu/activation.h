// SPDX-License-Identifier: Apache-2.0
// How a row of f32 becomes what a linear reads: the definition that every twin follows bit for bit.
//   f32   as it is
//   bf16  round to nearest even
//   int8  a = max |x|; scale = a / 127; value = rint(x * (127 / a)), so -127 .. 127; both quotients
//         are f32. A row with a < ACTIVATION_ABSMAX_MIN is zero with scale 0, so that 127 / a never
//         overflows. block_sums[b] = sum of values 32b .. 32b + 31.
// Columns from `columns` to `stride` are zero.
#ifndef CPU_ACTIVATION_H
#define CPU_ACTIVATION_H

#include "base/f16.h"
#include "model/ops.h"

#include <math.h>

#define ACTIVATION_ABSMAX_MIN 0x1p-100f
enum { ACTIVATION_BLOCK = 32 }; // columns per block sum

static inline float *activation_f32(const Activation *out, uint32_t row) {
    return (float *)out->values + (size_t)row * out->stride;
}

static inline uint16_t *activation_bf16(const Activation *out, uint32_t row) {
    return (uint16_t *)out->values + (size_t)row * out->stride;
}

static inline int8_t *activation_int8(const Activation *out, uint32_t row) {
    return (int8_t *)out->values + (size_t)row * out->stride;
}

static inline int32_t *activation_block_sums(const Activation *out, uint32_t row) {
    return out->block_sums + (size_t)row * (out->stride / ACTIVATION_BLOCK);
}

// Writes x[out->columns] as row `row` of `out`. x may be the row itself when the kind is f32.
static inline void activation_store(const Activation *out, uint32_t row, const float *x) {
    uint32_t columns = out->columns;
    if (out->kind == ACTIVATION_F32) {
        float *values = activation_f32(out, row);
        for (uint32_t i = 0; i < out->stride; i++) {
            values[i] = i < columns ? x[i] : 0.0f;
        }
        return;
    }
    if (out->kind == ACTIVATION_BF16) {
        uint16_t *values = activation_bf16(out, row);
        for (uint32_t i = 0; i < out->stride; i++) {
            values[i] = i < columns ? bf16_from_f32(x[i]) : 0;
        }
        return;
    }
    float absmax = 0.0f;
    for (uint32_t i = 0; i < columns; i++) {
        float magnitude = fabsf(x[i]);
        absmax = magnitude > absmax ? magnitude : absmax;
    }
    bool zero = absmax < ACTIVATION_ABSMAX_MIN;
    float factor = zero ? 0.0f : 127.0f / absmax;
    int8_t *values = activation_int8(out, row);
    int32_t *sums = activation_block_sums(out, row);
    out->scales[row] = zero ? 0.0f : absmax / 127.0f;
    for (uint32_t b = 0; b < out->stride / ACTIVATION_BLOCK; b++) {
        sums[b] = 0;
        for (uint32_t i = b * ACTIVATION_BLOCK; i < (b + 1) * ACTIVATION_BLOCK; i++) {
            values[i] = i < columns ? (int8_t)rintf(x[i] * factor) : 0;
            sums[b] += values[i];
        }
    }
}

#endif
