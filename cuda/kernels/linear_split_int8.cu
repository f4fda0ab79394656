// SPDX-License-Identifier: Apache-2.0
// The split kernels with int8 activations: int4 and int8 weights.
// promise: spills 0, calls 0, ldg128 >= 4
// promise linear_w4a8_g32_32x8: ldg128 4, registers <= 72
// promise linear_w8a8_g32_32x8: ldg128 8, registers <= 80
#include "cuda/kernels/linear_split.cuh"

#define SPLIT_INT8(name, level, group, T, blocks)                                                  \
    typedef LinearSplit<LinearForm<level, true, group>, T> Split_##name;                           \
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
