// SPDX-License-Identifier: Apache-2.0
// The tile kernels with int8 activations: int4 and int8 weights.
//
// A sub-core of a GeForce multiprocessor issues one instruction a cycle and needs 16 cycles for an
// m16n8k32, so a loop of up to 16 instructions per product can keep the tensor cores busy. With
// groups of 32 a product costs 4 subtractions and 4 fmaf, and all the rest of the loop (weights,
// activations, scales, copies) about 6; larger groups share the first eight.
//
// promise: spills 0, calls 0
// promise linear_w4a8_g32_128x: loop per imma <= 14, imma 32
// promise linear_w4a8_g64_128x: loop per imma <= 10.5, imma 32
// promise linear_w4a8_g128_128x: loop per imma <= 7, imma 64
// promise linear_w8a8_g32_128x128: loop per imma <= 14
// promise linear_w8a8_g64_128x128: loop per imma <= 9.6
// promise linear_w8a8_g128_128x128: loop per imma <= 6.5
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
