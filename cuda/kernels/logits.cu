// SPDX-License-Identifier: Apache-2.0
// logits: the soft cap, cap * tanh(y) with y = x / cap and tanh(|y|) = 1 - 2 / (exp(2 |y|) + 1), as
// the cpu's twins have it, bit for bit.
//
// Tile: a block of 256 threads takes 1024 values, each thread four of 256 apart; no shared memory.
// Bytes: 4 read and 4 written a value, in place, the minimum for an op of its own. About 25
// operations a value.
// promise: spills 0, calls 0
#include "cuda/context.h"
#include "cuda/kernels/exp.cuh"

enum { THREADS = 256, PER_THREAD = 4 };

typedef struct LogitsArgs {
    float *logits;
    size_t count;
    float cap;
} LogitsArgs;

DEVICE float soft_cap(float x, float cap) {
    float twice = x * (2.0f / cap);
    twice = twice > 80.0f ? 80.0f : twice; // a NaN stays
    twice = twice < -80.0f ? -80.0f : twice;
    float below = 2.0f / (exp_f32(fabsf(twice)) + 1.0f);
    float capped = cap * (1.0f - below);
    return (twice < 0.0f ? 0.0f - capped : capped) + twice * 0.0f;
}

KERNEL void KERNEL_BOUNDS(THREADS, 4) logits_cap(const LogitsArgs args) {
    size_t first = (size_t)block_x() * THREADS * PER_THREAD + thread_index();
    float x[PER_THREAD];
    UNROLL
    for (int i = 0; i < PER_THREAD; i++) {
        size_t at = first + (size_t)i * THREADS;
        x[i] = at < args.count ? global_load(args.logits + at) : 0.0f;
    }
    UNROLL
    for (int i = 0; i < PER_THREAD; i++) {
        size_t at = first + (size_t)i * THREADS;
        if (at < args.count) {
            global_store(args.logits + at, soft_cap(x[i], args.cap));
        }
    }
}

Status cuda_logits(void *context, const OpLogits *op) {
    CudaContext *cuda = (CudaContext *)context;
    LogitsArgs args = {op->logits, (size_t)op->row_count * op->vocab_count, op->softcap};
    if (args.count == 0 || args.cap == 0.0f || cuda->failed != OK) {
        return cuda->failed;
    }
    size_t tile = (size_t)THREADS * PER_THREAD;
    dim3 grid((unsigned)((args.count + tile - 1) / tile));
    return cuda_launched(cuda, "logits_cap",
                         LAUNCH(logits_cap, grid, THREADS, 0, cuda->stream, args));
}
