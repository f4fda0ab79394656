// SPDX-License-Identifier: Apache-2.0
// What this card can do at best, measured: reads and copies of the whole arena, and mma on
// registers. Rated figures are in the card table; these are what its kernels are compared with.
#include "bench/gpu/machine.h"
#include "cuda/prim/prim.cuh"

#include <stdio.h>

enum { READ_THREADS = 256, READ_AT_ONCE = 4, PEAK_THREADS = 256, PEAK_CHAINS = 8 };

typedef struct GpuReadArgs {
    const Vector16 *from;
    size_t count; // a multiple of READ_AT_ONCE times all threads
    uint32_t *sink;
} GpuReadArgs;

typedef struct GpuPeakArgs {
    uint64_t rounds;
    const uint32_t *seeds; // 6 a lane
    uint32_t *sink;
} GpuPeakArgs;

KERNEL void KERNEL_BOUNDS(READ_THREADS, 4) gpu_read(GpuReadArgs args) {
    size_t stride = (size_t)grid_x() * READ_THREADS;
    uint32_t sum = 0;
    for (size_t i = (size_t)block_x() * READ_THREADS + thread_index(); i < args.count;
         i += READ_AT_ONCE * stride) {
        Vector16 values[READ_AT_ONCE];
        UNROLL
        for (int j = 0; j < READ_AT_ONCE; j++) {
            values[j] = global_load_once(args.from + i + j * stride);
        }
        UNROLL
        for (int j = 0; j < READ_AT_ONCE; j++) {
            sum += values[j].word[0] ^ values[j].word[1] ^ values[j].word[2] ^ values[j].word[3];
        }
    }
    if (sum == 0x5eed) { // so that the reads are for something
        global_store(args.sink, sum);
    }
}

DEVICE void peak_operands(const GpuPeakArgs &args, uint32_t a[4], uint32_t b[2]) {
    const uint32_t *mine = args.seeds + 6 * thread_lane();
    for (int i = 0; i < 4; i++) {
        a[i] = global_load(mine + i);
    }
    for (int i = 0; i < 2; i++) {
        b[i] = global_load(mine + 4 + i);
    }
}

KERNEL void KERNEL_BOUNDS(PEAK_THREADS, 2) gpu_peak_int8(GpuPeakArgs args) {
    uint32_t a[4], b[2];
    int32_t sums[PEAK_CHAINS][4] = {};
    peak_operands(args, a, b);
    for (uint64_t r = 0; r < args.rounds; r++) {
        UNROLL
        for (int chain = 0; chain < PEAK_CHAINS; chain++) {
            mma_s8(sums[chain], a, b, sums[chain]);
        }
    }
    uint32_t folded = 0;
    UNROLL
    for (int chain = 0; chain < PEAK_CHAINS; chain++) {
        folded ^= (uint32_t)(sums[chain][0] ^ sums[chain][1] ^ sums[chain][2] ^ sums[chain][3]);
    }
    global_store(args.sink + thread_lane(), folded);
}

KERNEL void KERNEL_BOUNDS(PEAK_THREADS, 2) gpu_peak_bf16(GpuPeakArgs args) {
    uint32_t a[4], b[2];
    float sums[PEAK_CHAINS][4] = {};
    peak_operands(args, a, b);
    for (uint64_t r = 0; r < args.rounds; r++) {
        UNROLL
        for (int chain = 0; chain < PEAK_CHAINS; chain++) {
            mma_bf16(sums[chain], a, b, sums[chain]);
        }
    }
    float folded = 0.0f;
    UNROLL
    for (int chain = 0; chain < PEAK_CHAINS; chain++) {
        folded += sums[chain][0] + sums[chain][1] + sums[chain][2] + sums[chain][3];
    }
    global_store(args.sink + thread_lane(), float_to_bits(folded));
}

cudaError_t gpu_launch_delay(const CudaContext *context, uint32_t *sink, uint64_t rounds) {
    GpuPeakArgs args = {rounds, sink, sink + 6 * 32};
    return LAUNCH(gpu_peak_int8, dim3(1), PEAK_THREADS, 0, context->stream, args);
}

// ---- Works --------------------------------------------------------------------------------------

static unsigned read_blocks(const GpuBench *bench) {
    return 8 * (unsigned)bench->context->multiprocessors;
}

