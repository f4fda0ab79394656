// SPDX-License-Identifier: Apache-2.0
// linear, AVX-512 with VNNI and BF16. One vector is the same 4 (int8), 2 (bf16) or 1 (f32) columns
// of the 16 outputs of a panel; one operand broadcast from memory is those columns of one row. A
// tile is 1 panel x 12 rows: 12 chains hide the latency of the dot product, one weight load serves
// 12 of them, and the broadcast costs nothing where one load per cycle is free.
//
//   codes x int8   per group: int32 = -offset * sum(x), then VPDPBUSD over the group's quads, then
//                  sum += (float)int32 * scale. int32 is exact, so is its conversion below 2^24.
//   codes x bf16   per group: f32 = 0, then VDPBF16PS over pairs, then sum += f32 * scale. A code
//                  is exact in bf16, so no scale is ever rounded. An int8 code is split into a high
//                  part 16 (c / 16 - 8) and a low part c % 16, each found by a table of 16.
//   bf16 x bf16    VDPBF16PS over pairs
//   the rest       f32 (linear_lanes.h)
//
// Up to 12 rows the codes are read as they are stored, once; for more, the block of a panel is
// expanded into L1 and used for all rows. Both do the same additions in the same order.
#include "cpu/linear_lanes.h"

#include <immintrin.h>

enum { STREAM_AHEAD = 2048 }; // bytes between a read and its prefetch

#define UNROLL _Pragma("GCC unroll 12")

// How codes lie where a kernel reads them: bytes in scratch, or bytes or nibbles as they are
// stored.
typedef enum Codes { CODES_EXPANDED, CODES_BYTES, CODES_NIBBLES } Codes;

static inline __m512i quad_of_row(const unsigned char *x, uint32_t t, uint32_t offset) {
    int32_t quad;
    memcpy(&quad, x + t * LINEAR_PITCH + offset, sizeof quad);
    return _mm512_set1_epi32(quad);
}

static inline __m512 group_scales(const uint16_t *scales) {
    return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)scales));
}

// ---- codes x int8

static inline __attribute__((always_inline)) void int8_rows(const LinearTile *tile, uint32_t row,
                                                            const uint32_t n, const Codes codes) {
    const unsigned char *w = tile->weights;
    const unsigned char *x = tile->x + (size_t)row * LINEAR_PITCH;
    const int32_t *starts = tile->starts + (size_t)row * tile->start_stride;
    float *sums = tile->sums + (size_t)row * tile->sum_stride;
    const __m512i low = _mm512_set1_epi8(15);
    __m512 acc[12];
    UNROLL for (uint32_t t = 0; t < n; t++) {
        acc[t] = _mm512_loadu_ps(sums + t * tile->sum_stride);
    }
    for (uint32_t g = 0; g < tile->k_count / tile->group; g++) {
        __m512i dots[12];
        UNROLL for (uint32_t t = 0; t < n; t++) {
            dots[t] = _mm512_set1_epi32(starts[t * tile->start_stride + g]);
        }
        for (uint32_t i = 0; i < tile->group; i += 8, x += 8) {
            __m512i first = _mm512_load_si512(w);
            __m512i second;
            if (codes != CODES_EXPANDED) {
                _mm_prefetch((const char *)w + STREAM_AHEAD, _MM_HINT_T0);
            }
            if (codes == CODES_NIBBLES) {
                second = _mm512_and_si512(_mm512_srli_epi16(first, 4), low);
                first = _mm512_and_si512(first, low);
                w += 64;
            } else {
                if (codes == CODES_BYTES) {
                    _mm_prefetch((const char *)w + STREAM_AHEAD + 64, _MM_HINT_T0);
                }
                second = _mm512_load_si512(w + 64);
                w += 128;
            }
            UNROLL for (uint32_t t = 0; t < n; t++) {
                dots[t] = _mm512_dpbusd_epi32(dots[t], first, quad_of_row(x, t, 0));
            }
            UNROLL for (uint32_t t = 0; t < n; t++) {
                dots[t] = _mm512_dpbusd_epi32(dots[t], second, quad_of_row(x, t, 4));
            }
        }
        __m512 scale = group_scales(tile->scales + (size_t)g * MATRIX_PANEL);
        UNROLL for (uint32_t t = 0; t < n; t++) {
            acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t]), scale, acc[t]);
        }
    }
    UNROLL for (uint32_t t = 0; t < n; t++) {
        _mm512_storeu_ps(sums + t * tile->sum_stride, acc[t]);
    }
}

