// SPDX-License-Identifier: Apache-2.0
// Both passes with AVX-512 (BW and VNNI); the same bytes as the scalar ones.
//
// As in resize_avx2.c, but a register holds 8 taps of one row, two per 128-bit lane. 8 taps are 24
// packed bytes; a permutation of 16-bit words brings bytes 6k to 6k+5 to lane k, and a shuffle in
// each lane spreads them to r r g g b b. vpdpwssd multiplies, adds pairs and accumulates.
#include "host/media/resize.h"

#include <immintrin.h>
#include <string.h>

enum { ROWS = 4, TAPS = RESIZE_TAPS_MULTIPLE };

static void horizontal(const ResizeAxis *axis, const uint8_t *rows, size_t source_stride,
                       uint32_t row_count, uint8_t *out, size_t out_stride) {
    static const uint16_t to_lanes_words[32] = {0, 1, 2, 0, 0, 0, 0, 0, 3, 4,  5,  0, 0, 0, 0, 0,
                                                6, 7, 8, 0, 0, 0, 0, 0, 9, 10, 11, 0, 0, 0, 0, 0};
    const __m512i to_lanes = _mm512_loadu_si512(to_lanes_words);
    const __m512i spread = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
    const __m512i repeat = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    // The constant is added once per output: to lane 0 only, as the lanes are added at the end.
    const __m512i half = _mm512_zextsi128_si512(_mm_set1_epi32(1 << (axis->precision - 1)));
    const __m128i precision = _mm_cvtsi32_si128((int)axis->precision);
    for (uint32_t row = 0; row < row_count; row += ROWS) {
        // A last group of fewer rows works on its last row several times.
        size_t at[ROWS];
#pragma GCC unroll 4
        for (uint32_t i = 0; i < ROWS; i++) {
            at[i] = row + i < row_count ? row + i : row_count - 1;
        }
        for (uint32_t x = 0; x < axis->target; x++) {
            const int16_t *weights = axis->weights + (size_t)x * axis->taps;
            const uint8_t *source = rows + (size_t)axis->first[x] * 3;
            __m512i sum[ROWS] = {half, half, half, half};
            for (uint32_t tap = 0; tap < axis->count[x]; tap += TAPS) {
                __m512i weight = _mm512_permutexvar_epi32(
                    repeat, _mm512_castsi128_si512(_mm_loadu_si128((const void *)(weights + tap))));
#pragma GCC unroll 4
                for (uint32_t i = 0; i < ROWS; i++) {
                    const void *from = source + at[i] * source_stride + (size_t)tap * 3;
                    __m512i pixels = _mm512_castsi256_si512(_mm256_loadu_si256(from));
                    pixels = _mm512_permutexvar_epi16(to_lanes, pixels);
                    pixels = _mm512_shuffle_epi8(pixels, spread);
                    sum[i] = _mm512_dpwssd_epi32(sum[i], pixels, weight);
                }
            }
            // Four sums of four lanes each become one register whose lane i is the sum of row i.
            __m512i low = _mm512_add_epi32(_mm512_shuffle_i32x4(sum[0], sum[1], 0x88),
                                           _mm512_shuffle_i32x4(sum[0], sum[1], 0xDD));
            __m512i high = _mm512_add_epi32(_mm512_shuffle_i32x4(sum[2], sum[3], 0x88),
                                            _mm512_shuffle_i32x4(sum[2], sum[3], 0xDD));
            __m512i all = _mm512_add_epi32(_mm512_shuffle_i32x4(low, high, 0x88),
                                           _mm512_shuffle_i32x4(low, high, 0xDD));
            all = _mm512_max_epi32(_mm512_sra_epi32(all, precision), _mm512_setzero_si512());
            __m128i bytes = _mm512_cvtusepi32_epi8(all);
            const uint32_t pixel[ROWS] = {
                (uint32_t)_mm_extract_epi32(bytes, 0), (uint32_t)_mm_extract_epi32(bytes, 1),
                (uint32_t)_mm_extract_epi32(bytes, 2), (uint32_t)_mm_extract_epi32(bytes, 3)};
#pragma GCC unroll 4
            for (uint32_t i = 0; i < ROWS; i++) {
                memcpy(out + at[i] * out_stride + (size_t)x * 3, &pixel[i], 4);
            }
        }
    }
}

static void vertical(const ResizeAxis *axis, uint32_t index, const uint8_t *rows, size_t stride,
                     size_t bytes, uint8_t *out) {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i half = _mm512_set1_epi32(1 << (axis->precision - 1));
    const __m128i precision = _mm_cvtsi32_si128((int)axis->precision);
    const int16_t *weights = axis->weights + (size_t)index * axis->taps;
    uint32_t count = axis->count[index];
    for (size_t i = 0; i < bytes; i += 64) {
        const uint8_t *source = rows + axis->first[index] * stride + i;
        __m512i sum[4] = {half, half, half, half};
        for (uint32_t tap = 0; tap < count; tap += 2) {
            // An odd last tap pairs with itself; the weight there is padding, 0.
            const uint8_t *a = source + tap * stride;
            const uint8_t *b = tap + 1 < count ? a + stride : a;
            int32_t two;
            memcpy(&two, weights + tap, sizeof two);
            __m512i weight = _mm512_set1_epi32(two);
            __m512i row_a = _mm512_loadu_si512(a);
            __m512i row_b = _mm512_loadu_si512(b);
            __m512i low = _mm512_unpacklo_epi8(row_a, row_b);
            __m512i high = _mm512_unpackhi_epi8(row_a, row_b);
            sum[0] = _mm512_dpwssd_epi32(sum[0], _mm512_unpacklo_epi8(low, zero), weight);
            sum[1] = _mm512_dpwssd_epi32(sum[1], _mm512_unpackhi_epi8(low, zero), weight);
            sum[2] = _mm512_dpwssd_epi32(sum[2], _mm512_unpacklo_epi8(high, zero), weight);
            sum[3] = _mm512_dpwssd_epi32(sum[3], _mm512_unpackhi_epi8(high, zero), weight);
        }
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            sum[k] = _mm512_sra_epi32(sum[k], precision);
        }
        // Packing within lanes undoes unpacking within lanes: the order comes out right.
        __m512i low = _mm512_packs_epi32(sum[0], sum[1]);
        __m512i high = _mm512_packs_epi32(sum[2], sum[3]);
        _mm512_storeu_si512(out + i, _mm512_packus_epi16(low, high));
    }
}

const ResizeKernels resize_kernels_avx512 = {horizontal, vertical};