static size_t read_count(const GpuBench *bench) {
    size_t step = (size_t)read_blocks(bench) * READ_THREADS * READ_AT_ONCE;
    return bench->arena_bytes / sizeof(Vector16) / step * step;
}

static Status work_read(void *state, uint32_t) {
    GpuBench *bench = (GpuBench *)state;
    GpuReadArgs args = {(const Vector16 *)bench->arena, read_count(bench),
                        (uint32_t *)bench->output};
    return gpu_status(
        bench, "gpu_read",
        LAUNCH(gpu_read, dim3(read_blocks(bench)), READ_THREADS, 0, bench->context->stream, args));
}

static Status work_copy(void *state, uint32_t) {
    GpuBench *bench = (GpuBench *)state;
    size_t half = bench->arena_bytes / 2;
    return gpu_status(bench, "copy",
                      cudaMemcpyAsync(bench->arena + half, bench->arena, half,
                                      cudaMemcpyDeviceToDevice, bench->context->stream));
}

static unsigned peak_blocks(const GpuBench *bench) {
    return 2 * (unsigned)bench->context->multiprocessors;
}

static GpuPeakArgs peak_args(const GpuBench *bench) {
    return {bench->plan->peak_rounds, (const uint32_t *)bench->input, (uint32_t *)bench->output};
}

static Status work_int8(void *state, uint32_t) {
    GpuBench *bench = (GpuBench *)state;
    GpuPeakArgs args = peak_args(bench);
    return gpu_status(bench, "gpu_peak_int8",
                      LAUNCH(gpu_peak_int8, dim3(peak_blocks(bench)), PEAK_THREADS, 0,
                             bench->context->stream, args));
}

static Status work_bf16(void *state, uint32_t) {
    GpuBench *bench = (GpuBench *)state;
    GpuPeakArgs args = peak_args(bench);
    return gpu_status(bench, "gpu_peak_bf16",
                      LAUNCH(gpu_peak_bf16, dim3(peak_blocks(bench)), PEAK_THREADS, 0,
                             bench->context->stream, args));
}

// 10^12 operations a second, for mma of 16 x 8 x depth.
static double mma_rate(const GpuBench *bench, double milliseconds, uint32_t depth) {
    double warps = (double)peak_blocks(bench) * PEAK_THREADS / 32;
    double operations = warps * (double)bench->plan->peak_rounds * PEAK_CHAINS * 2 * 16 * 8 * depth;
    return operations / milliseconds * 1e-9;
}

Status gpu_measure_ceilings(GpuBench *bench, Error *error) {
    GpuCeilings *c = &bench->ceilings;
    double read_ms = 0, copy_ms = 0, int8_ms = 0, bf16_ms = 0;
    TRY(gpu_time(bench, work_read, bench, &read_ms, error));
    TRY(gpu_time(bench, work_copy, bench, &copy_ms, error));
    TRY(gpu_time(bench, work_int8, bench, &int8_ms, error));
    TRY(gpu_time(bench, work_bf16, bench, &bf16_ms, error));
    c->read_gbs = (double)(read_count(bench) * sizeof(Vector16)) / read_ms * 1e-6;
    c->copy_gbs = (double)(bench->arena_bytes / 2 * 2) / copy_ms * 1e-6;
    c->bandwidth_gbs = c->read_gbs > c->copy_gbs ? c->read_gbs : c->copy_gbs;
    c->int8_tops = mma_rate(bench, int8_ms, 32);
    c->bf16_tflops = mma_rate(bench, bf16_ms, 16);
    Row row = gpu_row("ceilings", bench->backend.device->name);
    row_number(&row, "compute", bench->context->compute);
    row_number(&row, "multiprocessors", bench->context->multiprocessors);
    row_number(&row, "read_gbs", c->read_gbs);
    row_number(&row, "copy_gbs", c->copy_gbs);
    row_number(&row, "bf16_tflops", c->bf16_tflops);
    row_number(&row, "int8_tops", c->int8_tops);
    row_end(&row);
    fprintf(stderr, "%s\nread %.0f GB/s, copy %.0f GB/s, mma bf16 %.1f TFLOP/s, int8 %.1f TOP/s\n",
            bench->backend.device->name, c->read_gbs, c->copy_gbs, c->bf16_tflops, c->int8_tops);
    return OK;
}
