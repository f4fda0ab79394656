// SPDX-License-Identifier: Apache-2.0
// Lanes: sixteen floats, in whatever registers the file that includes this is compiled for (one
// AVX-512 register, two of AVX2, a plain array otherwise). Ops whose algorithm is the same on all
// instruction sets are written once over these few functions and compiled three times, so that a
// variant differs from another in its last bits only.
#ifndef CPU_LANES_H
#define CPU_LANES_H

#include "base/f16.h"

#include <float.h>
#include <math.h>
#include <stdint.h>

enum { LANES = 16 };

#define LANES_INLINE static inline __attribute__((always_inline, unused))

#if defined(__AVX512F__)
#include <immintrin.h>

typedef __m512 Lanes;

LANES_INLINE Lanes lanes_set(float x) {
    return _mm512_set1_ps(x);
}

LANES_INLINE Lanes lanes_load(const float *from) {
    return _mm512_loadu_ps(from);
}

LANES_INLINE void lanes_store(float *to, Lanes x) {
    _mm512_storeu_ps(to, x);
}

LANES_INLINE Lanes lanes_load_bf16(const uint16_t *from) {
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

// The even and the odd ones of 32 bf16 values.
LANES_INLINE void lanes_load_pairs(const uint16_t *from, Lanes *even, Lanes *odd) {
    __m512i pairs = _mm512_loadu_si512(from);
    *even = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    *odd = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000u)));
}

LANES_INLINE Lanes lanes_load_int8(const int8_t *from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
}

// The even and the odd ones of 32 int8 values.
LANES_INLINE void lanes_load_int8_pairs(const int8_t *from, Lanes *even, Lanes *odd) {
    __m512i pairs = _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)from));
    *even = _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(pairs, 24), 24));
    *odd = _mm512_cvtepi32_ps(_mm512_srai_epi32(pairs, 8));
}

LANES_INLINE Lanes lanes_load_f16(const uint16_t *from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
}

// Of sixteen 32-bit words the bits `mask` above `shift`, less `offset`.
LANES_INLINE Lanes lanes_load_codes(const uint8_t *from, uint32_t shift, uint32_t mask,
                                    int32_t offset) {
    __m512i words = _mm512_srl_epi32(_mm512_loadu_si512(from), _mm_cvtsi32_si128((int)shift));
    words = _mm512_and_si512(words, _mm512_set1_epi32((int)mask));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(words, _mm512_set1_epi32(offset)));
}

LANES_INLINE Lanes lanes_add(Lanes a, Lanes b) {
    return _mm512_add_ps(a, b);
}

LANES_INLINE Lanes lanes_sub(Lanes a, Lanes b) {
    return _mm512_sub_ps(a, b);
}

LANES_INLINE Lanes lanes_mul(Lanes a, Lanes b) {
    return _mm512_mul_ps(a, b);
}

LANES_INLINE Lanes lanes_div(Lanes a, Lanes b) {
    return _mm512_div_ps(a, b);
}

LANES_INLINE Lanes lanes_fma(Lanes a, Lanes b, Lanes c) {
    return _mm512_fmadd_ps(a, b, c);
}

// `b` where either is NaN.
LANES_INLINE Lanes lanes_max(Lanes a, Lanes b) {
    return _mm512_max_ps(a, b);
}

LANES_INLINE Lanes lanes_min(Lanes a, Lanes b) {
    return _mm512_min_ps(a, b);
}

LANES_INLINE Lanes lanes_round(Lanes x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

// x > bound ? yes : no; a NaN takes `no`.
LANES_INLINE Lanes lanes_if_above(Lanes x, Lanes bound, Lanes yes, Lanes no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, bound, _CMP_GT_OQ), no, yes);
}

// 2^n for whole n in [-126, 127].
LANES_INLINE Lanes lanes_power_of_two(Lanes n) {
    __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
}

#elif defined(__AVX2__)
#include <immintrin.h>

typedef struct Lanes {
    __m256 low, high;
} Lanes;

#define LANES_BOTH(expression_low, expression_high) ((Lanes){expression_low, expression_high})

LANES_INLINE Lanes lanes_set(float x) {
    return LANES_BOTH(_mm256_set1_ps(x), _mm256_set1_ps(x));
}

LANES_INLINE Lanes lanes_load(const float *from) {
    return LANES_BOTH(_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8));
}

LANES_INLINE void lanes_store(float *to, Lanes x) {
    _mm256_storeu_ps(to, x.low);
    _mm256_storeu_ps(to + 8, x.high);
}

LANES_INLINE __m256 lanes_half_bf16(const uint16_t *from) {
    __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
}

LANES_INLINE Lanes lanes_load_bf16(const uint16_t *from) {
    return LANES_BOTH(lanes_half_bf16(from), lanes_half_bf16(from + 8));
}

