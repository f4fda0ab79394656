// SPDX-License-Identifier: Apache-2.0
// What the variants of linear share, written once over Lanes: the float family, which takes every
// weight level and every activation kind as f32, and the finish.
//
// TILE_ROWS(kernel, tile, T) calls `kernel(tile, row, n)` with n a compile-time constant up to T,
// so that the accumulators of n rows live in registers. T <= 12. The tiles are of about one height:
// a last one of a single row would wait for its only chain of additions as long as a full one.
#ifndef CPU_LINEAR_LANES_H
#define CPU_LINEAR_LANES_H

#include "base/f16.h"
#include "cpu/activation.h"
#include "cpu/lanes.h"
#include "cpu/linear.h"

#define TILE_CASE(kernel, tile, T, n)                                                              \
    case n:                                                                                        \
        if ((n) <= (T)) {                                                                          \
            kernel(tile, row, n);                                                                  \
        }                                                                                          \
        break;

#define TILE_ROWS(kernel, tile, T)                                                                 \
    for (uint32_t row = 0, tiles, now; row < (tile)->row_count; row += now) {                      \
        tiles = ((tile)->row_count - row + (T)-1) / (T);                                           \
        now = ((tile)->row_count - row + tiles - 1) / tiles;                                       \
        switch (now) {                                                                             \
            TILE_CASE(kernel, tile, T, 1)                                                          \
            TILE_CASE(kernel, tile, T, 2)                                                          \
            TILE_CASE(kernel, tile, T, 3)                                                          \
            TILE_CASE(kernel, tile, T, 4)                                                          \
            TILE_CASE(kernel, tile, T, 5)                                                          \
            TILE_CASE(kernel, tile, T, 6)                                                          \
            TILE_CASE(kernel, tile, T, 7)                                                          \
            TILE_CASE(kernel, tile, T, 8)                                                          \
            TILE_CASE(kernel, tile, T, 9)                                                          \
            TILE_CASE(kernel, tile, T, 10)                                                         \
            TILE_CASE(kernel, tile, T, 11)                                                         \
            TILE_CASE(kernel, tile, T, 12)                                                         \
        }                                                                                          \
    }

// Rows of a tile whose f32 sums fit the registers; and up to how many rows a bf16 panel is read in
// place: one tile, and more where widening has units of its own beside those that add.
#if defined(__AVX512F__)
#define LINEAR_FLOAT_TILE 12u
#define LINEAR_PAIR_ROWS  LINEAR_FLOAT_TILE
#elif defined(__AVX2__)
#define LINEAR_FLOAT_TILE 5u
#define LINEAR_PAIR_ROWS  32u
#else
#define LINEAR_FLOAT_TILE 2u
#define LINEAR_PAIR_ROWS  LINEAR_FLOAT_TILE
#endif

// ---- The float family

static void float_prepare(const Activation *in, uint32_t row, uint32_t k, uint32_t count,
                          void *out) {
    float *x = out;
    if (in->kind == ACTIVATION_F32) {
        memcpy(x, activation_f32(in, row) + k, count * sizeof *x);
    } else if (in->kind == ACTIVATION_BF16) {
        const uint16_t *from = activation_bf16(in, row) + k;
        for (uint32_t i = 0; i < count; i++) {
            x[i] = bf16_to_f32(from[i]);
        }
    } else { // the row's scale comes with the finish
        const int8_t *from = activation_int8(in, row) + k;
        for (uint32_t i = 0; i < count; i++) {
            x[i] = (float)from[i];
        }
    }
}

