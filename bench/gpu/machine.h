// SPDX-License-Identifier: Apache-2.0
// What the parts of `tessera bench gpu` share inside: the backend, an arena of random bytes that
// serve as weights and as pages, and the stopwatch.
#ifndef BENCH_GPU_MACHINE_H
#define BENCH_GPU_MACHINE_H

#include "bench/gpu/gpu.h"
#include "cuda/context.h"

extern "C" {
#include "base/check.h"
#include "base/num.h"
}

// Every pair of bytes of the arena is a finite bf16, f16 and upper half of an f32, of either sign
// and a size between 2^-7 and 2.
struct GpuBench {
    const GpuPlan *plan;
    Backend backend;
    CudaContext *context; // the backend's
    GpuCeilings ceilings;
    unsigned char *arena, *input; // device
    size_t arena_bytes, input_bytes;
    float *output; // device
    size_t output_bytes;
    cudaEvent_t begin, end;
};

// One launch of what is measured; `turn` counts up, so that it may take another copy each time.
typedef Status (*GpuWork)(void *state, uint32_t turn);

// Milliseconds of one launch: the median over rounds, after two launches to warm up. The GPU is
// kept busy until the launches of a round are queued, so that none waits for the host.
Status gpu_time(GpuBench *bench, GpuWork work, void *state, double *milliseconds, Error *error);

// A kernel of the bench itself, as the ops report theirs.
Status gpu_status(const GpuBench *bench, const char *kernel, cudaError_t status);

// How many copies of `bytes` the arena holds; each begins at a multiple of 256.
size_t gpu_copies(const GpuBench *bench, size_t bytes);
unsigned char *gpu_copy(const GpuBench *bench, size_t bytes, size_t turn);

// So many rounds of mma on one multiprocessor, to keep the stream busy. `sink` has room for 4 KiB.
cudaError_t gpu_launch_delay(const CudaContext *context, uint32_t *sink, uint64_t rounds);

#endif