LANES_INLINE void lanes_load_pairs(const uint16_t *from, Lanes *even, Lanes *odd) {
    __m256i low = _mm256_loadu_si256((const __m256i *)from);
    __m256i high = _mm256_loadu_si256((const __m256i *)(from + 16));
    __m256i mask = _mm256_set1_epi32((int)0xffff0000u);
    *even = LANES_BOTH(_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)),
                       _mm256_castsi256_ps(_mm256_slli_epi32(high, 16)));
    *odd = LANES_BOTH(_mm256_castsi256_ps(_mm256_and_si256(low, mask)),
                      _mm256_castsi256_ps(_mm256_and_si256(high, mask)));
}

LANES_INLINE __m256 lanes_half_int8(const int8_t *from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from)));
}

LANES_INLINE Lanes lanes_load_int8(const int8_t *from) {
    return LANES_BOTH(lanes_half_int8(from), lanes_half_int8(from + 8));
}

LANES_INLINE void lanes_half_int8_pairs(const int8_t *from, __m256 *even, __m256 *odd) {
    __m256i pairs = _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)from));
    *even = _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(pairs, 24), 24));
    *odd = _mm256_cvtepi32_ps(_mm256_srai_epi32(pairs, 8));
}

LANES_INLINE void lanes_load_int8_pairs(const int8_t *from, Lanes *even, Lanes *odd) {
    lanes_half_int8_pairs(from, &even->low, &odd->low);
    lanes_half_int8_pairs(from + 16, &even->high, &odd->high);
}

LANES_INLINE Lanes lanes_load_f16(const uint16_t *from) {
    return LANES_BOTH(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from)),
                      _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + 8))));
}

LANES_INLINE __m256 lanes_half_codes(const uint8_t *from, uint32_t shift, uint32_t mask,
                                     int32_t offset) {
    __m256i words = _mm256_loadu_si256((const __m256i *)from);
    words = _mm256_srl_epi32(words, _mm_cvtsi32_si128((int)shift));
    words = _mm256_and_si256(words, _mm256_set1_epi32((int)mask));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(words, _mm256_set1_epi32(offset)));
}

LANES_INLINE Lanes lanes_load_codes(const uint8_t *from, uint32_t shift, uint32_t mask,
                                    int32_t offset) {
    return LANES_BOTH(lanes_half_codes(from, shift, mask, offset),
                      lanes_half_codes(from + 32, shift, mask, offset));
}

LANES_INLINE Lanes lanes_add(Lanes a, Lanes b) {
    return LANES_BOTH(_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high));
}

LANES_INLINE Lanes lanes_sub(Lanes a, Lanes b) {
    return LANES_BOTH(_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high));
}

LANES_INLINE Lanes lanes_mul(Lanes a, Lanes b) {
    return LANES_BOTH(_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high));
}

LANES_INLINE Lanes lanes_div(Lanes a, Lanes b) {
    return LANES_BOTH(_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high));
}

LANES_INLINE Lanes lanes_fma(Lanes a, Lanes b, Lanes c) {
    return LANES_BOTH(_mm256_fmadd_ps(a.low, b.low, c.low),
                      _mm256_fmadd_ps(a.high, b.high, c.high));
}

LANES_INLINE Lanes lanes_max(Lanes a, Lanes b) {
    return LANES_BOTH(_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high));
}

LANES_INLINE Lanes lanes_min(Lanes a, Lanes b) {
    return LANES_BOTH(_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high));
}

