// SPDX-License-Identifier: Apache-2.0
// `tessera bench ops`: linear per weight level, activation, shape of the 12B model and number of
// rows, as a share of the dot-product peak and of the read bandwidth that were measured just before
// on the same threads. Weights lie in 1.25 GiB and every call takes the next copy, so no call finds
// its weights in a cache. The best of the calls in the time given counts.
#include "base/check.h"
#include "base/clock.h"
#include "base/f16.h"
#include "bench/arguments.h"
#include "bench/bench.h"
#include "bench/mix.h"
#include "bench/peak.h"
#include "bench/row.h"
#include "cpu/context.h"
#include "cpu/cpu.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Shape {
    const char *name;
    uint32_t rows, columns;
    LinearEpilogue epilogue;
} Shape;

static const Shape shapes[] = {
    {"qkv", 8192, 3840, LINEAR_PLAIN},         {"o", 3840, 4096, LINEAR_PLAIN},
    {"gate_up", 30720, 3840, LINEAR_GELU_MUL}, {"down", 3840, 15360, LINEAR_PLAIN},
    {"lm_head", 262144, 3840, LINEAR_PLAIN},
};

static const uint32_t row_counts[] = {1, 8, 32, 128, 512};
enum { M_MAX = 512, COLUMNS_MAX = 15360, CHECK_ROWS = 32 };
static const size_t WEIGHT_BYTES = (size_t)5 << 28;

typedef struct Options {
    const char *mix, *shape; // NULL: all
    uint32_t m, group, threads;
    double seconds; // per measurement
    CpuIsa isa;
} Options;

typedef struct OpsBench {
    Options options;
    Backend backend;
    Peak peak;
    unsigned char *codes; // [WEIGHT_BYTES]
    uint16_t *scales;     // [WEIGHT_BYTES / 16]
    float *x;             // [M_MAX][COLUMNS_MAX] normals
    Activation in;        // memory for the largest
    float *out;
} OpsBench;

// Bytes that are finite weights of the level: any code, or +-0.5 .. 1.
static void fill_weights(OpsBench *bench, WeightLevel level) {
    uint64_t state = 1;
    uint64_t keep = ~(uint64_t)0, set = 0;
    if (level == LEVEL_BF16) {
        keep = 0x807f807f807f807fu, set = 0x3f003f003f003f00u;
    } else if (level == LEVEL_F32) {
        keep = 0x807fffff807fffffu, set = 0x3f0000003f000000u;
    }
    uint64_t *words = (uint64_t *)bench->codes;
    for (size_t i = 0; i < WEIGHT_BYTES / sizeof *words; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        words[i] = ((state ^ state >> 29) & keep) | set;
    }
}

static Matrix matrix_at(const OpsBench *bench, const Mix *mix, const Shape *shape, size_t copy) {
    Matrix out = {.level = mix->level, .rows = shape->rows, .columns = shape->columns};
    out.group = mix->level >= LEVEL_INT8 ? bench->options.group : 0;
    out.padded_columns = matrix_padded_columns(mix->level, shape->columns, out.group);
    size_t bytes = matrix_codes_bytes(mix->level, shape->rows, out.padded_columns);
    size_t scales = matrix_scales_bytes(mix->level, shape->rows, out.padded_columns, out.group);
    size_t copies = WEIGHT_BYTES / bytes;
    out.codes = bench->codes + copy % copies * bytes;
    out.scales = scales > 0 ? bench->scales + copy % copies * (scales / 2) : NULL;
    return out;
}

// The first panels of up to 3 rows against the reference. False: the product is wrong.
static bool check_product(const OpsBench *bench, OpLinear op) {
    uint32_t stride = op.out_stride;
    float wanted[3 * CHECK_ROWS];
    op.row_count = op.row_count < 3 ? op.row_count : 3;
    if (bench->backend.ops->linear(bench->backend.context, &op) != OK) {
        return false;
    }
    const float *got = op.out;
    op.weight.rows = op.epilogue == LINEAR_GELU_MUL ? 2 * CHECK_ROWS : CHECK_ROWS;
    op.out_columns = op.out_stride = CHECK_ROWS;
    op.out = wanted;
    if (linear_ref(NULL, &op) != OK) {
        return false;
    }
    float largest = 0.0f;
    for (uint32_t i = 0; i < op.row_count * CHECK_ROWS; i++) {
        largest = fmaxf(largest, fabsf(wanted[i]));
    }
    for (uint32_t r = 0; r < op.row_count; r++) {
        for (uint32_t j = 0; j < CHECK_ROWS; j++) {
            float error = fabsf(got[(size_t)r * stride + j] - wanted[r * CHECK_ROWS + j]);
            if (!(error <= 1e-4f * largest)) {
                return false;
            }
        }
    }
    return true;
}

