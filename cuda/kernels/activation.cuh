// SPDX-License-Identifier: Apache-2.0
// How a row of f32 becomes what a linear reads, by one block: the same bits as cpu/activation.h
// defines. block_sums are not written; two's complement codes need none.
#ifndef CUDA_KERNELS_ACTIVATION_CUH
#define CUDA_KERNELS_ACTIVATION_CUH

#include "cuda/context.h"
#include "cuda/prim/prim.cuh"

#define ACTIVATION_ABSMAX_MIN 0x1p-100f
enum { ACTIVATION_SHARED_BYTES = 32 * 4 }; // a float per warp

// The largest of the block's `value`s, to every thread. `shared` holds a float per warp and must
// not be touched by others until the next barrier after it.
DEVICE float block_max(float value, float *shared) {
    value = warp_max(value);
    if (thread_lane() == 0) {
        shared_store(shared + thread_warp(), value);
    }
    block_sync();
    float highest = shared_load(shared);
    for (unsigned warp = 1; warp < thread_count() / 32; warp++) {
        float other = shared_load(shared + warp);
        highest = other > highest ? other : highest;
    }
    return highest;
}

// Writes row `row` of `out`: value(i) is column i < out.columns and is asked for twice for
// integers. All threads of the block call it together.
template <typename Value>
DEVICE void activation_store(const Activation &out, uint32_t row, float *shared, Value value) {
    uint32_t parts = out.kind == ACTIVATION_INT8X2 ? 2 : 1;
    size_t first = (size_t)row * parts * out.stride;
    unsigned step = thread_count();
    if (out.kind == ACTIVATION_F32) {
        for (uint32_t i = thread_index(); i < out.stride; i += step) {
            global_store((float *)out.values + first + i, i < out.columns ? value(i) : 0.0f);
        }
        return;
    }
    if (out.kind == ACTIVATION_BF16) {
        for (uint32_t i = thread_index(); i < out.stride; i += step) {
            uint16_t bits = i < out.columns ? bf16_from_float(value(i)) : (uint16_t)0;
            global_store((uint16_t *)out.values + first + i, bits);
        }
        return;
    }
    float absmax = 0.0f;
    for (uint32_t i = thread_index(); i < out.columns; i += step) {
        float magnitude = fabsf(value(i));
        absmax = magnitude > absmax ? magnitude : absmax;
    }
    absmax = block_max(absmax, shared);
    bool zero = absmax < ACTIVATION_ABSMAX_MIN;
    float steps = parts == 2 ? 16319.0f : 127.0f;
    float factor = zero ? 0.0f : divide(steps, absmax);
    if (thread_index() == 0) {
        global_store(out.scales + row, zero ? 0.0f : divide(absmax, steps));
    }
    int8_t *values = (int8_t *)out.values + first;
    for (uint32_t i = thread_index(); i < out.stride; i += step) {
        int whole = i < out.columns ? round_to_int(value(i) * factor) : 0;
        if (parts == 2) {
            int high = (whole + 64) >> 7;
            global_store(values + i, (int8_t)high);
            whole -= 128 * high;
        }
        global_store(values + (parts - 1) * out.stride + i, (int8_t)whole);
    }
}

#endif
