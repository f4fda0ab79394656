// SPDX-License-Identifier: Apache-2.0
// linear at the shapes of the model, for every pair of weight level and activation kind and every
// number of rows: the kernel that the engine would take, as a share of the ceilings, with cuBLAS
// beside it. The first rows of every product are compared with linear_plain_any before it is timed.
// And the tuner, which chooses among the kernels at the same shapes.
#include "bench/gpu/machine.h"
#include "bench/gpu/peer.h"
#include "cuda/ktable.h"

extern "C" {
#include "base/clock.h"
#include "bench/mix.h"
}

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHECK_ROWS = 3 };

static const float ROW_SCALE = 1e-3f; // of int8 activations

// A product whose weights move through the arena.
typedef struct LinearJob {
    GpuBench *bench;
    Matrix shape; // no pointers
    size_t bytes;
    OpLinear op;
} LinearJob;

// Of int8x2 the kernels of int8 compute twice as many rows, and f32 is for truth.
static bool has_own_kernels(const Mix *mix) {
    return activation_parts(mix->kind) == 1 && mix->level != LEVEL_F32;
}

static Matrix shape_of(const Mix *mix, const GpuLinearShape *shape, uint32_t group) {
    Matrix out = {};
    out.level = mix->level;
    out.rows = shape->rows;
    out.columns = shape->columns;
    out.group = mix->level >= LEVEL_INT8 ? group : 0;
    out.padded_columns = matrix_padded_columns(mix->level, shape->columns, out.group);
    return out;
}

static LinearJob job_of(GpuBench *bench, const Mix *mix, const GpuLinearShape *shape, uint32_t m,
                        float *row_scales) {
    LinearJob job = {};
    job.bench = bench;
    job.shape = shape_of(mix, shape, bench->plan->group);
    job.bytes = cuda_weight_bytes(&job.shape);
    uint32_t stride = (uint32_t)num_round_up(shape->columns, ACTIVATION_COLUMN_ALIGN);
    job.op.row_count = m;
    job.op.in = {mix->kind, shape->columns, stride, bench->input, row_scales, NULL};
    job.op.epilogue = shape->epilogue;
    job.op.out = bench->output;
    job.op.out_columns = shape->epilogue == LINEAR_GELU_MUL ? shape->rows / 2 : shape->rows;
    job.op.out_stride = job.op.out_columns;
    return job;
}

static Status work_linear(void *state, uint32_t turn) {
    LinearJob *job = (LinearJob *)state;
    job->op.weight = cuda_weight_placed(&job->shape, gpu_copy(job->bench, job->bytes, turn));
    return job->bench->backend.ops->linear(job->bench->context, &job->op);
}

static const char *kernel_of(const LinearJob *job) {
    LinearArgs args = linear_args(&job->op);
    KernelKey key = ktable_key(&args, job->bench->context->compute);
    return ktable_choose(job->bench->context->kernels, &key)->name;
}

// ---- Checking -----------------------------------------------------------------------------------

static Status download(const GpuBench *bench, float *to, size_t bytes, Error *error) {
    CU(cudaMemcpyAsync(to, bench->output, bytes, cudaMemcpyDeviceToHost, bench->context->stream));
    CU(cudaStreamSynchronize(bench->context->stream));
    return OK;
}

// The bound is loose: it finds wrong kernels, the op tests find wrong roundings.
static bool near(const float *got, const float *wanted, size_t count) {
    float largest = 0.0f;
    for (size_t i = 0; i < count; i++) {
        largest = fmaxf(largest, fabsf(wanted[i]));
    }
    for (size_t i = 0; i < count; i++) {
        if (!(fabsf(got[i] - wanted[i]) <= 1e-3f * largest)) {
            return false;
        }
    }
    return largest > 0.0f;
}

