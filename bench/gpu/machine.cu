// SPDX-License-Identifier: Apache-2.0
#include "bench/gpu/machine.h"

#include "cuda/cuda.h"

extern "C" {
#include "base/prng.h"
}

#include <math.h>
#include <stdlib.h>

static const size_t PATTERN_BYTES = 1 << 22, COPY_ALIGN = 256;
static const double LAUNCHES_MAX = 64; // of a round

const char *gpu_card_name(const char *device_name) {
    // "cuda sm_86 NVIDIA GeForce RTX 3090"
    const char *name =
        strncmp(device_name, "cuda sm_", 8) == 0 ? strchr(device_name + 8, ' ') : NULL;
    return name != NULL ? name + 1 : device_name;
}

Row gpu_row(const char *what, const char *device_name) {
    Row row = row_begin("gpu", what);
    row_text(&row, "gpu", gpu_card_name(device_name));
#ifdef TESSERA_SIMT
    row_text(&row, "measured", "no: an emulator's times mean nothing");
#endif
    return row;
}

// ---- Memory -------------------------------------------------------------------------------------

static Status fill(GpuBench *bench, unsigned char *to, size_t bytes, Error *error) {
    unsigned char *pattern = bench->context->staging;
    static_assert(PATTERN_BYTES <= CUDA_STAGING_BYTES, "the pattern is made in the staging memory");
    for (size_t done = 0; done < bytes; done += PATTERN_BYTES) {
        CU(cudaMemcpyAsync(to + done, pattern, num_min(PATTERN_BYTES, bytes - done),
                           cudaMemcpyHostToDevice, bench->context->stream));
    }
    CU(cudaStreamSynchronize(bench->context->stream));
    return OK;
}

static void make_pattern(unsigned char *pattern) {
    for (size_t i = 0; i < PATTERN_BYTES; i += 8) {
        uint64_t bits = prng_u64(7, 0, i);
        bits = (bits & 0x83ff83ff83ff83ffu) | 0x3c003c003c003c00u;
        memcpy(pattern + i, &bits, sizeof bits);
    }
}

static size_t linear_output_bytes(const GpuPlan *plan) {
    size_t most = 0;
    for (uint32_t s = 0; s < plan->shape_count; s++) {
        size_t rows = plan->shapes[s].head ? plan->head_rows_max
                                           : plan->row_counts[plan->row_count_count - 1];
        most = num_max(most, rows * plan->shapes[s].rows * sizeof(float));
    }
    return most;
}

static size_t input_bytes(const GpuPlan *plan) {
    size_t most = 0;
    for (uint32_t s = 0; s < plan->shape_count; s++) {
        size_t stride = num_round_up(plan->shapes[s].columns, ACTIVATION_COLUMN_ALIGN);
        most = num_max(most, plan->row_counts[plan->row_count_count - 1] * stride * 2);
    }
    for (uint32_t a = 0; a < plan->attention_count; a++) {
        const GpuAttentionCase *one = &plan->attention[a];
        size_t columns = (size_t)one->shape.head_count * one->shape.head_dim;
        most = num_max(most, columns * one->rows * one->batch * sizeof(float));
    }
    return most;
}

static Status take(GpuBench *bench, Error *error) {
    const GpuPlan *plan = bench->plan;
    size_t free_bytes = 0, all_bytes = 0;
    bench->input_bytes = input_bytes(plan);
    // Attention's output of a step is as large as its input.
    bench->output_bytes = num_max(linear_output_bytes(plan), bench->input_bytes);
    CU(cudaMemGetInfo(&free_bytes, &all_bytes));
    bench->arena_bytes = num_min(plan->arena_bytes, free_bytes / 2);
    CU(cudaMalloc((void **)&bench->arena, bench->arena_bytes));
    CU(cudaMalloc((void **)&bench->input, bench->input_bytes));
    CU(cudaMalloc((void **)&bench->output, bench->output_bytes));
    CU(cudaEventCreate(&bench->begin));
    CU(cudaEventCreate(&bench->end));
    make_pattern(bench->context->staging);
    TRY(fill(bench, bench->arena, bench->arena_bytes, error));
    return fill(bench, bench->input, bench->input_bytes, error);
}

