// SPDX-License-Identifier: Apache-2.0
// The tile kernels with bf16 activations: int4, int8 and bf16 weights.
//
// An m16n8k16 with f32 sums takes 32 cycles of a GeForce sub-core, so the expansion of codes (12
// instructions per 8 int4 or 6 per 4 int8, once per 64 tokens) hides behind the products.
//
// promise: spills 0, calls 0
// promise linear_bf16_128x: loop per hmma <= 4.9
// promise linear_w4a16_g32_128x64: loop per hmma <= 7.5
// promise linear_w8a16_g32_128x64: loop per hmma <= 9.2
#include "cuda/kernels/linear_tile.cuh"

#define TILE_BF16(name, level, group, CW, TW, T, depth, stages, blocks)                            \
    typedef LinearTile<LinearForm<level, false, group>, CW, TW, T, depth, stages> Tile_##name;     \
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