static Status check(LinearJob *job, Error *error) {
    uint32_t rows = (uint32_t)num_min(job->op.row_count, CHECK_ROWS);
    size_t count = (size_t)rows * job->op.out_stride;
    float *numbers = (float *)malloc(2 * count * sizeof *numbers);
    if (numbers == NULL) {
        return error_set(error, E_MEMORY, "no memory for %zu numbers", 2 * count);
    }
    Status status = work_linear(job, 0);
    if (status == OK) {
        status = download(job->bench, numbers, count * sizeof *numbers, error);
    }
    if (status == OK) {
        LinearArgs args = linear_args(&job->op);
        args.rows = rows;
        status = gpu_status(job->bench, linear_plain_variant.name,
                            linear_plain_variant.launch(job->bench->context, &args));
    }
    if (status == OK) {
        status = download(job->bench, numbers + count, count * sizeof *numbers, error);
    }
    if (status == OK && !near(numbers, numbers + count, count)) {
        status = error_set(error, E_INTERNAL, "%s differs from %s: [%u][%u], %u rows",
                           kernel_of(job), linear_plain_variant.name, job->shape.rows,
                           job->shape.columns, job->op.row_count);
    }
    free(numbers);
    return status;
}

// ---- The peer -----------------------------------------------------------------------------------

typedef struct PeerJob {
    GpuBench *bench;
    GpuPeer *peer;
    PeerProduct product;
    size_t bytes; // of the weights
    bool refused;
} PeerJob;

static Status work_peer(void *state, uint32_t turn) {
    PeerJob *job = (PeerJob *)state;
    job->product.w = gpu_copy(job->bench, job->bytes, turn);
    job->refused = job->refused || peer_run(job->peer, &job->product) != OK;
    return OK; // what the peer cannot do is no failure of ours
}

static PeerJob peer_job(GpuBench *bench, GpuPeer *peer, PeerKind kind, const GpuLinearShape *shape,
                        uint32_t m) {
    PeerJob job = {};
    job.bench = bench;
    job.peer = peer;
    job.product = {kind, peer_rows(kind, m), shape->rows, shape->columns, bench->input,
                   NULL, bench->output};
    job.bytes = (size_t)shape->rows * shape->columns * (kind == PEER_BF16 ? 2 : 1);
    return job;
}

// NAN: there is no peer, its weights do not fit, or it refuses.
static Status time_peer(GpuBench *bench, GpuPeer *peer, const Mix *mix, const GpuLinearShape *shape,
                        uint32_t m, double *milliseconds, Error *error) {
    *milliseconds = NAN;
    PeerKind kind = mix->kind == ACTIVATION_BF16 ? PEER_BF16 : PEER_INT8;
    PeerJob job = peer_job(bench, peer, kind, shape, m);
    size_t out_bytes = (size_t)job.product.rows * job.product.outputs * sizeof(float);
    if (peer == NULL || job.bytes > bench->arena_bytes || out_bytes > bench->output_bytes) {
        return OK;
    }
    double found = NAN;
    TRY(gpu_time(bench, work_peer, &job, &found, error));
    *milliseconds = job.refused ? NAN : found;
    return OK;
}

// Does the peer give a row the same bits with other rows beside it? Counts, of the numbers of rows
// in the plan, those with which row 0 differs from what it is with the fewest.
static Status peer_bits(GpuBench *bench, GpuPeer *peer, const GpuLinearShape *shape, Error *error) {
    const GpuPlan *plan = bench->plan;
    size_t bytes = shape->rows * sizeof(float);
    float *rows[2] = {(float *)malloc(bytes), (float *)malloc(bytes)};
    uint32_t differ = 0;
    Status status = rows[0] != NULL && rows[1] != NULL
                        ? OK
                        : error_set(error, E_MEMORY, "no memory for a row of %u", shape->rows);
    for (uint32_t r = 0; r < plan->row_count_count && status == OK; r++) {
        PeerJob job = peer_job(bench, peer, PEER_BF16, shape, plan->row_counts[r]);
        work_peer(&job, 0);
        status = download(bench, rows[r > 0], bytes, error);
        differ += r > 0 && memcmp(rows[0], rows[1], bytes) != 0;
    }
    free(rows[0]);
    free(rows[1]);
    TRY(status);
    Row row = gpu_row("cublas row bits", bench->backend.device->name);
    row_text(&row, "shape", shape->name);
    row_number(&row, "row_counts", plan->row_count_count);
    row_number(&row, "row_counts_with_other_bits", differ);
    row_end(&row);
    fprintf(stderr, "cuBLAS bf16, %s: row 0 has other bits at %u of %u numbers of rows\n",
            shape->name, differ, plan->row_count_count - 1);
    return OK;
}

