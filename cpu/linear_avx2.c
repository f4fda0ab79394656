// SPDX-License-Identifier: Apache-2.0
// linear, AVX2. A panel is two vectors of 8 outputs; one operand broadcast from memory is some
// columns of one row; a tile is 1 panel x 4 rows, so that 8 chains, the weights and a product fit
// 16 registers.
//
//   int8 x int8   VPMADDUBSW would saturate (two products of 255 * 127), so codes and activations
//                 are widened to 16 bits: VPMADDWD over pairs of columns, VPADDD. int32 = -offset *
//                 sum(x), then the group's pairs, then sum += (float)int32 * scale.
//   int4 x int8   VPMADDUBSW over quads of columns into 16-bit sums. A step adds at most 2 * 15 *
//                 127 = 3810, so a block of 32 columns (8 steps, 30480) is exact; VPMADDWD by ones
//                 then widens it to the group's int32. That is 9 multiplications per output and 32
//                 columns where int8 needs 16.
//   the rest      f32 (linear_lanes.h)
//
// Up to LINEAR_STREAM_ROWS rows the codes are read as they are stored, once; for more, the block of
// a panel is expanded into L1 and used for all rows. Both do the same additions in the same order.
#include "cpu/linear_lanes.h"

#include <immintrin.h>

enum { STREAM_AHEAD = 2048 }; // bytes between a read and its prefetch
#define INTEGER_TILE 4u

#define UNROLL _Pragma("GCC unroll 4")

typedef struct Integers { // of the 16 outputs of a panel
    __m256i low, high;
} Integers;

LANES_INLINE Integers integers_set(int32_t x) {
    return (Integers){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}

LANES_INLINE Integers integers_load(const unsigned char *from) {
    return (Integers){_mm256_load_si256((const __m256i *)from),
                      _mm256_load_si256((const __m256i *)(from + 32))};
}

LANES_INLINE void integers_store(unsigned char *to, Integers x) {
    _mm256_store_si256((__m256i *)to, x.low);
    _mm256_store_si256((__m256i *)(to + 32), x.high);
}

// An empty asm that claims to change the sum: gcc would otherwise turn a chain of additions into a
// tree, whose terms do not fit the registers.
LANES_INLINE Integers integers_chain(__m256i low, __m256i high) {
    __asm__("" : "+x"(low), "+x"(high));
    return (Integers){low, high};
}

// The 4 bytes of row t at `offset`, to every lane.
LANES_INLINE __m256i quad_of_row(const unsigned char *x, uint32_t t, uint32_t offset) {
    int32_t quad;
    memcpy(&quad, x + t * LINEAR_PITCH + offset, sizeof quad);
    return _mm256_set1_epi32(quad);
}

// sums += (float)dots * scale for the n rows of a tile, one group.
LANES_INLINE void add_group(float *sums, uint32_t stride, const Integers *dots,
                            const uint16_t *scales, const uint32_t n) {
    __m256 low = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)scales));
    __m256 high = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(scales + 8)));
    UNROLL for (uint32_t t = 0; t < n; t++) {
        Lanes products = {_mm256_cvtepi32_ps(dots[t].low), _mm256_cvtepi32_ps(dots[t].high)};
        float *sum = sums + t * stride;
        lanes_store(sum, lanes_fma(products, (Lanes){low, high}, lanes_load(sum)));
    }
}

// ---- int8 x int8

// Of every quad of bytes the pair that begins at byte `first`, each widened to 16 bits.
LANES_INLINE Integers widen_pairs(Integers quads, const int first) {
    const char a = (char)first, b = (char)(first + 1);
    const __m256i places = _mm256_setr_epi8(
        a, -1, b, -1, a + 4, -1, b + 4, -1, a + 8, -1, b + 8, -1, a + 12, -1, b + 12, -1, //
        a, -1, b, -1, a + 4, -1, b + 4, -1, a + 8, -1, b + 8, -1, a + 12, -1, b + 12, -1);
    return (Integers){_mm256_shuffle_epi8(quads.low, places),
                      _mm256_shuffle_epi8(quads.high, places)};
}

LANES_INLINE Integers add_pairs(Integers sum, Integers w, __m256i x) {
    return integers_chain(_mm256_add_epi32(sum.low, _mm256_madd_epi16(w.low, x)),
                          _mm256_add_epi32(sum.high, _mm256_madd_epi16(w.high, x)));
}

