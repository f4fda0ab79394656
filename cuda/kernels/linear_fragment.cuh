// SPDX-License-Identifier: Apache-2.0
// From a lane's 16 bytes of weights (cuda/weight_layout.h) to the A operand of an mma, and the mma
// itself, for every pair of weight level and activation kind; shared by the tile and split kernels.
//
// A step is 32 columns: one mma_s8, or two mma_bf16 of columns 8t + {0..3} and 8t + {4..7}.
//   int4 x int8   3 operations per 8 codes: the nibbles stay in the high half of their bytes, so
//                 sums are 16 times too large; linear_finish takes 1/16 of the finished chain,
//                 exactly
//   int4 x bf16   (code ^ 8) | 128.0 as bf16 bits is 136 + q; an addition takes the 136 off
//   int8 x bf16   low 7 bits | 128.0, minus 128 or 256 by the sign bit
//   bf16 x bf16   as loaded
#ifndef CUDA_KERNELS_LINEAR_FRAGMENT_CUH
#define CUDA_KERNELS_LINEAR_FRAGMENT_CUH

#include "cuda/kernels/linear_finish.cuh"

// What a kernel is compiled for.
template <WeightLevel LEVEL_, bool INT8_, int GROUP_> struct LinearForm {
    static constexpr WeightLevel LEVEL = LEVEL_;
    static constexpr bool INT8 = INT8_;  // activations
    static constexpr int GROUP = GROUP_; // columns of a sum
    static constexpr int X_BYTES = INT8 ? 1 : 2;
    static constexpr int CODE_BITS = LEVEL == LEVEL_INT4 ? 4 : LEVEL == LEVEL_INT8 ? 8 : 16;
    static constexpr int UNITS_64 = CODE_BITS / 4; // units per 64 columns of a panel
    static constexpr bool SCALED = LEVEL != LEVEL_BF16;
    static constexpr bool SCANS = LEVEL != LEVEL_INT4; // may be lm_head (weights.h)
    static constexpr int STEPS = GROUP / 32;
    static constexpr float FINISH = LEVEL == LEVEL_INT4 && INT8 ? 0.0625f : 1.0f;
    typedef std::conditional_t<INT8, Vector8, Vector16> Input; // a lane's 8 columns of a token
};

// Two's complement nibbles of one row to bytes 16 q: columns 8t + 0..3 and 8t + 4..7.
DEVICE void expand_nibbles(uint32_t word, uint32_t *low, uint32_t *high) {
    *low = word << 4 & 0xf0f0f0f0u;
    *high = word & 0xf0f0f0f0u;
}

// The two nibbles at bits 0 and 16 as a pair of bf16.
DEVICE uint32_t nibble_pair(uint32_t word) {
    return bf16x2_add((word & 0x000f000fu) ^ 0x43084308u, 0xc308c308u);
}

// The two signed bytes at bits 0 and 16 as a pair of bf16.
DEVICE uint32_t byte_pair(uint32_t word) {
    return bf16x2_add((word & 0x007f007fu) | 0x43004300u, (word & 0x00800080u) | 0xc300c300u);
}

// The A operand of one step of one panel. `units` are the lane's words of the 64 columns that hold
// the step, `half` which 32 of them.
template <class Form> struct LinearOperand {
    uint32_t a[Form::INT8 ? 1 : 2][4];

    DEVICE_METHOD void expand(const Vector16 units[Form::UNITS_64], int half) {
        if constexpr (Form::LEVEL == LEVEL_BF16) {
            for (int j = 0; j < 2; j++) {
                for (int w = 0; w < 4; w++) {
                    a[j][w] = units[2 * half + j].word[w];
                }
            }
        } else if constexpr (Form::LEVEL == LEVEL_INT8 && Form::INT8) {
            for (int w = 0; w < 4; w++) {
                a[0][w] = units[half].word[w];
            }
        } else if constexpr (Form::LEVEL == LEVEL_INT4 && Form::INT8) {
            for (int h = 0; h < 2; h++) {
                expand_nibbles(units[0].word[2 * half + h], &a[0][h], &a[0][2 + h]);
            }
        } else if constexpr (Form::LEVEL == LEVEL_INT8) {
            for (int w = 0; w < 4; w++) {
                uint32_t bytes = byte_permute(units[half].word[w], 0x3120);
                a[w / 2][w % 2] = byte_pair(bytes);
                a[w / 2][2 + w % 2] = byte_pair(bytes >> 8);
            }
        } else {
            for (int h = 0; h < 2; h++) {
                uint32_t nibbles = byte_permute(units[0].word[2 * half + h], 0x3120);
                a[0][h] = nibble_pair(nibbles);
                a[0][2 + h] = nibble_pair(nibbles >> 8);
                a[1][h] = nibble_pair(nibbles >> 4);
                a[1][2 + h] = nibble_pair(nibbles >> 12);
            }
        }
    }
};

// The sum of a group: 16 outputs x 8 tokens, d[i] at output g + 8 (i / 2), token 2t + i % 2.
// Integers start at the bits of 1.5 * 2^23: |sum| <= 127 * 128 * 128 < 2^22, so the bits of the
// result, read as a float, are 1.5 * 2^23 + sum exactly, and no conversion is needed.
template <class Form, bool INT8 = Form::INT8> struct LinearSum;

template <class Form> struct LinearSum<Form, true> {
    int32_t d[4];

    DEVICE_METHOD void clear() {
        for (int i = 0; i < 4; i++) {
            d[i] = 0x4b400000;
        }
    }
    DEVICE_METHOD void add(const LinearOperand<Form> &w, const Vector8 &x) {
        mma_s8(d, w.a[0], x.word, d);
    }
    DEVICE_METHOD float value(int i) const {
        return bits_to_float((uint32_t)d[i]) - 12582912.0f;
    }
};

template <class Form> struct LinearSum<Form, false> {
    float d[4];

    DEVICE_METHOD void clear() {
        for (int i = 0; i < 4; i++) {
            d[i] = 0.0f;
        }
    }
    DEVICE_METHOD void add(const LinearOperand<Form> &w, const Vector16 &x) {
        mma_bf16(d, w.a[0], x.word, d);
        mma_bf16(d, w.a[1], x.word + 2, d);
    }
    DEVICE_METHOD float value(int i) const {
        return d[i];
    }
};

// The next link of a chain.
template <class Form> DEVICE float linear_link(float sum, float scale, float chain) {
    return Form::SCALED ? fmaf(sum, scale, chain) : sum + chain;
}

#endif
