// SPDX-License-Identifier: Apache-2.0
// attention at the model's two layer kinds, decode and prefill, with pages of bf16 and of int8. The
// layers of a cache take turns, as in a step, so that no call finds its keys and values in L2.
// Bytes are those of the pages' positions that some row sees, once per sequence; operations are two
// per multiply and add of scores and blend. Whether the numbers are right the op tests say; here
// they must be finite and the same twice.
#include "bench/gpu/machine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const kind_names[KV_KIND_COUNT] = {"f32", "bf16", "int8"};

// The step's arrays, one block of host memory and one of device memory.
typedef struct Rows {
    uint32_t *host, *device; // positions, sliding_end, row_sequence, page table, sequences
    uint32_t pages_each;
    PagedRows rows;
} Rows;

typedef struct AttentionJob {
    GpuBench *bench;
    OpAttention op;
    size_t layer_bytes;
} AttentionJob;

static uint32_t pages_skipped(const GpuAttentionCase *one, uint32_t window) {
    uint32_t seen_from =
        one->shape.kind == LAYER_SLIDING && one->cached + 1 > window ? one->cached + 1 - window : 0;
    return seen_from / KV_PAGE_TOKENS;
}

static void fill_rows(Rows *rows, const GpuAttentionCase *one, uint32_t skipped, uint32_t words) {
    uint32_t row_count = one->rows * one->batch, pages = rows->pages_each * one->batch;
    uint32_t *positions = rows->host, *sliding_end = positions + row_count;
    uint32_t *row_sequence = sliding_end + row_count, *table = row_sequence + row_count;
    BatchSequence *sequences = (BatchSequence *)(rows->host + words);
    for (uint32_t r = 0; r < row_count; r++) {
        positions[r] = one->cached + r % one->rows;
        sliding_end[r] = positions[r] + 1;
        row_sequence[r] = r / one->rows;
    }
    for (uint32_t p = 0; p < pages; p++) {
        table[p] = p;
    }
    for (uint32_t s = 0; s < one->batch; s++) {
        BatchSequence *to = &sequences[s];
        *to = {};
        to->row_first = s * one->rows;
        to->row_count = one->rows;
        to->position_first = one->cached;
        for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
            to->page_first[kind] = s * rows->pages_each;
            to->page_count[kind] = rows->pages_each;
            to->page_skip[kind] = skipped;
        }
    }
    uint32_t *on_device = rows->device;
    PagedRows *out = &rows->rows;
    *out = {};
    out->row_count = row_count;
    out->positions = on_device;
    out->sliding_end = on_device + row_count;
    out->row_sequence = on_device + 2 * (size_t)row_count;
    out->sequence_count = one->batch;
    out->sequences = (BatchSequence *)(on_device + words);
    out->pages[PAGE_SLIDING] = out->pages[PAGE_FULL] = on_device + 3 * (size_t)row_count;
    out->kv_length_max = one->cached + one->rows;
}

static void rows_close(Rows *rows) {
    free(rows->host);
    cudaFree(rows->device);
}

static Status rows_open(const GpuBench *bench, const GpuAttentionCase *one, Rows *out,
                        Error *error) {
    *out = {};
    uint32_t skipped = pages_skipped(one, bench->plan->window);
    out->pages_each = (uint32_t)num_ceil_div(one->cached + one->rows, KV_PAGE_TOKENS) - skipped;
    // The sequences begin at a multiple of 16 bytes.
    size_t words = num_round_up((size_t)one->batch * (3 * one->rows + out->pages_each), 4);
    size_t bytes = words * sizeof(uint32_t) + one->batch * sizeof(BatchSequence);
    out->host = (uint32_t *)calloc(1, bytes);
    if (out->host == NULL) {
        return error_set(error, E_MEMORY, "no memory for a step's arrays");
    }
    CU(cudaMalloc((void **)&out->device, bytes));
    fill_rows(out, one, skipped, (uint32_t)words);
    CU(cudaMemcpyAsync(out->device, out->host, bytes, cudaMemcpyHostToDevice,
                       bench->context->stream));
    CU(cudaStreamSynchronize(bench->context->stream));
    return OK;
}

static Status work_attention(void *state, uint32_t turn) {
    AttentionJob *job = (AttentionJob *)state;
    job->op.cache.pages = gpu_copy(job->bench, job->layer_bytes, turn);
    return job->bench->backend.ops->attention(job->bench->context, &job->op);
}

// Positions that row `row` of a sequence sees.
static double seen_by(const GpuAttentionCase *one, uint32_t row, uint32_t window) {
    double seen = one->cached + row + 1.0;
    return one->shape.kind == LAYER_SLIDING ? fmin(seen, window) : seen;
}

static double operations(const GpuAttentionCase *one, uint32_t window) {
    double seen = 0;
    for (uint32_t r = 0; r < one->rows; r++) {
        seen += seen_by(one, r, window);
    }
    return 4.0 * one->shape.head_count * one->shape.head_dim * seen * one->batch;
}