// ---- Rows ---------------------------------------------------------------------------------------

static void print_row(const LinearJob *job, const Mix *mix, const GpuLinearShape *shape, double ms,
                      double peer_ms) {
    const GpuCeilings *c = &job->bench->ceilings;
    double peak = mix->kind == ACTIVATION_INT8 ? c->int8_tops : c->bf16_tflops;
    double gbs = (double)job->bytes / ms * 1e-6;
    double tops = 2.0 * job->op.row_count * shape->rows * shape->columns / ms * 1e-9;
    Row row = gpu_row("linear", job->bench->backend.device->name);
    row_text(&row, "mix", mix->name);
    row_text(&row, "shape", shape->name);
    row_number(&row, "rows", shape->rows);
    row_number(&row, "columns", shape->columns);
    row_number(&row, "group", job->shape.group);
    row_number(&row, "m", job->op.row_count);
    row_text(&row, "kernel", kernel_of(job));
    row_number(&row, "us", ms * 1e3);
    row_number(&row, "weight_gbs", gbs);
    row_number(&row, "share_of_bandwidth", gbs / c->bandwidth_gbs);
    row_number(&row, "tops", tops);
    row_number(&row, "share_of_peak", tops / peak);
    row_number(&row, "cublas_us", peer_ms * 1e3);
    row_number(&row, "faster_than_cublas", peer_ms / ms);
    row_end(&row);
    fprintf(stderr, "%-12s %-8s %5u %10.1f us %7.0f GB/s %4.0f %% %8.1f T/s %4.0f %%", mix->name,
            shape->name, job->op.row_count, ms * 1e3, gbs, 100.0 * gbs / c->bandwidth_gbs, tops,
            100.0 * tops / peak);
    if (isfinite(peer_ms)) {
        fprintf(stderr, "  cuBLAS %10.1f us", peer_ms * 1e3);
    }
    fprintf(stderr, "  %s\n", kernel_of(job));
}

static Status measure(GpuBench *bench, GpuPeer *peer, const Mix *mix, const GpuLinearShape *shape,
                      uint32_t m, float *row_scales, Error *error) {
    LinearJob job = job_of(bench, mix, shape, m, row_scales);
    if (job.bytes > bench->arena_bytes) {
        Row row = gpu_row("linear", bench->backend.device->name);
        row_text(&row, "mix", mix->name);
        row_text(&row, "shape", shape->name);
        row_text(&row, "skipped", "the weights do not fit into half of the free memory");
        row_end(&row);
        return OK;
    }
    double ms = 0, peer_ms = NAN;
    TRY(check(&job, error));
    TRY(gpu_time(bench, work_linear, &job, &ms, error));
    TRY(time_peer(bench, peer, mix, shape, m, &peer_ms, error));
    print_row(&job, mix, shape, ms, peer_ms);
    return OK;
}

static Status measure_mix(GpuBench *bench, GpuPeer *peer, const Mix *mix, float *row_scales,
                          Error *error) {
    const GpuPlan *plan = bench->plan;
    for (uint32_t s = 0; s < plan->shape_count; s++) {
        const GpuLinearShape *shape = &plan->shapes[s];
        if (shape->head && mix->level == LEVEL_INT4) {
            continue; // the head of an int4 model is int8
        }
        for (uint32_t r = 0; r < plan->row_count_count; r++) {
            if (!shape->head || plan->row_counts[r] <= plan->head_rows_max) {
                TRY(measure(bench, peer, mix, shape, plan->row_counts[r], row_scales, error));
            }
        }
    }
    return OK;
}

static Status make_row_scales(const GpuBench *bench, float **out, Error *error) {
    uint32_t count = bench->plan->row_counts[bench->plan->row_count_count - 1];
    float *scales = (float *)bench->context->staging;
    for (uint32_t i = 0; i < count; i++) {
        scales[i] = ROW_SCALE;
    }
    CU(cudaMalloc((void **)out, count * sizeof **out));
    CU(cudaMemcpyAsync(*out, scales, count * sizeof **out, cudaMemcpyHostToDevice,
                       bench->context->stream));
    CU(cudaStreamSynchronize(bench->context->stream));
    return OK;
}

