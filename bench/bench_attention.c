// SPDX-License-Identifier: Apache-2.0
// `tessera bench attention`: the attention op at the two shapes of the 12B model, decode and
// prefill, against the f32 peak and the read bandwidth measured just before on the same threads.
// A decode call reads keys and values of one layer; the layers take turns until they fill 512 MiB,
// so no call finds them in a cache. The best of the calls in the time given counts.
#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "bench/arguments.h"
#include "bench/bench.h"
#include "bench/peak.h"
#include "bench/row.h"
#include "cpu/context.h"
#include "cpu/kv_page.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Case {
    const char *name;
    LayerShape shape;
    uint32_t cached, rows; // before the step, in it
} Case;

static const LayerShape SLIDING = {LAYER_SLIDING, 16, 8, 256, false, 128};
static const LayerShape FULL = {LAYER_FULL, 16, 1, 512, true, 64};

enum { WINDOW = 1024, ROWS_MAX = 2048, COLUMNS_MAX = 16 * 512 };
static const size_t CACHE_BYTES = (size_t)512 << 20;

static const char *const kind_names[] = {"f32", "bf16", "int8"};

typedef struct AttentionBench {
    Backend backend, reference;
    Peak peak;
    KvKind kind;
    uint32_t threads;
    double seconds;
    float *q;             // [ROWS_MAX][COLUMNS_MAX]
    float *scratch;       // the same
    unsigned char *cache; // [CACHE_BYTES]
    uint32_t *pages, *positions, *sliding_end, *row_sequence;
    Activation out;
} AttentionBench;

// Numbers in [-1, 1], whatever the pages will be.
static void fill_cache(const AttentionBench *bench) {
    size_t count = CACHE_BYTES / kv_value_bytes(bench->kind);
    for (size_t i = 0; i < count; i++) {
        uint32_t scrambled = (uint32_t)i * 2654435761u;
        float value = (float)(scrambled >> 8) * 0x1p-23f - 1.0f;
        if (bench->kind == KV_F32) {
            ((float *)(void *)bench->cache)[i] = value;
        } else if (bench->kind == KV_BF16) {
            ((uint16_t *)(void *)bench->cache)[i] = bf16_from_f32(value);
        } else {
            ((int8_t *)bench->cache)[i] = (int8_t)(value * 127.0f);
        }
    }
}

// The scales of int8 pages lie where the shape of a case puts them.
static void fill_scales(const AttentionBench *bench, const LayerShape *shape, size_t page_bytes) {
    size_t first = kv_scales_offset(shape, KV_KEYS, 0) / sizeof(float);
    for (size_t at = 0; at + page_bytes <= CACHE_BYTES; at += page_bytes) {
        float *page = (float *)(void *)(bench->cache + at);
        for (size_t i = first; i < page_bytes / sizeof(float); i++) {
            page[i] = 1.0f / 127.0f;
        }
    }
}

// The last two rows of the call against the reference. False: the op is wrong.
static bool check_rows(const AttentionBench *bench, const OpAttention *op) {
    OpAttention two = *op;
    BatchSequence sequence = *op->rows.sequences;
    uint32_t columns = op->out.columns;
    uint32_t rows = (uint32_t)num_min(op->rows.row_count, 2);
    uint32_t first = op->rows.row_count - rows;
    if (bench->backend.ops->attention(bench->backend.context, op) != OK) {
        return false;
    }
    float *got = malloc((size_t)rows * columns * sizeof *got);
    if (got == NULL) {
        return false;
    }
    memcpy(got, op->scratch + (size_t)first * columns, (size_t)rows * columns * sizeof *got);
    sequence.row_count = rows;
    two.q += (size_t)first * op->q_stride;
    two.rows.row_count = rows;
    two.rows.positions += first;
    two.rows.sliding_end += first;
    two.rows.sequences = &sequence;
    bool equal = bench->reference.ops->attention(bench->reference.context, &two) == OK;
    for (size_t i = 0; equal && i < (size_t)rows * columns; i++) {
        equal = fabsf(got[i] - op->scratch[i]) <= 1e-4f; // averages of values in [-1, 1]
    }
    free(got);
    return equal;
}

// Page numbers out of order, as a used pool would have them.
static void fill_pages(const AttentionBench *bench, uint32_t page_count) {
    for (uint32_t i = 0; i < page_count; i++) { // every 7th page
        bench->pages[i] =
            page_count % 7 == 0 ? page_count - 1 - i : (uint32_t)((uint64_t)i * 7 % page_count);
    }
}