static double bytes_read(const GpuAttentionCase *one, uint32_t window, size_t page_bytes) {
    double positions = one->cached + one->rows;
    if (one->shape.kind == LAYER_SLIDING) {
        positions = fmin(positions, (double)window + one->rows - 1);
    }
    return positions * one->batch * (double)page_bytes / KV_PAGE_TOKENS;
}

static Status check(AttentionJob *job, Error *error) {
    const GpuBench *bench = job->bench;
    uint32_t columns = job->op.out.columns;
    size_t bytes = columns * sizeof(uint16_t); // the last row
    size_t last = (size_t)(job->op.rows.row_count - 1) * job->op.out.stride;
    uint16_t *rows = (uint16_t *)malloc(2 * bytes);
    if (rows == NULL) {
        return error_set(error, E_MEMORY, "no memory for a row");
    }
    Status status = OK;
    for (int turn = 0; turn < 2 && status == OK; turn++) {
        status = work_attention(job, 0);
        cudaError_t copied =
            cudaMemcpyAsync(rows + turn * columns, (uint16_t *)job->op.out.values + last, bytes,
                            cudaMemcpyDeviceToHost, bench->context->stream);
        if (status == OK) {
            status = gpu_status(bench, "download", copied);
        }
        if (status == OK) {
            status = bench->backend.device->wait(bench->context, error);
        }
    }
    bool finite = true;
    for (uint32_t i = 0; i < columns && status == OK; i++) {
        finite = finite && (rows[i] & 0x7f80) != 0x7f80;
    }
    if (status == OK && (!finite || memcmp(rows, rows + columns, bytes) != 0)) {
        status = error_set(error, E_INTERNAL, "attention is not finite, or not the same twice");
    }
    free(rows);
    return status;
}

static void print_row(const AttentionJob *job, const GpuAttentionCase *one, double ms) {
    const GpuBench *bench = job->bench;
    const GpuCeilings *c = &bench->ceilings;
    uint32_t window = bench->plan->window;
    double gbs = bytes_read(one, window, job->op.cache.page_bytes) / ms * 1e-6;
    double tops = operations(one, window) / ms * 1e-9;
    Row row = gpu_row("attention", bench->backend.device->name);
    row_text(&row, "case", one->name);
    row_text(&row, "kv", kind_names[job->op.cache.kind]);
    row_number(&row, "cached", one->cached);
    row_number(&row, "rows", one->rows);
    row_number(&row, "batch", one->batch);
    row_number(&row, "us", ms * 1e3);
    row_number(&row, "kv_gbs", gbs);
    row_number(&row, "share_of_bandwidth", gbs / c->bandwidth_gbs);
    row_number(&row, "tops", tops);
    row_number(&row, "share_of_bf16_peak", tops / c->bf16_tflops);
    row_end(&row);
    fprintf(stderr,
            "%-16s %-5s cached %6u rows %5u batch %4u %10.1f us %7.0f GB/s %4.0f %% %7.1f T/s "
            "%4.0f %%\n",
            one->name, kind_names[job->op.cache.kind], one->cached, one->rows, one->batch, ms * 1e3,
            gbs, 100.0 * gbs / c->bandwidth_gbs, tops, 100.0 * tops / c->bf16_tflops);
}

static Status measure_rows(GpuBench *bench, const GpuAttentionCase *one, KvKind kind,
                           const Rows *rows, Error *error) {
    const LayerShape *shape = &one->shape;
    uint32_t columns = shape->head_count * shape->head_dim;
    AttentionJob job = {};
    job.bench = bench;
    job.op.q = (const float *)bench->input;
    job.op.q_stride = columns;
    job.op.cache = {kind, *shape, bench->backend.device->kv_page_bytes(kind, shape), NULL};
    job.op.rows = rows->rows;
    job.op.window = bench->plan->window;
    job.op.scratch = bench->output;
    job.layer_bytes = job.op.cache.page_bytes * rows->pages_each * one->batch;
    if (job.layer_bytes > bench->arena_bytes) {
        Row row = gpu_row("attention", bench->backend.device->name);
        row_text(&row, "case", one->name);
        row_text(&row, "skipped", "one layer's pages do not fit into half of the free memory");
        row_end(&row);
        return OK;
    }
    uint16_t *out = NULL;
    double ms = 0;
    CU(cudaMalloc((void **)&out, (size_t)rows->rows.row_count * columns * sizeof *out));
    job.op.out = {ACTIVATION_BF16, columns, columns, out, NULL, NULL};
    Status status = check(&job, error);
    if (status == OK) {
        status = gpu_time(bench, work_attention, &job, &ms, error);
    }
    cudaFree(out);
    if (status == OK) {
        print_row(&job, one, ms);
    }
    return status;
}

Status gpu_measure_attention(GpuBench *bench, Error *error) {
    static const KvKind kinds[] = {KV_BF16, KV_INT8};
    fprintf(stderr, "\nattention\n");
    for (uint32_t a = 0; a < bench->plan->attention_count; a++) {
        for (KvKind kind : kinds) {
            Rows rows;
            Status status = rows_open(bench, &bench->plan->attention[a], &rows, error);
            if (status == OK) {
                status = measure_rows(bench, &bench->plan->attention[a], kind, &rows, error);
            }
            rows_close(&rows);
            TRY(status);
        }
    }
    return OK;
}