static double peak_gops(const OpsBench *bench, const Mix *mix) {
    if (activation_is_integer(mix->kind)) { // of int8x2 two products count as one
        return bench->peak.int8_gops / activation_parts(mix->kind);
    }
    return mix->kind == ACTIVATION_BF16 ? bench->peak.bf16_gops : bench->peak.f32_gops;
}

static bool measure(OpsBench *bench, const Mix *mix, const Shape *shape, uint32_t m) {
    const Backend *backend = &bench->backend;
    Activation in = bench->in;
    in.kind = mix->kind;
    in.columns = in.stride = shape->columns;
    OpActivate activate = {.row_count = m, .in = bench->x, .in_stride = shape->columns, .out = in};
    backend->ops->activate(backend->context, &activate);
    OpLinear op = {.row_count = m, .in = in, .epilogue = shape->epilogue, .out = bench->out};
    op.out_columns = op.epilogue == LINEAR_GELU_MUL ? shape->rows / 2 : shape->rows;
    op.out_stride = op.out_columns;
    op.weight = matrix_at(bench, mix, shape, 0);
    if (!check_product(bench, op)) {
        fprintf(stderr, "%s, %s, m %u: the product differs from the reference\n", mix->name,
                shape->name, m);
        return false;
    }
    double best = INFINITY, spent = 0.0;
    for (size_t call = 1; spent < bench->options.seconds || call < 4; call++) {
        op.weight = matrix_at(bench, mix, shape, call);
        uint64_t begin = clock_ns();
        backend->ops->linear(backend->context, &op);
        double seconds = (double)(clock_ns() - begin) * 1e-9;
        best = fmin(best, seconds);
        spent += seconds;
    }
    const Matrix *w = &op.weight;
    double bytes = (double)matrix_codes_bytes(w->level, w->rows, w->padded_columns) +
                   (double)matrix_scales_bytes(w->level, w->rows, w->padded_columns, w->group);
    double gops = 2.0 * m * shape->rows * shape->columns / best * 1e-9;
    double gbs = bytes / best * 1e-9;
    char what[64];
    snprintf(what, sizeof what, "linear %s", mix->name);
    Row row = row_begin("ops", what);
    row_text(&row, "backend", backend->device->name);
    row_number(&row, "threads", bench->options.threads);
    row_text(&row, "shape", shape->name);
    row_number(&row, "rows", shape->rows);
    row_number(&row, "columns", shape->columns);
    row_number(&row, "group", w->group);
    row_number(&row, "m", m);
    row_number(&row, "ms", best * 1e3);
    row_number(&row, "gops", gops);
    row_number(&row, "peak_gops", peak_gops(bench, mix));
    row_number(&row, "share_of_peak", gops / peak_gops(bench, mix));
    row_number(&row, "weight_gbs", gbs);
    row_number(&row, "read_gbs", bench->peak.read_gbs);
    row_number(&row, "share_of_bandwidth", gbs / bench->peak.read_gbs);
    row_end(&row);
    fprintf(stderr, "%-13s %-8s %4u %9.3f ms %8.1f GOP/s %5.1f %% of peak %6.1f GB/s %5.1f %%\n",
            mix->name, shape->name, m, best * 1e3, gops, 100.0 * gops / peak_gops(bench, mix), gbs,
            100.0 * gbs / bench->peak.read_gbs);
    return true;
}

// Measures the ceilings and keeps the best seen in this run, so that a disturbed moment does not
// make a share larger than it is. The pool lives only as long as no other one works.
static Status measure_peak(OpsBench *bench, Error *error) {
    Pool *pool = NULL;
    Peak now;
    TRY(pool_open(bench->options.threads, 0, &pool, error));
    Status status = peak_measure(pool, bench->options.isa, &now, error);
    pool_close(pool);
    if (status == OK) {
        Peak *best = &bench->peak;
        *best = (Peak){.int8_gops = fmax(best->int8_gops, now.int8_gops),
                       .bf16_gops = fmax(best->bf16_gops, now.bf16_gops),
                       .f32_gops = fmax(best->f32_gops, now.f32_gops),
                       .read_gbs = fmax(best->read_gbs, now.read_gbs)};
        fprintf(stderr, "%u threads: int8 %.0f, bf16 %.0f, f32 %.0f GOP/s, reads %.1f GB/s\n",
                bench->options.threads, best->int8_gops, best->bf16_gops, best->f32_gops,
                best->read_gbs);
    }
    return status;
}

