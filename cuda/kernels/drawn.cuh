// SPDX-License-Identifier: Apache-2.0
// batch_token_drawn and its likes (scheduler/batch.h) as a kernel computes them.
#ifndef CUDA_KERNELS_DRAWN_CUH
#define CUDA_KERNELS_DRAWN_CUH

#include "cuda/context.h"
#include "cuda/prim/prim.cuh"

// A token of a Batch, or what the step before drew for it; negative: none.
DEVICE int32_t drawn_token(int32_t token, const int32_t *drawn) {
    return token < BATCH_TOKEN_MEDIA ? global_load(drawn + (-2 - token)) : token;
}

#endif
