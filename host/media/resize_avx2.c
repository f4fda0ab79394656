// SPDX-License-Identifier: Apache-2.0
// Both passes with AVX2; the same bytes as the scalar ones.
//
// Products are made in pairs: vpmaddwd takes two 16-bit pixels and two weights and gives their
// 32-bit sum. Horizontal: a register holds 4 taps of one row, two per 128-bit lane, spread from 12
// packed bytes by one shuffle:
//     lane 0: r0 r1 g0 g1 b0 b1 0 0     lane 1: r2 r3 g2 g3 b2 b3 0 0     (16 bits each)
// and the weights w0 w1 (lane 0), w2 w3 (lane 1) repeat four times. Four rows share the weights.
// Vertical: bytes of two rows interleave to pairs; 32 columns at a time.
#include "host/media/resize.h"

#include <immintrin.h>
#include <string.h>

enum { ROWS = 4, TAPS = RESIZE_TAPS_MULTIPLE };

void resize_horizontal_avx2(const ResizeAxis *axis, const uint8_t *rows, size_t source_stride,
                            uint32_t row_count, uint8_t *out, size_t out_stride) {
    const __m256i spread =
        _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1, 9, -1, 7,
                         -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    const __m256i repeat = _mm256_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6,
                                            7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7);
    // The constant is added once per output: to lane 0 only, as the lanes are added at the end.
    const __m256i half =
        _mm256_set_m128i(_mm_setzero_si128(), _mm_set1_epi32(1 << (axis->precision - 1)));
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
            __m256i sum[ROWS] = {half, half, half, half};
            for (uint32_t tap = 0; tap < axis->count[x]; tap += TAPS) {
                int64_t four;
                memcpy(&four, weights + tap, sizeof four);
                __m256i weight = _mm256_shuffle_epi8(_mm256_set1_epi64x(four), repeat);
#pragma GCC unroll 4
                for (uint32_t i = 0; i < ROWS; i++) {
                    const void *from = source + at[i] * source_stride + (size_t)tap * 3;
                    __m256i pixels = _mm256_broadcastsi128_si256(_mm_loadu_si128(from));
                    pixels = _mm256_shuffle_epi8(pixels, spread);
                    sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(pixels, weight));
                }
            }
            __m256i low = _mm256_add_epi32(_mm256_permute2x128_si256(sum[0], sum[1], 0x20),
                                           _mm256_permute2x128_si256(sum[0], sum[1], 0x31));
            __m256i high = _mm256_add_epi32(_mm256_permute2x128_si256(sum[2], sum[3], 0x20),
                                            _mm256_permute2x128_si256(sum[2], sum[3], 0x31));
            __m256i words = _mm256_packs_epi32(_mm256_sra_epi32(low, precision),
                                               _mm256_sra_epi32(high, precision));
            __m256i bytes = _mm256_packus_epi16(words, words); // rows 0 2 0 2, rows 1 3 1 3
            uint64_t even = (uint64_t)_mm256_extract_epi64(bytes, 0);
            uint64_t odd = (uint64_t)_mm256_extract_epi64(bytes, 2);
            const uint32_t pixel[ROWS] = {(uint32_t)even, (uint32_t)odd, (uint32_t)(even >> 32),
                                          (uint32_t)(odd >> 32)};
#pragma GCC unroll 4
            for (uint32_t i = 0; i < ROWS; i++) {
                memcpy(out + at[i] * out_stride + (size_t)x * 3, &pixel[i], 4);
            }
        }
    }
}

static void vertical(const ResizeAxis *axis, uint32_t index, const uint8_t *rows, size_t stride,
                     size_t bytes, uint8_t *out) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i half = _mm256_set1_epi32(1 << (axis->precision - 1));
    const __m128i precision = _mm_cvtsi32_si128((int)axis->precision);
    const int16_t *weights = axis->weights + (size_t)index * axis->taps;
    uint32_t count = axis->count[index];
    for (size_t i = 0; i < bytes; i += 32) {
        const uint8_t *source = rows + axis->first[index] * stride + i;
        __m256i sum[4] = {half, half, half, half};
        for (uint32_t tap = 0; tap < count; tap += 2) {
            // An odd last tap pairs with itself; the weight there is padding, 0.
            const uint8_t *a = source + tap * stride;
            const uint8_t *b = tap + 1 < count ? a + stride : a;
            int32_t two;
            memcpy(&two, weights + tap, sizeof two);
            __m256i weight = _mm256_set1_epi32(two);
            __m256i row_a = _mm256_loadu_si256((const void *)a);
            __m256i row_b = _mm256_loadu_si256((const void *)b);
            __m256i low = _mm256_unpacklo_epi8(row_a, row_b);
            __m256i high = _mm256_unpackhi_epi8(row_a, row_b);
            __m256i pairs[4] = {_mm256_unpacklo_epi8(low, zero), _mm256_unpackhi_epi8(low, zero),
                                _mm256_unpacklo_epi8(high, zero), _mm256_unpackhi_epi8(high, zero)};
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++) {
                sum[k] = _mm256_add_epi32(sum[k], _mm256_madd_epi16(pairs[k], weight));
            }
        }
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            sum[k] = _mm256_sra_epi32(sum[k], precision);
        }
        // Packing within lanes undoes unpacking within lanes: the order comes out right.
        __m256i low = _mm256_packs_epi32(sum[0], sum[1]);
        __m256i high = _mm256_packs_epi32(sum[2], sum[3]);
        _mm256_storeu_si256((void *)(out + i), _mm256_packus_epi16(low, high));
    }
}

const ResizeKernels resize_kernels_avx2 = {resize_horizontal_avx2, vertical};