// What the rows of a case see: positions, and how many (query, key) pairs of one head they are.
static double fill_rows(const AttentionBench *bench, const Case *one) {
    double pairs = 0.0;
    for (uint32_t r = 0; r < one->rows; r++) {
        uint32_t seen = one->cached + r + 1;
        bench->positions[r] = one->cached + r;
        bench->sliding_end[r] = seen;
        pairs += (double)(one->shape.kind == LAYER_SLIDING ? num_min(seen, WINDOW) : seen);
    }
    return pairs;
}

// Seconds of the best call. Every call reads the pages of another layer.
static double best_call(const AttentionBench *bench, OpAttention *op, size_t layer_bytes) {
    size_t layers = CACHE_BYTES / layer_bytes;
    double best = INFINITY, spent = 0.0;
    for (size_t call = 1; spent < bench->seconds || call < 4; call++) {
        op->cache.pages = bench->cache + call % layers * layer_bytes;
        uint64_t begin = clock_ns();
        bench->backend.ops->attention(bench->backend.context, op);
        double seconds = (double)(clock_ns() - begin) * 1e-9;
        best = fmin(best, seconds);
        spent += seconds;
    }
    return best;
}

static void put_row(const AttentionBench *bench, const Case *one, double pairs, double best) {
    const LayerShape *shape = &one->shape;
    uint32_t length = one->cached + one->rows;
    // Bytes that must be read once whatever the order: what the rows see, keys and values.
    double seen = shape->kind == LAYER_SLIDING ? (double)num_min(length, WINDOW + one->rows - 1)
                                               : (double)length;
    double gbs = seen * (double)kv_page_bytes(bench->kind, shape) / KV_PAGE_TOKENS / best * 1e-9;
    double gflops = pairs * shape->head_count * shape->head_dim * 4.0 / best * 1e-9;
    Row row = row_begin("attention", one->name);
    row_text(&row, "backend", bench->backend.device->name);
    row_number(&row, "threads", bench->threads);
    row_text(&row, "kv", kind_names[bench->kind]);
    row_number(&row, "head_dim", shape->head_dim);
    row_number(&row, "rows", one->rows);
    row_number(&row, "kv_length", length);
    row_number(&row, "ms", best * 1e3);
    row_number(&row, "gflops", gflops);
    row_number(&row, "share_of_peak", gflops / bench->peak.f32_gops);
    row_number(&row, "kv_gbs", gbs);
    row_number(&row, "share_of_bandwidth", gbs / bench->peak.read_gbs);
    row_end(&row);
    fprintf(stderr, "%-22s %9.3f ms %7.1f GFLOP/s %5.1f %% of peak %6.1f GB/s %5.1f %%\n",
            one->name, best * 1e3, gflops, 100.0 * gflops / bench->peak.f32_gops, gbs,
            100.0 * gbs / bench->peak.read_gbs);
}

static bool measure(AttentionBench *bench, const Case *one) {
    const LayerShape *shape = &one->shape;
    uint32_t columns = shape->head_count * shape->head_dim;
    uint32_t length = one->cached + one->rows;
    uint32_t page_count = (uint32_t)num_ceil_div(length, KV_PAGE_TOKENS);
    size_t page_bytes = kv_page_bytes(bench->kind, shape);
    if (bench->kind == KV_INT8) {
        fill_cache(bench); // what the scales of the last case overwrote
        fill_scales(bench, shape, page_bytes);
    }
    BatchSequence sequence = {.row_count = one->rows, .position_first = one->cached};
    sequence.page_count[shape->kind] = page_count;
    fill_pages(bench, page_count);
    double pairs = fill_rows(bench, one);
    OpAttention op = {
        .q = bench->q,
        .q_stride = columns,
        .cache = {bench->kind, *shape, page_bytes, bench->cache},
        .rows = {.row_count = one->rows,
                 .positions = bench->positions,
                 .sliding_end = bench->sliding_end,
                 .row_sequence = bench->row_sequence,
                 .sequence_count = 1,
                 .sequences = &sequence,
                 .kv_length_max = length},
        .window = WINDOW,
        .scratch = bench->scratch,
        .out = bench->out,
    };
    op.rows.pages[shape->kind] = bench->pages;
    op.out.columns = op.out.stride = columns;
    if (!check_rows(bench, &op)) {
        fprintf(stderr, "%s: the result differs from the reference\n", one->name);
        return false;
    }
    put_row(bench, one, pairs, best_call(bench, &op, page_bytes * page_count));
    return true;
}

static bool measure_all(AttentionBench *bench) {
    const Case cases[] = {
        {"decode sliding 1k", SLIDING, 1023, 1}, {"decode full 4k", FULL, 4095, 1},
        {"decode full 32k", FULL, 32767, 1},     {"prefill sliding 330", SLIDING, 0, 330},
        {"prefill full 330", FULL, 0, 330},      {"prefill sliding 2048", SLIDING, 0, 2048},
        {"prefill full 2048", FULL, 0, 2048},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (!measure(bench, &cases[i])) {
            return false;
        }
    }
    return true;
}

