// SPDX-License-Identifier: Apache-2.0
// activation_store over Lanes: the same bits as the definition in activation.h, for finite values.
#ifndef CPU_ACTIVATION_LANES_H
#define CPU_ACTIVATION_LANES_H

#include "cpu/activation.h"
#include "cpu/lanes.h"

#if defined(__AVX512F__)

LANES_INLINE int32_t lanes_store_bytes(int8_t *to, __m512i whole) {
    _mm_storeu_si128((__m128i *)to, _mm512_cvtepi32_epi8(whole));
    return _mm512_reduce_add_epi32(whole);
}

// Sixteen values rounded to nearest even; returns their sum.
LANES_INLINE int32_t lanes_store_int8(int8_t *to, Lanes x) {
    return lanes_store_bytes(to, _mm512_cvtps_epi32(x));
}

// The same in two parts; adds their sums.
LANES_INLINE void lanes_store_int8x2(int8_t *high, int8_t *low, Lanes x, int32_t *high_sum,
                                     int32_t *low_sum) {
    __m512i whole = _mm512_cvtps_epi32(x);
    __m512i part = _mm512_srai_epi32(_mm512_add_epi32(whole, _mm512_set1_epi32(64)), 7);
    *high_sum += lanes_store_bytes(high, part);
    *low_sum += lanes_store_bytes(low, _mm512_sub_epi32(whole, _mm512_slli_epi32(part, 7)));
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

LANES_INLINE void lanes_store_int8x2(int8_t *high, int8_t *low, Lanes x, int32_t *high_sum,
                                     int32_t *low_sum) {
    float whole[LANES];
    lanes_store(whole, lanes_round(x));
    for (int i = 0; i < LANES; i++) {
        int32_t value = (int32_t)whole[i], part = activation_high(value);
        high[i] = (int8_t)part;
        low[i] = (int8_t)(value - 128 * part);
        *high_sum += high[i];
        *low_sum += low[i];
    }
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

LANES_INLINE void activation_store_integer_lanes(const Activation *out, uint32_t row,
                                                 const float *x) {
    uint32_t columns = out->columns, parts = activation_parts(out->kind);
    uint32_t blocks = out->stride / ACTIVATION_BLOCK;
    float absmax = activation_absmax(x, columns), steps = activation_steps(out->kind);
    bool zero = absmax < ACTIVATION_ABSMAX_MIN;
    Lanes factor = lanes_set(zero ? 0.0f : steps / absmax);
    int8_t *values = activation_int8(out, row * parts);
    int32_t *sums = activation_block_sums(out, row * parts);
    out->scales[row] = zero ? 0.0f : absmax / steps;
    memset(values, 0, (size_t)parts * out->stride);
    memset(sums, 0, parts * blocks * sizeof *sums);
    for (uint32_t i = 0; i < columns; i += LANES) {
        Lanes value = lanes_mul(lanes_load_first(x + i, columns - i), factor);
        int32_t *sum = sums + i / ACTIVATION_BLOCK;
        if (parts == 1) {
            *sum += lanes_store_int8(values + i, value);
        } else {
            lanes_store_int8x2(values + i, values + out->stride + i, value, sum, sum + blocks);
        }
    }
}

LANES_INLINE void activation_store_lanes(const Activation *out, uint32_t row, const float *x) {
    uint32_t columns = out->columns;
    if (activation_is_integer(out->kind)) {
        activation_store_integer_lanes(out, row, x);
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
