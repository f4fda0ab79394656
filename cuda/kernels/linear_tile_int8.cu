// SPDX-License-Identifier: Apache-2.0
// The tile kernels with int8 activations: int4 and int8 weights.
// promise: spills 0, calls 0
#include "cuda/kernels/linear_tile.cuh"

#define TILE_INT8(name, level, group, CW, TW, T, depth, stages, blocks)                            \
    typedef LinearTile<LinearForm<level, true, group>, CW, TW, T, depth, stages> Tile_##name;      \
    KERNEL void KERNEL_BOUNDS(Tile_##name::THREADS, blocks) name(LinearArgs args) {                \
        linear_tile<Tile_##name>(args);                                                            \
    }                                                                                              \
    cudaError_t launch_##name(const CudaContext *context, const LinearArgs *args) {                \
        dim3 grid((unsigned)num_ceil_div(args->rows, Tile_##name::TOKENS),                         \
                  (unsigned)num_ceil_div(args->weight.panels, Tile_##name::PANELS));               \
        return LAUNCH(name, grid, Tile_##name::THREADS, Tile_##name::SHARED_BYTES,                 \
                      context->stream, *args);                                                     \
    }
#include "cuda/kernels/linear_variants.def"
