// SPDX-License-Identifier: Apache-2.0
// The split kernels with bf16 activations: int4, int8 and bf16 weights.
// promise: spills 0, calls 0, ldg128 >= 8
// promise linear_bf16_32x8: ldg128 20
#include "cuda/kernels/linear_split.cuh"

#define SPLIT_BF16(name, level, group, T, blocks)                                                  \
    typedef LinearSplit<LinearForm<level, false, group>, T> Split_##name;                          \
    KERNEL void KERNEL_BOUNDS(Split_##name::THREADS, blocks) name(LinearArgs args) {               \
        linear_split<Split_##name>(args);                                                          \
    }                                                                                              \
    cudaError_t launch_##name(const CudaContext *context, const LinearArgs *args) {                \
        dim3 grid((unsigned)num_ceil_div(args->weight.panels, Split_##name::PANELS),               \
                  (unsigned)num_ceil_div(args->rows, Split_##name::TOKENS));                       \
        return LAUNCH(name, grid, Split_##name::THREADS, Split_##name::SHARED_BYTES,               \
                      context->stream, *args);                                                     \
    }
#include "cuda/kernels/linear_variants.def"
