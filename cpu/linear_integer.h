// SPDX-License-Identifier: Apache-2.0
// linear, int8 or int4 codes by int8, for instruction sets without the unsigned-by-signed dot
// product: a panel is expanded to signed bytes (the order of an int8 panel) and multiplied quad by
// quad into exact int32 sums per group; then sum += (float)int32 * scale. Written over Integers,
// sixteen int32.
#ifndef CPU_LINEAR_INTEGER_H
#define CPU_LINEAR_INTEGER_H

#include "cpu/linear_lanes.h"

#define LINEAR_INTEGER_TILE 4u

#if defined(__AVX2__)

typedef struct Integers {
    __m256i low, high;
} Integers;

// Four bytes of 16 outputs and their magnitudes.
typedef struct Quads {
    __m256i low, high, low_size, high_size;
} Quads;

LANES_INLINE Integers integers_zero(void) {
    return (Integers){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

LANES_INLINE Quads quads_load(const int8_t *w) {
    Quads out = {.low = _mm256_load_si256((const __m256i *)w),
                 .high = _mm256_load_si256((const __m256i *)(w + 32))};
    out.low_size = _mm256_abs_epi8(out.low);
    out.high_size = _mm256_abs_epi8(out.high);
    return out;
}

// |w| times sign(w) x: two products are at most 2 * 128 * 127, so VPMADDUBSW never saturates.
LANES_INLINE __m256i dot_half(__m256i sum, __m256i w, __m256i size, __m256i x) {
    __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(x, w));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

LANES_INLINE Integers integers_dot(Integers sum, const Quads *w, const int8_t *x) {
    int32_t quad;
    memcpy(&quad, x, sizeof quad);
    __m256i all = _mm256_set1_epi32(quad);
    return (Integers){dot_half(sum.low, w->low, w->low_size, all),
                      dot_half(sum.high, w->high, w->high_size, all)};
}

LANES_INLINE Lanes integers_lanes(Integers x) {
    return (Lanes){_mm256_cvtepi32_ps(x.low), _mm256_cvtepi32_ps(x.high)};
}

LANES_INLINE Lanes group_scales(const uint16_t *scales) {
    return (Lanes){_mm256_cvtph_ps(_mm_load_si128((const __m128i *)scales)),
                   _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(scales + 8)))};
}

#else

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
            out.v[j][c] = w[4 * c + j];
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

#endif

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

#endif
