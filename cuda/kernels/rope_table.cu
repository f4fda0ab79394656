// SPDX-License-Identifier: Apache-2.0
// rope_table: cosine and sine of (float)position * frequency, rounded once from double, as the CPU
// backend has them. CUDA's own cos and sin of double call a slow path for large angles; an angle
// here is below 2^20, where subtracting a multiple of pi / 2 in three parts is exact enough.
//
// Tile: a thread is a pair. 256 threads, no shared memory. Bytes: 8 a pair written, 4 read, which
// is the minimum; about 60 double operations a pair, twice a step.
//
// promise: spills 0, calls 0
#include "cuda/context.h"
#include "cuda/prim/prim.cuh"

typedef struct RopeTableArgs {
    uint32_t row_count, pair_count;
    const uint32_t *positions;
    const float *inverse_frequency;
    float *cosine, *sine;
} RopeTableArgs;

enum { THREADS = 256 };

// Taylor polynomials on [-pi/4, pi/4]; what they leave out is below 2e-17.
DEVICE double rope_sine(double x) {
    double z = x * x;
    double y = -1.0 / 121645100408832000.0;
    y = fma(y, z, 1.0 / 355687428096000.0);
    y = fma(y, z, -1.0 / 1307674368000.0);
    y = fma(y, z, 1.0 / 6227020800.0);
    y = fma(y, z, -1.0 / 39916800.0);
    y = fma(y, z, 1.0 / 362880.0);
    y = fma(y, z, -1.0 / 5040.0);
    y = fma(y, z, 1.0 / 120.0);
    y = fma(y, z, -1.0 / 6.0);
    return fma(y * z, x, x);
}

DEVICE double rope_cosine(double x) {
    double z = x * x;
    double y = 1.0 / 6402373705728000.0;
    y = -y;
    y = fma(y, z, 1.0 / 20922789888000.0);
    y = fma(y, z, -1.0 / 87178291200.0);
    y = fma(y, z, 1.0 / 479001600.0);
    y = fma(y, z, -1.0 / 3628800.0);
    y = fma(y, z, 1.0 / 40320.0);
    y = fma(y, z, -1.0 / 720.0);
    y = fma(y, z, 1.0 / 24.0);
    y = fma(y, z, -0.5);
    return fma(y, z, 1.0);
}

KERNEL void KERNEL_BOUNDS(THREADS, 4) rope_table_kernel(const RopeTableArgs args) {
    size_t at = (size_t)block_x() * THREADS + thread_index();
    if (at >= (size_t)args.row_count * args.pair_count) {
        return;
    }
    uint32_t row = (uint32_t)(at / args.pair_count), pair = (uint32_t)(at % args.pair_count);
    float position = (float)global_load(args.positions + row);
    double angle = (double)(position * global_load(args.inverse_frequency + pair));
    // pi / 2 in three parts of 33 bits, 33 bits and the rest: n has 20 bits, so n times the first
    // two is exact.
    double n = rint(angle * 0x1.45f306dc9c883p-1);
    double x = fma(n, -0x1.921fb544p+0, angle);
    x = fma(n, -0x1.0b4611a6p-34, x);
    x = fma(n, -0x1.3198a2e037073p-69, x);
    double s = rope_sine(x), c = rope_cosine(x);
    int quarter = (int)n & 3;
    double sine = quarter & 1 ? c : s, cosine = quarter & 1 ? s : c;
    global_store(args.sine + at, (float)(quarter & 2 ? -sine : sine));
    global_store(args.cosine + at, (float)((quarter + 1) & 2 ? -cosine : cosine));
}

Status cuda_rope_table(void *context, const OpRopeTable *op) {
    CudaContext *cuda = (CudaContext *)context;
    RopeTableArgs args = {op->row_count,         op->pair_count, op->positions,
                          op->inverse_frequency, op->cosine,     op->sine};
    size_t pairs = (size_t)op->row_count * op->pair_count;
    dim3 grid((unsigned)((pairs + THREADS - 1) / THREADS));
    return cuda_launched(cuda, "rope_table",
                         LAUNCH(rope_table_kernel, grid, THREADS, 0, cuda->stream, args));
}
