// SPDX-License-Identifier: Apache-2.0
// The end of every kernel of linear: a finished sum becomes an output. The same operations in the
// same order as the cpu's finish (cpu/linear_lanes.h, cpu/lanes.h), so equal sums give equal bits.
#ifndef CUDA_KERNELS_LINEAR_FINISH_CUH
#define CUDA_KERNELS_LINEAR_FINISH_CUH

#include "cuda/kernels/linear.h"

// exp(x) for x <= 88; 0 below -87.3.
DEVICE float linear_exp(float x) {
    float safe = x < 88.0f ? x : 88.0f;
    safe = safe > -87.3f ? safe : -87.3f;
    float n = rintf(safe * 1.44269504f);
    float r = fmaf(n, -0.693359375f, safe);
    r = fmaf(n, 2.12194440e-4f, r);
    float y = 1.0f / 5040.0f;
    y = fmaf(y, r, 1.0f / 720.0f);
    y = fmaf(y, r, 1.0f / 120.0f);
    y = fmaf(y, r, 1.0f / 24.0f);
    y = fmaf(y, r, 1.0f / 6.0f);
    y = fmaf(y, r, 0.5f);
    y = fmaf(y, r, 1.0f);
    y = fmaf(y, r, 1.0f);
    float power = bits_to_float((uint32_t)(round_to_int(n) + 127) << 23);
    return x > -87.3f ? y * power : 0.0f;
}

DEVICE float linear_gelu(float x) {
    float cube = x * x * x;
    float inner = fmaf(cube, 0.044715f, x);
    return divide(x, 1.0f + linear_exp(inner * -1.5957691216057308f));
}

// The row of `out` that a row of x belongs to.
DEVICE uint32_t linear_token(const LinearArgs &args, uint32_t row) {
    return args.pairs ? row / 2 : row;
}

DEVICE float linear_row_scale(const LinearArgs &args, uint32_t token) {
    return args.kind == ACTIVATION_INT8 ? global_load(args.row_scales + token) : 1.0f;
}

// The sum of an int8x2 row from those of its parts; 128 high is exact, so it is rounded once.
DEVICE float linear_join(float high, float low) {
    return high * 128.0f + low;
}

// The sum of output row `row` of the weights for `token`.
DEVICE void linear_finish(const LinearArgs &args, uint32_t token, float scale, uint32_t row,
                          float sum) {
    if (row < args.out_columns) {
        float value = sum * scale;
        if (args.bias != nullptr) {
            value = value + global_load(args.bias + row);
        }
        global_store(args.out + (size_t)token * args.out_stride + row, value);
    }
}

// The sums of gate row `row` (in an even panel) and of the up row 16 further.
DEVICE void linear_finish_gelu(const LinearArgs &args, uint32_t token, float scale, uint32_t row,
                               float gate, float up) {
    uint32_t column = row / 32 * 16 + row % 16;
    if (column < args.out_columns) {
        float value = linear_gelu(gate * scale) * (up * scale);
        global_store(args.out + (size_t)token * args.out_stride + column, value);
    }
}

// Both sums of two rows 16 apart, whatever the epilogue.
DEVICE void linear_finish_pair(const LinearArgs &args, uint32_t token, float scale, uint32_t row,
                               float first, float second) {
    if (args.gelu) {
        linear_finish_gelu(args, token, scale, row, first, second);
    } else {
        linear_finish(args, token, scale, row, first);
        linear_finish(args, token, scale, row + 16, second);
    }
}

#endif
