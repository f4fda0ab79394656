// SPDX-License-Identifier: Apache-2.0
// The loops of peak.h with AVX-512 VNNI and BF16.
#include "bench/peak_loop.h"

#include <immintrin.h>

#define PEAK_FLOATS(i) _mm512_set1_ps((float)(i))

PEAK_LOOP(int8_dots, __m512i, _mm512_set1_epi32,
          _mm512_dpbusd_epi32(acc[i], _mm512_set1_epi8(3), _mm512_set1_epi8(5)))
PEAK_LOOP(bf16_dots, __m512, PEAK_FLOATS,
          _mm512_dpbf16_ps(acc[i], (__m512bh)_mm512_set1_epi16(0x3f80),
                           (__m512bh)_mm512_set1_epi16(0x3f80)))
PEAK_LOOP(f32_dots, __m512, PEAK_FLOATS,
          _mm512_fmadd_ps(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f), acc[i]))

static uint64_t read_words(const uint64_t *from, size_t words) {
    __m512i even = _mm512_setzero_si512();
    __m512i odd = _mm512_setzero_si512();
    for (size_t i = 0; i < words; i += 16) {
        even = _mm512_add_epi64(even, _mm512_load_si512(from + i));
        odd = _mm512_add_epi64(odd, _mm512_load_si512(from + i + 8));
    }
    return (uint64_t)_mm512_reduce_add_epi64(_mm512_add_epi64(even, odd));
}

const PeakLoops peak_loops_avx512 = {
    .int8 = int8_dots,
    .bf16 = bf16_dots,
    .f32 = f32_dots,
    .int8_operations = 2 * 64,
    .bf16_operations = 2 * 32,
    .f32_operations = 2 * 16,
    .read = read_words,
};