// 16 x count f32 in the order of an f32 panel. q times its f16 scale is exact in f32.
static void float_expand(const Matrix *weight, uint32_t panel, uint32_t k, uint32_t count,
                         void *out) {
    float *w = out;
    size_t first = (size_t)panel * weight->padded_columns + k;
    if (weight->level == LEVEL_BF16) {
        const uint16_t *from = (const uint16_t *)weight->codes + first * MATRIX_PANEL;
        for (uint32_t i = 0; i < count; i += 2) {
            Lanes even, odd;
            lanes_load_pairs(from + (size_t)i * MATRIX_PANEL, &even, &odd);
            lanes_store(w + (size_t)i * MATRIX_PANEL, even);
            lanes_store(w + (size_t)(i + 1) * MATRIX_PANEL, odd);
        }
        return;
    }
    uint32_t per_quad = weight->level == LEVEL_INT4 ? 8 : 4; // columns of 16 stored quads
    int32_t offset = weight->level == LEVEL_INT4 ? 8 : 128;
    const uint8_t *codes = (const uint8_t *)weight->codes + first / per_quad * 4 * MATRIX_PANEL;
    for (uint32_t i = 0; i < count; i += per_quad, codes += 4 * MATRIX_PANEL) {
        const uint16_t *scales = weight->scales + (first + i) / weight->group * MATRIX_PANEL;
        Lanes scale = lanes_load_f16(scales);
        for (uint32_t j = 0; j < per_quad; j++, w += MATRIX_PANEL) {
            uint32_t shift = 8 * (j % 4) + j / 4 * 4;
            uint32_t mask = per_quad == 8 ? 15 : 255;
            lanes_store(w, lanes_mul(lanes_load_codes(codes, shift, mask, offset), scale));
        }
    }
}

LANES_INLINE void float_rows(const LinearTile *tile, uint32_t row, const uint32_t n) {
    const float *w = (const float *)tile->weights;
    const unsigned char *x = tile->x + (size_t)row * LINEAR_PITCH;
    float *sums = tile->sums + (size_t)row * tile->sum_stride;
    Lanes acc[LINEAR_FLOAT_TILE];
#pragma GCC unroll 12
    for (uint32_t t = 0; t < n; t++) {
        acc[t] = lanes_load(sums + t * tile->sum_stride);
    }
    for (uint32_t k = 0; k < tile->k_count; k++) {
        Lanes weight = lanes_load(w + (size_t)k * MATRIX_PANEL);
#pragma GCC unroll 12
        for (uint32_t t = 0; t < n; t++) {
            const float *values = (const float *)(x + t * LINEAR_PITCH);
            acc[t] = lanes_fma(weight, lanes_set(values[k]), acc[t]);
        }
    }
#pragma GCC unroll 12
    for (uint32_t t = 0; t < n; t++) {
        lanes_store(sums + t * tile->sum_stride, acc[t]);
    }
}

static void float_multiply(const LinearTile *tile){TILE_ROWS(float_rows, tile, LINEAR_FLOAT_TILE)}

// The same with a stored bf16 panel, widened pair by pair for every tile anew.
LANES_INLINE void pair_rows(const LinearTile *tile, uint32_t row, const uint32_t n) {
    const uint16_t *w = (const uint16_t *)tile->weights;
    const unsigned char *x = tile->x + (size_t)row * LINEAR_PITCH;
    float *sums = tile->sums + (size_t)row * tile->sum_stride;
    Lanes acc[LINEAR_FLOAT_TILE];
#pragma GCC unroll 12
    for (uint32_t t = 0; t < n; t++) {
        acc[t] = lanes_load(sums + t * tile->sum_stride);
    }
    for (uint32_t k = 0; k < tile->k_count; k += 2) {
        Lanes even, odd;
        lanes_load_pairs(w + (size_t)k * MATRIX_PANEL, &even, &odd);
#pragma GCC unroll 12
        for (uint32_t t = 0; t < n; t++) {
            const float *values = (const float *)(x + t * LINEAR_PITCH);
            acc[t] = lanes_fma(even, lanes_set(values[k]), acc[t]);
            acc[t] = lanes_fma(odd, lanes_set(values[k + 1]), acc[t]);
        }
    }
#pragma GCC unroll 12
    for (uint32_t t = 0; t < n; t++) {
        lanes_store(sums + t * tile->sum_stride, acc[t]);
    }
}

static void pair_multiply(const LinearTile *tile) {
    TILE_ROWS(pair_rows, tile, LINEAR_FLOAT_TILE)
}

// An f32 panel is read in place, every other level is expanded.
static const LinearFamily float_stored = {
    .x_bytes = 4,
    .direct_rows = UINT32_MAX,
    .prepare = float_prepare,
    .direct = float_multiply,
};

