// SPDX-License-Identifier: Apache-2.0
// activation_store over Lanes: the same bits as the definition in activation.h, for finite values.
#ifndef CPU_ACTIVATION_LANES_H
#define CPU_ACTIVATION_LANES_H

#include "cpu/activation.h"
#include "cpu/lanes.h"

#if defined(__AVX512F__)

// Sixteen values rounded to nearest even; returns their sum.
LANES_INLINE int32_t lanes_store_int8(int8_t *to, Lanes x) {
    __m512i whole = _mm512_cvtps_epi32(x);
    _mm_storeu_si128((__m128i *)to, _mm512_cvtepi32_epi8(whole));
    return _mm512_reduce_add_epi32(whole);
}

// Not VCVTNEPS2BF16, which takes subnormals for zeros.
LANES_INLINE void lanes_store_bf16(uint16_t *to, Lanes x) {
    __m512i bits = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

#else

LANES_INLINE int32_t lanes_store_int8(int8_t *to, Lanes x) {
    float whole[LANES];
    lanes_store(whole, lanes_round(x));
    int32_t sum = 0;
    for (int i = 0; i < LANES; i++) {
        int32_t value = (int32_t)whole[i];
        to[i] = (int8_t)value;
        sum += value;
    }
    return sum;
}

LANES_INLINE void lanes_store_bf16(uint16_t *to, Lanes x) {
    float values[LANES];
    lanes_store(values, x);
    for (int i = 0; i < LANES; i++) {
        to[i] = bf16_from_f32(values[i]);
    }
}

#endif

// Sixteen values from `from`, zeros from `count` on.
LANES_INLINE Lanes lanes_load_first(const float *from, uint32_t count) {
    if (count >= LANES) {
        return lanes_load(from);
    }
    float all[LANES] = {0};
    memcpy(all, from, count * sizeof *all);
    return lanes_load(all);
}

LANES_INLINE float activation_absmax(const float *x, uint32_t columns) {
    Lanes highest = lanes_set(0.0f);
    for (uint32_t i = 0; i < columns; i += LANES) {
        Lanes value = lanes_load_first(x + i, columns - i);
        Lanes magnitude = lanes_max(lanes_sub(lanes_set(0.0f), value), value);
        highest = lanes_max(magnitude, highest);
    }
    return lanes_highest(highest);
}

LANES_INLINE void activation_store_int8(const Activation *out, uint32_t row, const float *x) {
    uint32_t columns = out->columns;
    float absmax = activation_absmax(x, columns);
    bool zero = absmax < ACTIVATION_ABSMAX_MIN;
    Lanes factor = lanes_set(zero ? 0.0f : 127.0f / absmax);
    int8_t *values = activation_int8(out, row);
    int32_t *sums = activation_block_sums(out, row);
    out->scales[row] = zero ? 0.0f : absmax / 127.0f;
    memset(values, 0, out->stride);
    memset(sums, 0, out->stride / ACTIVATION_BLOCK * sizeof *sums);
    for (uint32_t i = 0; i < columns; i += LANES) {
        Lanes value = lanes_mul(lanes_load_first(x + i, columns - i), factor);
        sums[i / ACTIVATION_BLOCK] += lanes_store_int8(values + i, value);
    }
}

LANES_INLINE void activation_store_lanes(const Activation *out, uint32_t row, const float *x) {
    uint32_t columns = out->columns;
    if (out->kind == ACTIVATION_INT8) {
        activation_store_int8(out, row, x);
    } else if (out->kind == ACTIVATION_BF16) {
        uint16_t *values = activation_bf16(out, row);
        memset(values, 0, out->stride * sizeof *values);
        for (uint32_t i = 0; i < columns; i += LANES) {
            lanes_store_bf16(values + i, lanes_load_first(x + i, columns - i));
        }
    } else {
        float *values = activation_f32(out, row);
        memcpy(values, x, columns * sizeof *values);
        memset(values + columns, 0, (out->stride - columns) * sizeof *values);
    }
}

#endif