Status gpu_bench_open(const GpuPlan *plan, const char *kernels, GpuBench **out, Error *error) {
    *out = NULL;
    GpuBench *bench = (GpuBench *)calloc(1, sizeof *bench);
    if (bench == NULL) {
        return error_set(error, E_MEMORY, "no memory for the bench");
    }
    bench->plan = plan;
    CudaOptions options = {};
    options.kernels = kernels;
    Status status = cuda_open(&options, &bench->backend, error);
    if (status == OK) {
        bench->context = (CudaContext *)bench->backend.context;
        status = take(bench, error);
    }
    if (status != OK) {
        gpu_bench_close(bench);
        return status;
    }
    *out = bench;
    return OK;
}

void gpu_bench_close(GpuBench *bench) {
    if (bench == NULL) {
        return;
    }
    cudaFree(bench->arena);
    cudaFree(bench->input);
    cudaFree(bench->output);
    if (bench->begin != NULL) {
        cudaEventDestroy(bench->begin);
    }
    if (bench->end != NULL) {
        cudaEventDestroy(bench->end);
    }
    if (bench->backend.close != NULL) {
        bench->backend.close(bench->backend.context);
    }
    free(bench);
}

size_t gpu_copies(const GpuBench *bench, size_t bytes) {
    return bench->arena_bytes / num_round_up(bytes, COPY_ALIGN);
}

unsigned char *gpu_copy(const GpuBench *bench, size_t bytes, size_t turn) {
    return bench->arena + turn % gpu_copies(bench, bytes) * num_round_up(bytes, COPY_ALIGN);
}

// ---- The stopwatch ------------------------------------------------------------------------------

Status gpu_status(const GpuBench *bench, const char *kernel, cudaError_t status) {
    return cuda_launched(bench->context, kernel, status);
}

static Status time_round(GpuBench *bench, GpuWork work, void *state, uint32_t *turn,
                         uint32_t launches, double *milliseconds, Error *error) {
    cudaStream_t stream = bench->context->stream;
    CU(gpu_launch_delay(bench->context, (uint32_t *)bench->output, bench->plan->delay_rounds));
    CU(cudaEventRecord(bench->begin, stream));
    Status status = OK;
    for (uint32_t i = 0; i < launches && status == OK; i++) {
        status = work(state, (*turn)++);
    }
    if (status != OK) {
        return error_set(error, status, "%s", bench->context->failure.text);
    }
    CU(cudaEventRecord(bench->end, stream));
    CU(cudaEventSynchronize(bench->end));
    float elapsed = 0.0f;
    CU(cudaEventElapsedTime(&elapsed, bench->begin, bench->end));
    *milliseconds = (double)elapsed / launches;
    return OK;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

Status gpu_time(GpuBench *bench, GpuWork work, void *state, double *milliseconds, Error *error) {
    enum { ROUNDS_MAX = 16 };
    double once = 0.0, times[ROUNDS_MAX];
    uint32_t turn = 0, rounds = bench->plan->rounds;
    REQUIRE(rounds > 0 && rounds <= ROUNDS_MAX);
    TRY(time_round(bench, work, state, &turn, 1, &once, error));
    TRY(time_round(bench, work, state, &turn, 1, &once, error));
    double wanted = once > 0.0 ? bench->plan->round_ms / once : 1.0;
    uint32_t launches = (uint32_t)fmin(fmax(wanted, 1.0), LAUNCHES_MAX);
    for (uint32_t r = 0; r < rounds; r++) {
        TRY(time_round(bench, work, state, &turn, launches, &times[r], error));
    }
    qsort(times, rounds, sizeof *times, compare_doubles);
    *milliseconds = times[rounds / 2];
    return OK;
}
