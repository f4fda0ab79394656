// SPDX-License-Identifier: Apache-2.0
// exp in f32, the same bits as the cpu's variants (cpu/lanes.h): for x <= 88, within 2 units in the
// last place; exactly 0 below -87.3, where the result would be subnormal, and for NaN. Reduction by
// ln 2 in two parts (Cody and Waite), then the Taylor polynomial of degree 7 on [-ln 2 / 2, ln 2 /
// 2], whose remainder is below 6e-9.
#ifndef CUDA_KERNELS_EXP_CUH
#define CUDA_KERNELS_EXP_CUH

#include "cuda/prim/prim.cuh"

#define EXP_LOWEST (-87.3f)

DEVICE float exp_f32(float x) {
    float below = x < 88.0f ? x : 88.0f;
    float safe = below > EXP_LOWEST ? below : EXP_LOWEST;
    int n = round_to_int(safe * 1.44269504f);
    float r = fmaf((float)n, -0.693359375f, safe);
    r = fmaf((float)n, 2.12194440e-4f, r);
    float y = 1.0f / 5040.0f;
    y = fmaf(y, r, 1.0f / 720.0f);
    y = fmaf(y, r, 1.0f / 120.0f);
    y = fmaf(y, r, 1.0f / 24.0f);
    y = fmaf(y, r, 1.0f / 6.0f);
    y = fmaf(y, r, 0.5f);
    y = fmaf(y, r, 1.0f);
    y = fmaf(y, r, 1.0f);
    return x > EXP_LOWEST ? y * bits_to_float((uint32_t)(n + 127) << 23) : 0.0f;
}

#endif