static const LinearFamily float_pairs = {
    .x_bytes = 4,
    .direct_rows = LINEAR_PAIR_ROWS,
    .prepare = float_prepare,
    .expand = float_expand,
    .multiply = float_multiply,
    .direct = pair_multiply,
};

static const LinearFamily float_expanded = {
    .x_bytes = 4,
    .prepare = float_prepare,
    .expand = float_expand,
    .multiply = float_multiply,
};

LANES_INLINE const LinearFamily *float_family(WeightLevel level) {
    return level == LEVEL_F32    ? &float_stored
           : level == LEVEL_BF16 ? &float_pairs
                                 : &float_expanded;
}

// ---- The finish

// gelu_tanh(x) (model.md 1.2) by the identity 0.5 (1 + tanh(u)) = 1 / (1 + exp(-2u)), which loses
// nothing to cancellation. Below -87 the exponent is clamped: the result is -0 to f32.
LANES_INLINE Lanes gelu_tanh(Lanes x) {
    Lanes cube = lanes_mul(lanes_mul(x, x), x);
    Lanes inner = lanes_fma(cube, lanes_set(0.044715f), x);
    Lanes minus_twice = lanes_mul(inner, lanes_set(-1.5957691216057308f));
    return lanes_div(x, lanes_add(lanes_set(1.0f), lanes_exp(minus_twice)));
}

// cap * tanh(y) with y = x / cap and tanh(|y|) = 1 - 2 / (exp(2 |y|) + 1), whose error is below
// 2e-7 of the cap.
LANES_INLINE Lanes soft_cap(Lanes x, float cap) {
    // A NaN passes through the clamp's second operand and stays NaN.
    Lanes twice = lanes_min(lanes_set(80.0f), lanes_mul(x, lanes_set(2.0f / cap)));
    twice = lanes_max(lanes_set(-80.0f), twice);
    Lanes zero = lanes_set(0.0f);
    Lanes size = lanes_max(lanes_sub(zero, twice), twice);
    Lanes below = lanes_div(lanes_set(2.0f), lanes_add(lanes_exp(size), lanes_set(1.0f)));
    Lanes capped = lanes_mul(lanes_set(cap), lanes_sub(lanes_set(1.0f), below));
    capped = lanes_if_above(zero, twice, lanes_sub(zero, capped), capped);
    return lanes_add(capped, lanes_mul(twice, zero)); // NaN where x is
}

// The first `count` lanes to out.
LANES_INLINE void store_columns(float *out, Lanes x, size_t count) {
    if (count >= LANES) {
        lanes_store(out, x);
        return;
    }
    float all[LANES];
    lanes_store(all, x);
    memcpy(out, all, count * sizeof *all);
}

static void linear_finish(const OpLinear *op, uint32_t row, uint32_t panel_first,
                          uint32_t panel_count, const float *sums, float scale) {
    float *out = linear_out(op, row);
    Lanes by_row = lanes_set(scale);
    uint32_t step = op->epilogue == LINEAR_GELU_MUL ? 2 : 1;
    for (uint32_t p = 0; p < panel_count; p += step) {
        Lanes value = lanes_mul(lanes_load(sums + (size_t)p * MATRIX_PANEL), by_row);
        size_t column = (size_t)(panel_first + p) / step * MATRIX_PANEL;
        if (column >= op->out_columns) {
            break;
        }
        size_t count = op->out_columns - column;
        if (step == 2) {
            Lanes up = lanes_mul(lanes_load(sums + (size_t)(p + 1) * MATRIX_PANEL), by_row);
            value = lanes_mul(gelu_tanh(value), up);
        } else if (op->bias != NULL) {
            float bias[LANES] = {0};
            memcpy(bias, op->bias + column, num_min(count, LANES) * sizeof *bias);
            value = lanes_add(value, lanes_load(bias));
        }
        if (op->softcap != 0.0f) {
            value = soft_cap(value, op->softcap);
        }
        store_columns(out + column, value, count);
    }
}

#endif
