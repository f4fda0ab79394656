// SPDX-License-Identifier: Apache-2.0
// How a row of f32 becomes what a linear reads: the definition that every variant follows bit for
// bit.
//   f32   as it is
//   bf16  round to nearest even
//   int8  a = max |x|; scale = a / 127; value = rint(x * (127 / a)), so -127 .. 127; both quotients
//         are f32. A row with a < ACTIVATION_ABSMAX_MIN is zero with scale 0, so that 127 / a never
//         overflows. block_sums[b] = sum of values 32b .. 32b + 31.
//   int8x2  the same with 16319 = 128 * 127 + 63 for 127, and value = 128 high + low with
//         high = floor((value + 64) / 128), so high is -127 .. 127 and low -64 .. 63. Row r is the
//         int8 rows 2r (high) and 2r + 1 (low), each with its block sums.
// Columns from `columns` to `stride` are zero.
#ifndef CPU_ACTIVATION_H
#define CPU_ACTIVATION_H

#include "base/f16.h"
#include "model/ops.h"

#include <math.h>

#define ACTIVATION_ABSMAX_MIN 0x1p-100f
enum { ACTIVATION_BLOCK = 32 }; // columns per block sum

// The largest integer of a row.
static inline float activation_steps(ActivationKind kind) {
    return kind == ACTIVATION_INT8X2 ? 16319.0f : 127.0f;
}

static inline int32_t activation_high(int32_t value) {
    return (value + 64) >> 7;
}

static inline float *activation_f32(const Activation *out, uint32_t row) {
    return (float *)out->values + (size_t)row * out->stride;
}

static inline uint16_t *activation_bf16(const Activation *out, uint32_t row) {
    return (uint16_t *)out->values + (size_t)row * out->stride;
}

// Of int8x2 the int8 row, not the row.
static inline int8_t *activation_int8(const Activation *out, uint32_t row) {
    return (int8_t *)out->values + (size_t)row * out->stride;
}

static inline int32_t *activation_block_sums(const Activation *out, uint32_t row) {
    return out->block_sums + (size_t)row * (out->stride / ACTIVATION_BLOCK);
}

// What row `row` of an integer kind says of column k, without the scale.
static inline int32_t activation_integer(const Activation *in, uint32_t row, uint32_t k) {
    if (in->kind == ACTIVATION_INT8) {
        return activation_int8(in, row)[k];
    }
    return 128 * activation_int8(in, 2 * row)[k] + activation_int8(in, 2 * row + 1)[k];
}

static inline void activation_sum_blocks(const Activation *out, uint32_t int8_row) {
    const int8_t *values = activation_int8(out, int8_row);
    int32_t *sums = activation_block_sums(out, int8_row);
    for (uint32_t b = 0; b < out->stride / ACTIVATION_BLOCK; b++) {
        sums[b] = 0;
        for (uint32_t i = b * ACTIVATION_BLOCK; i < (b + 1) * ACTIVATION_BLOCK; i++) {
            sums[b] += values[i];
        }
    }
}

static inline void activation_store_integers(const Activation *out, uint32_t row, const float *x) {
    float absmax = 0.0f, steps = activation_steps(out->kind);
    for (uint32_t i = 0; i < out->columns; i++) {
        float magnitude = fabsf(x[i]);
        absmax = magnitude > absmax ? magnitude : absmax;
    }
    bool zero = absmax < ACTIVATION_ABSMAX_MIN;
    float factor = zero ? 0.0f : steps / absmax;
    out->scales[row] = zero ? 0.0f : absmax / steps;
    uint32_t parts = activation_parts(out->kind);
    int8_t *first = activation_int8(out, row * parts), *last = first + (parts - 1) * out->stride;
    for (uint32_t i = 0; i < out->stride; i++) {
        int32_t value = i < out->columns ? (int32_t)rintf(x[i] * factor) : 0;
        int32_t high = parts == 2 ? activation_high(value) : 0;
        first[i] = (int8_t)high;
        last[i] = (int8_t)(value - 128 * high);
    }
    for (uint32_t p = 0; p < parts; p++) {
        activation_sum_blocks(out, row * parts + p);
    }
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
    activation_store_integers(out, row, x);
}

#endif