static bool measure_all(OpsBench *bench) {
    const Options *options = &bench->options;
    WeightLevel filled = LEVEL_COUNT;
    for (uint32_t i = 0; i < mix_count; i++) {
        const Mix *mix = &mixes[i];
        if (options->mix != NULL && strcmp(options->mix, mix->name) != 0) {
            continue;
        }
        Error error;
        if (measure_peak(bench, &error) != OK) {
            fprintf(stderr, "%s\n", error.text);
            return false;
        }
        if (filled != mix->level) {
            fill_weights(bench, mix->level);
            filled = mix->level;
        }
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
            // The head is int8 in an int4 and in an int8 model.
            bool head = strcmp(shapes[s].name, "lm_head") == 0;
            if ((options->shape != NULL && strcmp(options->shape, shapes[s].name) != 0) ||
                (head && mix->level != LEVEL_INT8)) {
                continue;
            }
            for (size_t r = 0; r < sizeof row_counts / sizeof row_counts[0]; r++) {
                uint32_t m = row_counts[r];
                if ((options->m == 0 || options->m == m) && !(head && m > 128) &&
                    !measure(bench, mix, &shapes[s], m)) {
                    return false;
                }
            }
        }
    }
    return true;
}

// ARGUMENTS_GO_ON or the exit status.
static int read_options(int argc, char **argv, Options *out) {
    *out = (Options){.group = 32, .seconds = 0.3};
    const Argument rows[] = {
        ROW_TEXT("--mix", "NAME", "'int4 x int8' or another (default: all)", &out->mix),
        ROW_TEXT("--shape", "NAME", "qkv, o, gate_up, down or lm_head (default: all)", &out->shape),
        ROW_COUNT("--m", "N", "rows: 1, 8, 32, 128 or 512 (default: all)", &out->m, 0, M_MAX),
        ROW_COUNT("--group", "N", "32, 64 or 128 weights a scale (default 32)", &out->group, 32,
                  128),
        ROW_COUNT("--threads", "N", "(default: one a core)", &out->threads, 0, 65536),
        ROW_READ("--isa", "NAME", "auto, scalar, avx2 or avx512", argument_isa, &out->isa),
        ROW_REAL("--seconds", "S", "of each measurement (default 0.3)", &out->seconds, 0, 1e9),
    };
    const Arguments arguments = {
        .bench = "ops", .operands = "", .rows = rows, .row_count = sizeof rows / sizeof rows[0]};
    int status = arguments_read(&arguments, argc, argv);
    bool group = out->group == 32 || out->group == 64 || out->group == 128;
    return status == ARGUMENTS_GO_ON && !group ? arguments_wrong(&arguments) : status;
}

int bench_ops(int argc, char **argv) {
    OpsBench bench = {0};
    int wrong = read_options(argc, argv, &bench.options);
    if (wrong != ARGUMENTS_GO_ON) {
        return wrong;
    }
    Error error;
    CpuOptions open = {.isa = bench.options.isa, .threads = bench.options.threads};
    if (cpu_open(&open, &bench.backend, &error) != OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    bench.options.threads = ((const CpuContext *)bench.backend.context)->thread_count;
    bench.peak = (Peak){NAN, NAN, NAN, NAN}; // fmax takes the other one
    size_t x_count = (size_t)M_MAX * COLUMNS_MAX;
    bench.codes = aligned_alloc(4096, WEIGHT_BYTES);
    bench.scales = aligned_alloc(4096, WEIGHT_BYTES / 8);
    bench.x = malloc(x_count * sizeof *bench.x);
    bench.in.values = aligned_alloc(64, x_count * sizeof(float));
    bench.in.scales = malloc(M_MAX * sizeof(float));
    bench.in.block_sums =
        malloc(x_count / 32 * activation_parts(ACTIVATION_INT8X2) * sizeof(int32_t));
    bench.out = malloc((size_t)128 * 262144 * sizeof(float));
    bool done = bench.codes != NULL && bench.scales != NULL && bench.x != NULL &&
                bench.in.values != NULL && bench.in.scales != NULL && bench.in.block_sums != NULL &&
                bench.out != NULL;
    if (done) {
        for (size_t i = 0; i < x_count; i++) {
            bench.x[i] = (float)((int)(i * 7919 % 4001) - 2000) * 1e-3f;
        }
        for (size_t i = 0; i < WEIGHT_BYTES / 16; i++) {
            bench.scales[i] = f16_from_f32((float)(i % 61 + 1) * 1e-3f);
        }
        done = measure_all(&bench);
    } else {
        fprintf(stderr, "There is no memory for the weights; 2 GiB are needed.\n");
    }
    free(bench.codes);
    free(bench.scales);
    free(bench.x);
    free(bench.in.values);
    free(bench.in.scales);
    free(bench.in.block_sums);
    free(bench.out);
    bench.backend.close(bench.backend.context);
    return done ? 0 : 1;
}