LANES_INLINE void int8_rows(const LinearTile *tile, uint32_t row, const uint32_t n,
                            const bool expanded) {
    const unsigned char *w = tile->weights;
    const unsigned char *x = tile->x + (size_t)row * LINEAR_PITCH;
    const int32_t *starts = tile->starts + (size_t)row * tile->start_stride;
    float *sums = tile->sums + (size_t)row * tile->sum_stride;
    const uint32_t group = tile->group, groups = tile->k_count / group;
    for (uint32_t g = 0; g < groups; g++) {
        Integers dots[INTEGER_TILE];
        UNROLL for (uint32_t t = 0; t < n; t++) {
            dots[t] = integers_set(starts[t * tile->start_stride + g]);
        }
#pragma GCC unroll 2
        for (uint32_t i = 0; i < group; i += 4, x += 8) {
            Integers first, second;
            if (expanded) {
                first = integers_load(w);
                second = integers_load(w + 64);
                w += 128;
            } else {
                _mm_prefetch((const char *)w + STREAM_AHEAD, _MM_HINT_T0);
                Integers quads = integers_load(w);
                first = widen_pairs(quads, 0);
                second = widen_pairs(quads, 2);
                w += 64;
            }
            UNROLL for (uint32_t t = 0; t < n; t++) {
                dots[t] = add_pairs(dots[t], first, quad_of_row(x, t, 0));
            }
            UNROLL for (uint32_t t = 0; t < n; t++) {
                dots[t] = add_pairs(dots[t], second, quad_of_row(x, t, 4));
            }
        }
        add_group(sums, tile->sum_stride, dots, tile->scales + (size_t)g * MATRIX_PANEL, n);
    }
}

static void int8_prepare(const Activation *in, uint32_t row, uint32_t k, uint32_t count,
                         void *out) {
    const int8_t *from = activation_int8(in, row) + k;
    int16_t *to = out;
    for (uint32_t i = 0; i < count; i++) {
        to[i] = (int16_t)from[i];
    }
}

static void int8_expand(const Matrix *weight, uint32_t panel, uint32_t k, uint32_t count,
                        void *out) {
    size_t first = (size_t)panel * weight->padded_columns + k;
    const unsigned char *from = (const unsigned char *)weight->codes + first * MATRIX_PANEL;
    unsigned char *to = out;
    for (uint32_t i = 0; i < count; i += 4, from += 64, to += 128) {
        Integers quads = integers_load(from);
        integers_store(to, widen_pairs(quads, 0));
        integers_store(to + 64, widen_pairs(quads, 2));
    }
}

// ---- int4 x int8

// The low nibbles (columns 8i .. 8i + 3) or the high ones (8i + 4 .. 8i + 7) as bytes.
LANES_INLINE Integers nibbles_low(Integers codes) {
    const __m256i mask = _mm256_set1_epi8(15);
    return (Integers){_mm256_and_si256(codes.low, mask), _mm256_and_si256(codes.high, mask)};
}

LANES_INLINE Integers nibbles_high(Integers codes) {
    return nibbles_low(
        (Integers){_mm256_srli_epi16(codes.low, 4), _mm256_srli_epi16(codes.high, 4)});
}

LANES_INLINE Integers add_quads(Integers sum, Integers w, __m256i x) {
    return integers_chain(_mm256_add_epi16(sum.low, _mm256_maddubs_epi16(w.low, x)),
                          _mm256_add_epi16(sum.high, _mm256_maddubs_epi16(w.high, x)));
}

// 32 columns of n rows into 16-bit sums.
LANES_INLINE void int4_block(const unsigned char *w, const unsigned char *x, const uint32_t n,
                             const bool expanded, Integers *dots) {
    UNROLL for (uint32_t t = 0; t < n; t++) {
        dots[t] = integers_set(0);
    }
    for (uint32_t i = 0; i < ACTIVATION_BLOCK; i += 8) {
        Integers first, second;
        if (expanded) {
            first = integers_load(w + (size_t)i * 16);
            second = integers_load(w + (size_t)i * 16 + 64);
        } else {
            _mm_prefetch((const char *)w + i * 8 + STREAM_AHEAD, _MM_HINT_T0);
            Integers codes = integers_load(w + (size_t)i * 8);
            first = nibbles_low(codes);
            second = nibbles_high(codes);
        }
        UNROLL for (uint32_t t = 0; t < n; t++) {
            dots[t] = add_quads(dots[t], first, quad_of_row(x, t, i));
        }
        UNROLL for (uint32_t t = 0; t < n; t++) {
            dots[t] = add_quads(dots[t], second, quad_of_row(x, t, i + 4));
        }
    }
}