Status gpu_measure_linear(GpuBench *bench, Error *error) {
    int version = 0;
    float *row_scales = NULL;
    TRY(make_row_scales(bench, &row_scales, error));
    GpuPeer *peer = peer_open(bench, &version);
    if (peer != NULL) {
        fprintf(stderr, "\nlinear, beside cuBLAS %d\n", version);
    } else {
        fprintf(stderr, "\nlinear (no libcublas was found)\n");
    }
    Status status = OK;
    for (uint32_t i = 0; i < mix_count && status == OK; i++) {
        if (has_own_kernels(&mixes[i])) {
            status = measure_mix(bench, peer, &mixes[i], row_scales, error);
        }
    }
    for (uint32_t s = 0; s < bench->plan->shape_count && status == OK && peer != NULL; s++) {
        if (!bench->plan->shapes[s].head) {
            status = peer_bits(bench, peer, &bench->plan->shapes[s], error);
        }
    }
    peer_close(peer);
    cudaFree(row_scales);
    return status;
}

// ---- Tuning -------------------------------------------------------------------------------------

enum { TUNE_COPIES_MAX = 64 };

// Every bucket of rows up to `most`. *others counts choices that the rule would not have made.
static Status tune_shape(GpuBench *bench, const Mix *mix, const GpuLinearShape *shape,
                         uint32_t most, float *row_scales, KernelTable *table, uint32_t *others,
                         Error *error) {
    OpLinear ops[TUNE_COPIES_MAX];
    for (uint32_t m = ktable_bucket(1), last = 0; m <= most && m != last;
         last = m, m = ktable_bucket(m + 1)) {
        LinearJob job = job_of(bench, mix, shape, m, row_scales);
        uint32_t copies = (uint32_t)num_min(gpu_copies(bench, job.bytes), TUNE_COPIES_MAX);
        if (copies == 0) {
            return OK; // larger than the arena: by rule
        }
        for (uint32_t i = 0; i < copies; i++) {
            ops[i] = job.op;
            ops[i].weight = cuda_weight_placed(&job.shape, gpu_copy(bench, job.bytes, i));
        }
        TRY(ktable_tune(bench->context, ops, copies, bench->plan->tune_launches, table, error));
        LinearArgs args = linear_args(&ops[0]);
        KernelKey key = ktable_key(&args, bench->context->compute);
        *others += ktable_choose(table, &key) != ktable_choose(NULL, &key);
    }
    return OK;
}

static Status tune_all(GpuBench *bench, float *row_scales, KernelTable *table, uint32_t *others,
                       Error *error) {
    const GpuPlan *plan = bench->plan;
    for (uint32_t i = 0; i < mix_count; i++) {
        for (uint32_t s = 0; s < plan->shape_count && has_own_kernels(&mixes[i]); s++) {
            const GpuLinearShape *shape = &plan->shapes[s];
            uint32_t most =
                shape->head ? plan->head_rows_max : plan->row_counts[plan->row_count_count - 1];
            if (!shape->head || mixes[i].level != LEVEL_INT4) {
                TRY(tune_shape(bench, &mixes[i], shape, most, row_scales, table, others, error));
            }
        }
    }
    return OK;
}

Status gpu_tune(GpuBench *bench, const char *path, Error *error) {
    static KernelTable table;
    char card[KTABLE_CARD_MAX];
    float *row_scales = NULL;
    uint32_t others = 0;
    uint64_t begin_ns = clock_ns();
    table.count = 0;
    TRY(ktable_card(bench->context->device, card, error));
    TRY(make_row_scales(bench, &row_scales, error));
    Status status = tune_all(bench, row_scales, &table, &others, error);
    cudaFree(row_scales);
    TRY(status);
    TRY(ktable_save(&table, card, path, error));
    double seconds = (double)(clock_ns() - begin_ns) * 1e-9;
    Row row = gpu_row("tune", bench->backend.device->name);
    row_number(&row, "entries", table.count);
    row_number(&row, "other_than_by_rule", others);
    row_number(&row, "seconds", seconds);
    row_end(&row);
    fprintf(stderr, "kernel choices: %u, %u of them other than by rule, in %.1f s: %s\n",
            table.count, others, seconds, path);
    return OK;
}
