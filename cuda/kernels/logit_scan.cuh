// SPDX-License-Identifier: Apache-2.0
// A chunk of a LogitScan (model/ops.h), by the warp that has its 32 logits in its lanes: the finish
// of lm_head, and the sampler after it has changed some of them. One function, so that a chunk
// scanned again has the bits it would have had at once.
#ifndef CUDA_KERNELS_LOGIT_SCAN_CUH
#define CUDA_KERNELS_LOGIT_SCAN_CUH

#include "cuda/context.h"
#include "cuda/kernels/exp.cuh"

#include <float.h>
#include <math.h>

// NaN counts as suppressed, +inf as the largest float.
DEVICE float logit_cleaned(float x) {
    return x > -INFINITY ? (x < FLT_MAX ? x : FLT_MAX) : -INFINITY;
}

DEVICE uint32_t logit_chunk_count(uint32_t vocab) {
    return (vocab + LOGIT_CHUNK - 1) / LOGIT_CHUNK;
}

// `x`: the lane's logit, -inf beyond the vocabulary. At an inverse temperature of 1 both sums are
// one.
DEVICE void logit_scan_chunk(const LogitScan &scan, size_t row, uint32_t chunk, uint32_t chunks,
                             float inverse_temperature, float x) {
    x = logit_cleaned(x);
    float top = warp_max(x), sum = 0.0f;
    float below = x - (top > -INFINITY ? top : 0.0f);
    float *to = scan.chunks + row * LOGIT_SUM_COUNT * chunks + chunk;
    if (thread_lane() == 0) {
        global_store(to + LOGIT_MAXIMA * chunks, top);
    }
    NO_UNROLL
    for (int i = LOGIT_MASS; i <= LOGIT_TEMPERED_MASS; i++) {
        if (i == LOGIT_MASS || inverse_temperature != 1.0f) {
            sum = warp_sum(exp_f32(below));
            below *= inverse_temperature;
        }
        if (thread_lane() == 0) {
            global_store(to + i * chunks, sum);
        }
    }
}

#endif