LANES_INLINE void int4_rows(const LinearTile *tile, uint32_t row, const uint32_t n,
                            const bool expanded) {
    const unsigned char *w = tile->weights;
    const unsigned char *x = tile->x + (size_t)row * LINEAR_PITCH;
    const int32_t *starts = tile->starts + (size_t)row * tile->start_stride;
    float *sums = tile->sums + (size_t)row * tile->sum_stride;
    const uint32_t block_bytes = ACTIVATION_BLOCK * MATRIX_PANEL / (expanded ? 1 : 2);
    const uint32_t group = tile->group, groups = tile->k_count / group;
    for (uint32_t g = 0; g < groups; g++) {
        Integers all[INTEGER_TILE], dots[INTEGER_TILE];
        UNROLL for (uint32_t t = 0; t < n; t++) {
            all[t] = integers_set(starts[t * tile->start_stride + g]);
        }
        for (uint32_t i = 0; i < group; i += ACTIVATION_BLOCK) {
            int4_block(w, x, n, expanded, dots);
            UNROLL for (uint32_t t = 0; t < n; t++) {
                all[t] = add_pairs(all[t], dots[t], _mm256_set1_epi16(1));
            }
            w += block_bytes;
            x += ACTIVATION_BLOCK;
        }
        add_group(sums, tile->sum_stride, all, tile->scales + (size_t)g * MATRIX_PANEL, n);
    }
}

static void int4_prepare(const Activation *in, uint32_t row, uint32_t k, uint32_t count,
                         void *out) {
    memcpy(out, activation_int8(in, row) + k, count);
}

static void int4_expand(const Matrix *weight, uint32_t panel, uint32_t k, uint32_t count,
                        void *out) {
    size_t first = (size_t)panel * weight->padded_columns + k;
    const unsigned char *from = (const unsigned char *)weight->codes + first * MATRIX_PANEL / 2;
    unsigned char *to = out;
    for (uint32_t i = 0; i < count; i += 8, from += 64, to += 128) {
        Integers codes = integers_load(from);
        integers_store(to, nibbles_low(codes));
        integers_store(to + 64, nibbles_high(codes));
    }
}

// ---- Families

#define INTEGER_KERNEL(name, rows, expanded)                                                       \
    LANES_INLINE void name##_rows(const LinearTile *tile, uint32_t row, const uint32_t n) {        \
        rows(tile, row, n, expanded);                                                              \
    }                                                                                              \
    static void name(const LinearTile *tile) {                                                     \
        TILE_ROWS(name##_rows, tile, INTEGER_TILE)                                                 \
    }

INTEGER_KERNEL(int8_expanded, int8_rows, true)
INTEGER_KERNEL(int8_stored, int8_rows, false)
INTEGER_KERNEL(int4_expanded, int4_rows, true)
INTEGER_KERNEL(int4_stored, int4_rows, false)

static const LinearFamily int8_by_int8 = {
    .x_bytes = 2,
    .direct_rows = LINEAR_STREAM_ROWS,
    .code_offset = 128,
    .integer = true,
    .prepare = int8_prepare,
    .expand = int8_expand,
    .multiply = int8_expanded,
    .direct = int8_stored,
};

static const LinearFamily int4_by_int8 = {
    .x_bytes = 1,
    .direct_rows = LINEAR_STREAM_ROWS,
    .code_offset = 8,
    .integer = true,
    .prepare = int4_prepare,
    .expand = int4_expand,
    .multiply = int4_expanded,
    .direct = int4_stored,
};

static const LinearFamily *choose_family(WeightLevel level, ActivationKind kind) {
    if (kind == ACTIVATION_INT8 && level >= LEVEL_INT8) {
        return level == LEVEL_INT8 ? &int8_by_int8 : &int4_by_int8;
    }
    return float_family(level);
}

Status linear_avx2(void *context, const OpLinear *op) {
    linear_run(context, op, choose_family, linear_finish);
    return OK;
}