#define INT8_KERNEL(name, codes)                                                                   \
    static inline __attribute__((always_inline)) void name##_rows(                                 \
        const LinearTile *tile, uint32_t row, const uint32_t n) {                                  \
        int8_rows(tile, row, n, codes);                                                            \
    }                                                                                              \
    static void name(const LinearTile *tile) {                                                     \
        TILE_ROWS(name##_rows, tile, 12u)                                                          \
    }

INT8_KERNEL(int8_expanded, CODES_EXPANDED)
INT8_KERNEL(int8_bytes, CODES_BYTES)
INT8_KERNEL(int8_nibbles, CODES_NIBBLES)

static void int8_prepare(const Activation *in, uint32_t row, uint32_t k, uint32_t count,
                         void *out) {
    memcpy(out, activation_int8(in, row) + k, count);
}

// Nibbles to bytes, in the order of an int8 panel.
static void nibbles_expand(const Matrix *weight, uint32_t panel, uint32_t k, uint32_t count,
                           void *out) {
    size_t first = (size_t)panel * weight->padded_columns + k;
    const uint8_t *from = (const uint8_t *)weight->codes + first * MATRIX_PANEL / 2;
    uint8_t *to = out;
    const __m512i low = _mm512_set1_epi8(15);
    for (uint32_t i = 0; i < count; i += 8, from += 64, to += 128) {
        __m512i codes = _mm512_load_si512(from);
        _mm512_store_si512(to, _mm512_and_si512(codes, low));
        _mm512_store_si512(to + 64, _mm512_and_si512(_mm512_srli_epi16(codes, 4), low));
    }
}

static const LinearFamily int8_by_int8 = {
    .x_bytes = 1,
    .direct_rows = UINT32_MAX,
    .code_offset = 128,
    .integer = true,
    .prepare = int8_prepare,
    .direct = int8_bytes,
};

static const LinearFamily int4_by_int8 = {
    .x_bytes = 1,
    .direct_rows = LINEAR_STREAM_ROWS,
    .code_offset = 8,
    .integer = true,
    .prepare = int8_prepare,
    .expand = nibbles_expand,
    .multiply = int8_expanded,
    .direct = int8_nibbles,
};

// ---- codes x bf16

// bf16 of 0 .. 15 less `offset`, times `factor`, twice over: the index of VPERMW has 5 bits, the
// fifth of which is the neighbour's.
static inline __m512i code_table(int offset, int factor) {
    uint16_t table[32];
    for (int i = 0; i < 32; i++) {
        table[i] = bf16_from_f32((float)((i % 16 - offset) * factor));
    }
    return _mm512_loadu_si512(table);
}

// The four nibbles of every 16-bit word, lowest first: of an int4 vector the columns (0, 2), (4,
// 6), (1, 3), (5, 7) of each output; of an int8 vector low (0, 2), high (0, 2), low (1, 3), high
// (1, 3).
static inline void split_codes(__m512i words, __m512i even, __m512i odd, __m512bh out[4]) {
    out[0] = (__m512bh)_mm512_permutexvar_epi16(words, even);
    out[1] = (__m512bh)_mm512_permutexvar_epi16(_mm512_srli_epi16(words, 4), odd);
    out[2] = (__m512bh)_mm512_permutexvar_epi16(_mm512_srli_epi16(words, 8), even);
    out[3] = (__m512bh)_mm512_permutexvar_epi16(_mm512_srli_epi16(words, 12), odd);
}

static inline void code_tables(WeightLevel level, __m512i *even, __m512i *odd) {
    *even = level == LEVEL_INT4 ? code_table(8, 1) : code_table(0, 1);
    *odd = level == LEVEL_INT4 ? *even : code_table(8, 16);
}

static inline __attribute__((always_inline)) void code_rows(const LinearTile *tile, uint32_t row,
                                                            const uint32_t n,
                                                            const WeightLevel level,
                                                            const bool expanded) {
    const unsigned char *w = tile->weights;
    const unsigned char *x = tile->x + (size_t)row * LINEAR_PITCH;
    float *sums = tile->sums + (size_t)row * tile->sum_stride;
    // Bytes of x of one vector of codes, and where in them the pair of each split part lies.
    const uint32_t step = level == LEVEL_INT4 ? 16 : 8;
    const uint32_t at[4] = {0, level == LEVEL_INT4 ? 8 : 0, 4, level == LEVEL_INT4 ? 12 : 4};
    __m512i even, odd;
    code_tables(level, &even, &odd);
    __m512 acc[12];
    UNROLL for (uint32_t t = 0; t < n; t++) {
        acc[t] = _mm512_loadu_ps(sums + t * tile->sum_stride);
    }
    for (uint32_t g = 0; g < tile->k_count / tile->group; g++) {
        __m512 dots[12];
        UNROLL for (uint32_t t = 0; t < n; t++) {
            dots[t] = _mm512_setzero_ps();
        }
        for (uint32_t i = 0; i < tile->group * 2; i += step, x += step) {
            __m512bh parts[4];
            if (expanded) {
                UNROLL for (uint32_t j = 0; j < 4; j++) {
                    parts[j] = (__m512bh)_mm512_load_si512(w + j * 64);
                }
                w += 256;
            } else {
                _mm_prefetch((const char *)w + STREAM_AHEAD, _MM_HINT_T0);
                split_codes(_mm512_load_si512(w), even, odd, parts);
                w += 64;
            }
            UNROLL for (uint32_t j = 0; j < 4; j++) {
                UNROLL for (uint32_t t = 0; t < n; t++) {
                    __m512bh pair = (__m512bh)quad_of_row(x, t, at[j]);
                    dots[t] = _mm512_dpbf16_ps(dots[t], parts[j], pair);
                }
            }
        }
        __m512 scale = group_scales(tile->scales + (size_t)g * MATRIX_PANEL);
        UNROLL for (uint32_t t = 0; t < n; t++) {
            acc[t] = _mm512_fmadd_ps(dots[t], scale, acc[t]);
        }
    }
    UNROLL for (uint32_t t = 0; t < n; t++) {
        _mm512_storeu_ps(sums + t * tile->sum_stride, acc[t]);
    }
}

#define CODE_KERNEL(name, level, expanded)                                                         \
    static inline __attribute__((always_inline)) void name##_rows(                                 \
        const LinearTile *tile, uint32_t row, const uint32_t n) {                                  \
        code_rows(tile, row, n, level, expanded);                                                  \
    }                                                                                              \
    static void name(const LinearTile *tile) {                                                     \
        TILE_ROWS(name##_rows, tile, 12u)                                                          \
    }

CODE_KERNEL(int4_bf16_expanded, LEVEL_INT4, true)
CODE_KERNEL(int4_bf16_direct, LEVEL_INT4, false)
CODE_KERNEL(int8_bf16_expanded, LEVEL_INT8, true)
CODE_KERNEL(int8_bf16_direct, LEVEL_INT8, false)

// Columns 0, 2, 1, 3 of every four: the pairs that split_codes yields.
static void code_prepare(const Activation *in, uint32_t row, uint32_t k, uint32_t count,
                         void *out) {
    const uint16_t *from = activation_bf16(in, row) + k;
    uint16_t *to = out;
    for (uint32_t i = 0; i < count; i += 32) {
        __m512i x = _mm512_loadu_si512(from + i);
        x = _mm512_shufflehi_epi16(_mm512_shufflelo_epi16(x, 0xD8), 0xD8);
        _mm512_storeu_si512(to + i, x);
    }
}

static void code_expand(const Matrix *weight, uint32_t panel, uint32_t k, uint32_t count,
                        void *out) {
    uint32_t per_vector = weight->level == LEVEL_INT4 ? 8 : 4; // columns
    size_t first = (size_t)panel * weight->padded_columns + k;
    const uint8_t *from = (const uint8_t *)weight->codes + first / per_vector * 64;
    uint8_t *to = out;
    __m512i even, odd;
    code_tables(weight->level, &even, &odd);
    for (uint32_t i = 0; i < count; i += per_vector, from += 64, to += 256) {
        __m512bh parts[4];
        split_codes(_mm512_load_si512(from), even, odd, parts);
        UNROLL for (uint32_t j = 0; j < 4; j++) {
            _mm512_store_si512(to + j * 64, (__m512i)parts[j]);
        }
    }
}

static const LinearFamily int4_by_bf16 = {
    .x_bytes = 2,
    .direct_rows = LINEAR_STREAM_ROWS,
    .prepare = code_prepare,
    .expand = code_expand,
    .multiply = int4_bf16_expanded,
    .direct = int4_bf16_direct,
};

static const LinearFamily int8_by_bf16 = {
    .x_bytes = 2,
    .direct_rows = LINEAR_STREAM_ROWS,
    .prepare = code_prepare,
    .expand = code_expand,
    .multiply = int8_bf16_expanded,
    .direct = int8_bf16_direct,
};

// ---- bf16 x bf16

static inline __attribute__((always_inline)) void bf16_rows(const LinearTile *tile, uint32_t row,
                                                            const uint32_t n) {
    const unsigned char *w = tile->weights;
    const unsigned char *x = tile->x + (size_t)row * LINEAR_PITCH;
    float *sums = tile->sums + (size_t)row * tile->sum_stride;
    __m512 acc[12];
    UNROLL for (uint32_t t = 0; t < n; t++) {
        acc[t] = _mm512_loadu_ps(sums + t * tile->sum_stride);
    }
    for (uint32_t i = 0; i < tile->k_count; i += 2, w += 64, x += 4) {
        _mm_prefetch((const char *)w + STREAM_AHEAD, _MM_HINT_T0);
        __m512bh weight = (__m512bh)_mm512_load_si512(w);
        UNROLL for (uint32_t t = 0; t < n; t++) {
            acc[t] = _mm512_dpbf16_ps(acc[t], weight, (__m512bh)quad_of_row(x, t, 0));
        }
    }
    UNROLL for (uint32_t t = 0; t < n; t++) {
        _mm512_storeu_ps(sums + t * tile->sum_stride, acc[t]);
    }
}

static void bf16_stored(const LinearTile *tile) {
    TILE_ROWS(bf16_rows, tile, 12u)
}

static void bf16_prepare(const Activation *in, uint32_t row, uint32_t k, uint32_t count,
                         void *out) {
    memcpy(out, activation_bf16(in, row) + k, count * sizeof(uint16_t));
}

static const LinearFamily bf16_by_bf16 = {
    .x_bytes = 2,
    .direct_rows = UINT32_MAX,
    .prepare = bf16_prepare,
    .direct = bf16_stored,
};

static const LinearFamily *choose_family(WeightLevel level, ActivationKind kind) {
    static const LinearFamily *const families[LEVEL_COUNT][ACTIVATION_KIND_COUNT] = {
        [LEVEL_BF16] = {[ACTIVATION_BF16] = &bf16_by_bf16},
        [LEVEL_INT8] = {[ACTIVATION_BF16] = &int8_by_bf16, [ACTIVATION_INT8] = &int8_by_int8},
        [LEVEL_INT4] = {[ACTIVATION_BF16] = &int4_by_bf16, [ACTIVATION_INT8] = &int4_by_int8},
    };
    const LinearFamily *family = families[level][kind];
    return family != NULL ? family : float_family(level);
}

Status linear_avx512(void *context, const OpLinear *op) {
    linear_run(context, op, choose_family, linear_finish);
    return OK;
}
