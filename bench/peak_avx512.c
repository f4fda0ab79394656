// SPDX-License-Identifier: Apache-2.0
// The register loops of peak.h. The empty asm keeps the compiler from folding the rounds, and
// different first values keep it from seeing twelve equal chains.
#include "bench/peak.h"

#include <immintrin.h>

#define PEAK_LOOP(name, type, zero, step)                                                          \
    void name(uint64_t rounds) {                                                                   \
        type acc[PEAK_CHAINS];                                                                     \
        _Pragma("GCC unroll 12") for (int i = 0; i < PEAK_CHAINS; i++) {                           \
            acc[i] = zero(i);                                                                      \
        }                                                                                          \
        for (uint64_t round = 0; round < rounds; round++) {                                        \
            _Pragma("GCC unroll 12") for (int i = 0; i < PEAK_CHAINS; i++) {                       \
                acc[i] = step;                                                                     \
            }                                                                                      \
            __asm__ volatile("" : "+v"(acc[0]));                                                   \
        }                                                                                          \
        _Pragma("GCC unroll 12") for (int i = 0; i < PEAK_CHAINS; i++) {                           \
            __asm__ volatile("" ::"v"(acc[i]));                                                    \
        }                                                                                          \
    }

#define PEAK_FLOATS(i) _mm512_set1_ps((float)(i))

PEAK_LOOP(peak_int8_avx512, __m512i, _mm512_set1_epi32,
          _mm512_dpbusd_epi32(acc[i], _mm512_set1_epi8(3), _mm512_set1_epi8(5)))
PEAK_LOOP(peak_bf16_avx512, __m512, PEAK_FLOATS,
          _mm512_dpbf16_ps(acc[i], (__m512bh)_mm512_set1_epi16(0x3f80),
                           (__m512bh)_mm512_set1_epi16(0x3f80)))
PEAK_LOOP(peak_f32_avx512, __m512, PEAK_FLOATS,
          _mm512_fmadd_ps(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f), acc[i]))

uint64_t peak_read_avx512(const uint64_t *from, size_t words) {
    __m512i even = _mm512_setzero_si512();
    __m512i odd = _mm512_setzero_si512();
    for (size_t i = 0; i < words; i += 16) {
        even = _mm512_add_epi64(even, _mm512_load_si512(from + i));
        odd = _mm512_add_epi64(odd, _mm512_load_si512(from + i + 8));
    }
    return (uint64_t)_mm512_reduce_add_epi64(_mm512_add_epi64(even, odd));
}
