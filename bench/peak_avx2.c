// SPDX-License-Identifier: Apache-2.0
// The loops of peak.h with AVX2 and FMA.
#include "bench/peak_loop.h"

#include <immintrin.h>

#define PEAK_FLOATS(i) _mm256_set1_ps((float)(i))

// The product is written as the instruction, or the compiler would multiply the constants once.
static inline __attribute__((always_inline)) __m256i int8_dot(__m256i sum) {
    __m256i pairs;
    __asm__ volatile("vpmaddubsw %1, %1, %0" : "=x"(pairs) : "x"(_mm256_set1_epi8(3)));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

PEAK_LOOP(int8_dots, __m256i, _mm256_set1_epi32, int8_dot(acc[i]))
PEAK_LOOP(f32_dots, __m256, PEAK_FLOATS,
          _mm256_fmadd_ps(_mm256_set1_ps(0.5f), _mm256_set1_ps(0.25f), acc[i]))

static uint64_t read_words(const uint64_t *from, size_t words) {
    const __m256i *vectors = (const __m256i *)from;
    __m256i even = _mm256_setzero_si256();
    __m256i odd = _mm256_setzero_si256();
    for (size_t i = 0; i < words / 4; i += 2) {
        even = _mm256_add_epi64(even, _mm256_load_si256(vectors + i));
        odd = _mm256_add_epi64(odd, _mm256_load_si256(vectors + i + 1));
    }
    uint64_t sums[4];
    _mm256_storeu_si256((__m256i *)sums, _mm256_add_epi64(even, odd));
    return sums[0] + sums[1] + sums[2] + sums[3];
}

const PeakLoops peak_loops_avx2 = {
    .int8 = int8_dots,
    .bf16 = f32_dots,
    .f32 = f32_dots,
    .int8_operations = 2 * 32,
    .bf16_operations = 2 * 8,
    .f32_operations = 2 * 8,
    .read = read_words,
};