LANES_INLINE Lanes lanes_round(Lanes x) {
    return LANES_BOTH(_mm256_round_ps(x.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                      _mm256_round_ps(x.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

LANES_INLINE Lanes lanes_if_above(Lanes x, Lanes bound, Lanes yes, Lanes no) {
    return LANES_BOTH(
        _mm256_blendv_ps(no.low, yes.low, _mm256_cmp_ps(x.low, bound.low, _CMP_GT_OQ)),
        _mm256_blendv_ps(no.high, yes.high, _mm256_cmp_ps(x.high, bound.high, _CMP_GT_OQ)));
}

LANES_INLINE __m256 lanes_half_power(__m256 n) {
    __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}

LANES_INLINE Lanes lanes_power_of_two(Lanes n) {
    return LANES_BOTH(lanes_half_power(n.low), lanes_half_power(n.high));
}

#else

typedef struct Lanes {
    float v[LANES];
} Lanes;

#define LANES_EACH(expression)                                                                     \
    Lanes out;                                                                                     \
    for (int i = 0; i < LANES; i++) {                                                              \
        out.v[i] = (expression);                                                                   \
    }                                                                                              \
    return out

LANES_INLINE Lanes lanes_set(float x) {
    LANES_EACH(x);
}

LANES_INLINE Lanes lanes_load(const float *from) {
    LANES_EACH(from[i]);
}

LANES_INLINE void lanes_store(float *to, Lanes x) {
    memcpy(to, x.v, sizeof x.v);
}

LANES_INLINE Lanes lanes_load_bf16(const uint16_t *from) {
    LANES_EACH(bf16_to_f32(from[i]));
}

LANES_INLINE void lanes_load_pairs(const uint16_t *from, Lanes *even, Lanes *odd) {
    for (int i = 0; i < LANES; i++) {
        even->v[i] = bf16_to_f32(from[2 * i]);
        odd->v[i] = bf16_to_f32(from[2 * i + 1]);
    }
}

LANES_INLINE Lanes lanes_load_int8(const int8_t *from) {
    LANES_EACH((float)from[i]);
}

LANES_INLINE void lanes_load_int8_pairs(const int8_t *from, Lanes *even, Lanes *odd) {
    for (int i = 0; i < LANES; i++) {
        even->v[i] = (float)from[2 * i];
        odd->v[i] = (float)from[2 * i + 1];
    }
}

LANES_INLINE Lanes lanes_load_f16(const uint16_t *from) {
    LANES_EACH(f16_to_f32(from[i]));
}

LANES_INLINE float lanes_one_code(const uint8_t *from, uint32_t shift, uint32_t mask,
                                  int32_t offset) {
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return (float)((int32_t)(word >> shift & mask) - offset);
}

LANES_INLINE Lanes lanes_load_codes(const uint8_t *from, uint32_t shift, uint32_t mask,
                                    int32_t offset) {
    LANES_EACH(lanes_one_code(from + (size_t)i * 4, shift, mask, offset));
}

LANES_INLINE Lanes lanes_add(Lanes a, Lanes b) {
    LANES_EACH(a.v[i] + b.v[i]);
}

LANES_INLINE Lanes lanes_sub(Lanes a, Lanes b) {
    LANES_EACH(a.v[i] - b.v[i]);
}

LANES_INLINE Lanes lanes_mul(Lanes a, Lanes b) {
    LANES_EACH(a.v[i] * b.v[i]);
}

LANES_INLINE Lanes lanes_div(Lanes a, Lanes b) {
    LANES_EACH(a.v[i] / b.v[i]);
}

// Rounded twice where the processor has no fused form.
LANES_INLINE Lanes lanes_fma(Lanes a, Lanes b, Lanes c) {
    LANES_EACH(a.v[i] * b.v[i] + c.v[i]);
}

LANES_INLINE Lanes lanes_max(Lanes a, Lanes b) {
    LANES_EACH(a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}

LANES_INLINE Lanes lanes_min(Lanes a, Lanes b) {
    LANES_EACH(a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}

LANES_INLINE Lanes lanes_round(Lanes x) {
    LANES_EACH(nearbyintf(x.v[i]));
}

LANES_INLINE Lanes lanes_if_above(Lanes x, Lanes bound, Lanes yes, Lanes no) {
    LANES_EACH(x.v[i] > bound.v[i] ? yes.v[i] : no.v[i]);
}

LANES_INLINE float lanes_one_power(float n) {
    uint32_t bits = (uint32_t)((int32_t)n + 127) << 23;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

LANES_INLINE Lanes lanes_power_of_two(Lanes n) {
    LANES_EACH(lanes_one_power(n.v[i]));
}

#endif

// Sum and maximum over the lanes, always folded in halves: lane i with lane i + 8, + 4, + 2, + 1.
LANES_INLINE float lanes_sum(Lanes x) {
    float v[LANES];
    lanes_store(v, x);
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            v[i] += v[i + half];
        }
    }
    return v[0];
}

LANES_INLINE float lanes_highest(Lanes x) {
    float v[LANES];
    lanes_store(v, x);
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            v[i] = v[i] > v[i + half] ? v[i] : v[i + half];
        }
    }
    return v[0];
}

// exp(x) for x <= 88, within 2 units in the last place; exactly 0 below -87.3, where the result
// would be subnormal, and for NaN. Cody and Waite's reduction by ln 2 in two parts, then the Taylor
// polynomial of degree 7 on [-ln 2 / 2, ln 2 / 2], whose remainder is below 6e-9.
LANES_INLINE Lanes lanes_exp(Lanes x) {
    const Lanes lowest = lanes_set(-87.3f);
    Lanes safe = lanes_max(lanes_min(x, lanes_set(88.0f)), lowest);
    Lanes n = lanes_round(lanes_mul(safe, lanes_set(1.44269504f)));
    Lanes r = lanes_fma(n, lanes_set(-0.693359375f), safe);
    r = lanes_fma(n, lanes_set(2.12194440e-4f), r);
    Lanes y = lanes_set(1.0f / 5040.0f);
    y = lanes_fma(y, r, lanes_set(1.0f / 720.0f));
    y = lanes_fma(y, r, lanes_set(1.0f / 120.0f));
    y = lanes_fma(y, r, lanes_set(1.0f / 24.0f));
    y = lanes_fma(y, r, lanes_set(1.0f / 6.0f));
    y = lanes_fma(y, r, lanes_set(0.5f));
    y = lanes_fma(y, r, lanes_set(1.0f));
    y = lanes_fma(y, r, lanes_set(1.0f));
    return lanes_if_above(x, lowest, lanes_mul(y, lanes_power_of_two(n)), lanes_set(0.0f));
}

#endif
