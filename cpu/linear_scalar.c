// SPDX-License-Identifier: Apache-2.0
// linear, portable C. int8 or int4 codes by int8: a panel is expanded to signed bytes (the order of
// an int8 panel) and multiplied quad by quad into exact int32 sums per group; then sum +=
// (float)int32 * scale. The rest: the float family of linear_lanes.h.
#include "cpu/linear_lanes.h"

#define LINEAR_INTEGER_TILE 4u

typedef struct Integers {
    int32_t v[LANES];
} Integers;

typedef struct Quads {
    int16_t v[4][LANES]; // by column, so that a loop over outputs is one over neighbours
} Quads;

LANES_INLINE Integers integers_zero(void) {
    return (Integers){{0}};
}

LANES_INLINE Quads quads_load(const int8_t *w) {
    Quads out;
    for (int c = 0; c < LANES; c++) {
        for (int j = 0; j < 4; j++) {
            out.v[j][c] = (int16_t)w[4 * c + j];
        }
    }
    return out;
}

LANES_INLINE Integers integers_dot(Integers sum, const Quads *w, const int8_t *x) {
    for (int j = 0; j < 4; j++) {
        for (int c = 0; c < LANES; c++) {
            sum.v[c] += w->v[j][c] * x[j];
        }
    }
    return sum;
}

LANES_INLINE Lanes integers_lanes(Integers x) {
    Lanes out;
    for (int c = 0; c < LANES; c++) {
        out.v[c] = (float)x.v[c];
    }
    return out;
}

LANES_INLINE Lanes group_scales(const uint16_t *scales) {
    Lanes out;
    for (int c = 0; c < LANES; c++) {
        out.v[c] = f16_to_f32(scales[c]);
    }
    return out;
}

LANES_INLINE void integer_rows(const LinearTile *tile, uint32_t row, const uint32_t n) {
    const int8_t *w = (const int8_t *)tile->weights;
    const int8_t *x = (const int8_t *)tile->x + (size_t)row * LINEAR_PITCH;
    float *sums = tile->sums + (size_t)row * tile->sum_stride;
    for (uint32_t g = 0; g < tile->k_count / tile->group; g++) {
        Integers dots[LINEAR_INTEGER_TILE];
#pragma GCC unroll 4
        for (uint32_t t = 0; t < n; t++) {
            dots[t] = integers_zero();
        }
        for (uint32_t i = 0; i < tile->group; i += 4, w += 64, x += 4) {
            Quads quads = quads_load(w);
#pragma GCC unroll 4
            for (uint32_t t = 0; t < n; t++) {
                dots[t] = integers_dot(dots[t], &quads, x + t * LINEAR_PITCH);
            }
        }
        Lanes scale = group_scales(tile->scales + (size_t)g * MATRIX_PANEL);
#pragma GCC unroll 4
        for (uint32_t t = 0; t < n; t++) {
            float *sum = sums + t * tile->sum_stride;
            lanes_store(sum, lanes_fma(integers_lanes(dots[t]), scale, lanes_load(sum)));
        }
    }
}

static void integer_multiply(const LinearTile *tile) {
    TILE_ROWS(integer_rows, tile, LINEAR_INTEGER_TILE)
}

static void integer_prepare(const Activation *in, uint32_t row, uint32_t k, uint32_t count,
                            void *out) {
    memcpy(out, activation_int8(in, row) + k, count);
}

static void integer_expand(const Matrix *weight, uint32_t panel, uint32_t k, uint32_t count,
                           void *out) {
    size_t first = (size_t)panel * weight->padded_columns + k;
    int8_t *to = out;
    if (weight->level == LEVEL_INT8) {
        const uint8_t *from = (const uint8_t *)weight->codes + first * MATRIX_PANEL;
        for (size_t i = 0; i < (size_t)count * MATRIX_PANEL; i++) {
            to[i] = (int8_t)(from[i] - 128);
        }
        return;
    }
    const uint8_t *from = (const uint8_t *)weight->codes + first * MATRIX_PANEL / 2;
    for (uint32_t i = 0; i < count; i += 8, from += 64, to += 128) {
        for (uint32_t b = 0; b < 64; b++) {
            to[b] = (int8_t)((from[b] & 15) - 8);
            to[64 + b] = (int8_t)((from[b] >> 4) - 8);
        }
    }
}

static const LinearFamily integer_family = {
    .x_bytes = 1,
    .prepare = integer_prepare,
    .expand = integer_expand,
    .multiply = integer_multiply,
};

static const LinearFamily *choose_family(WeightLevel level, ActivationKind kind) {
    return level >= LEVEL_INT8 && kind == ACTIVATION_INT8 ? &integer_family : float_family(level);
}

Status linear_scalar(void *context, const OpLinear *op) {
    linear_run(context, op, choose_family, linear_finish);
    return OK;
}