static bool prepare(AttentionBench *bench) {
    size_t values = (size_t)ROWS_MAX * COLUMNS_MAX;
    bench->q = malloc(values * sizeof *bench->q);
    bench->scratch = malloc(values * sizeof *bench->scratch);
    bench->cache = aligned_alloc(4096, CACHE_BYTES);
    bench->pages = calloc(ROWS_MAX, sizeof *bench->pages);
    bench->positions = calloc(ROWS_MAX, sizeof *bench->positions);
    bench->sliding_end = calloc(ROWS_MAX, sizeof *bench->sliding_end);
    bench->row_sequence = calloc(ROWS_MAX, sizeof *bench->row_sequence);
    bench->out = (Activation){.kind = ACTIVATION_BF16,
                              .values = aligned_alloc(64, values * sizeof(uint16_t))};
    if (bench->q == NULL || bench->scratch == NULL || bench->cache == NULL ||
        bench->pages == NULL || bench->positions == NULL || bench->sliding_end == NULL ||
        bench->row_sequence == NULL || bench->out.values == NULL) {
        fprintf(stderr, "There is no memory for the cache; 1 GiB is needed.\n");
        return false;
    }
    for (size_t i = 0; i < values; i++) {
        bench->q[i] = (float)((int)(i * 7919 % 4001) - 2000) * 1e-4f;
    }
    fill_cache(bench);
    return true;
}

static void tear_down(AttentionBench *bench) {
    free(bench->q);
    free(bench->scratch);
    free(bench->cache);
    free(bench->pages);
    free(bench->positions);
    free(bench->sliding_end);
    free(bench->row_sequence);
    free(bench->out.values);
}

static bool read_kind(const char *value, void *at) {
    KvKind *out = at;
    for (int kind = 0; kind < KV_KIND_COUNT; kind++) {
        if (strcmp(value, kind_names[kind]) == 0) {
            *out = (KvKind)kind;
            return true;
        }
    }
    return false;
}

// ARGUMENTS_GO_ON or the exit status.
static int read_options(int argc, char **argv, AttentionBench *bench, CpuOptions *open) {
    const Argument rows[] = {
        ROW_READ("--kv", "NAME", "bf16, f32 or int8 (default bf16)", read_kind, &bench->kind),
        ROW_COUNT("--threads", "N", "(default: one a core)", &open->threads, 0, 65536),
        ROW_READ("--isa", "NAME", "auto, scalar, avx2 or avx512", argument_isa, &open->isa),
        ROW_REAL("--seconds", "S", "of each measurement (default 0.5)", &bench->seconds, 0, 1e9),
    };
    const Arguments arguments = {.bench = "attention",
                                 .operands = "",
                                 .rows = rows,
                                 .row_count = sizeof rows / sizeof rows[0]};
    return arguments_read(&arguments, argc, argv);
}

// The backend, the machine's ceilings on its threads, and the reference.
static Status open_backends(AttentionBench *bench, const CpuOptions *open, Error *error) {
    const CpuOptions plain = {.isa = CPU_ISA_REFERENCE};
    Pool *pool = NULL;
    TRY(cpu_open(open, &bench->backend, error));
    bench->threads = ((const CpuContext *)bench->backend.context)->thread_count;
    Status status = pool_open(bench->threads, 0, &pool, error);
    status = status == OK ? peak_measure(pool, open->isa, &bench->peak, error) : status;
    pool_close(pool); // before the backend's own pool works
    status = status == OK ? cpu_open(&plain, &bench->reference, error) : status;
    if (status != OK) {
        bench->backend.close(bench->backend.context);
    }
    return status;
}

int bench_attention(int argc, char **argv) {
    AttentionBench bench = {.kind = KV_BF16, .seconds = 0.5};
    CpuOptions open = {0};
    int wrong = read_options(argc, argv, &bench, &open);
    if (wrong != ARGUMENTS_GO_ON) {
        return wrong;
    }
    Error error;
    if (open_backends(&bench, &open, &error) != OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    fprintf(stderr, "%u threads: f32 %.0f GFLOP/s, reads %.1f GB/s\n", bench.threads,
            bench.peak.f32_gops, bench.peak.read_gbs);
    bool done = prepare(&bench) && measure_all(&bench);
    tear_down(&bench);
    bench.reference.close(bench.reference.context);
    bench.backend.close(bench.backend.context);
    return done ? 0 : 1;
}
