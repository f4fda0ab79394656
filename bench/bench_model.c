// SPDX-License-Identifier: Apache-2.0
// tessera bench model: prefill and decode tokens/s of a whole model, with the share of each op.
// Sequences are made of random tokens and one picture of random pixels; the batches are made here,
// so that a step is purely prefill or purely decode.
#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "base/prng.h"
#include "bench/arguments.h"
#include "bench/bench.h"
#include "bench/op_profile.h"
#include "bench/row.h"
#include "cpu/cpu.h"
#include "model/engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCHES_MAX = 8, SEQUENCES_MAX = 64, NEW_TOKENS = 512, MODEL_ROWS_MAX = 4096 };

typedef struct Options {
    const char *path;
    WeightLevel level;
    EngineActivation activation;
    CpuIsa isa;
    uint32_t threads, rows, patches;
    uint32_t batches[BATCHES_MAX], batch_count;
    double seconds;
} Options;

typedef struct Bench {
    Options options;
    Weights *weights;
    Backend cpu, backend;
    OpProfile profile;
    Engine *engine;
    uint32_t pages_each; // per sequence and kind
    // A batch: the prompt of one sequence, or one row of each.
    int32_t *tokens; // [rows]
    uint8_t *pixels;
    uint16_t *places;                                 // [patches][2]
    uint32_t *positions, *sliding_end, *row_sequence; // [rows or sequences]
    uint32_t *pages;                                  // [sequences][pages_each]
    BatchSequence sequences[SEQUENCES_MAX];
    StepSample samples[SEQUENCES_MAX];
    Error error;
} Bench;

static bool parse_level(const char *text, void *at) {
    WeightLevel *out = at;
    for (int level = 0; level < LEVEL_COUNT; level++) {
        if (strcmp(text, weight_level_name(level)) == 0) {
            *out = level;
            return true;
        }
    }
    return false;
}

static bool parse_activation(const char *text, void *at) {
    EngineActivation *out = at;
    *out = engine_activation_named(text);
    return *out != ENGINE_ACTIVATION_COUNT;
}

static bool parse_batches(const char *text, void *at) {
    Options *out = at;
    out->batch_count = 0;
    while (*text != '\0' && out->batch_count < BATCHES_MAX) {
        char *end;
        unsigned long batch = strtoul(text, &end, 10);
        if (end == text || batch == 0 || batch > SEQUENCES_MAX) {
            return false;
        }
        out->batches[out->batch_count++] = (uint32_t)batch;
        text = *end == ',' ? end + 1 : end;
    }
    return *text == '\0' && out->batch_count > 0;
}

// ARGUMENTS_GO_ON or the exit status.
static int parse(int argc, char **argv, Options *out) {
    *out = (Options){.level = LEVEL_COUNT,
                     .rows = 330,
                     .patches = 256,
                     .batches = {1, 8, 16},
                     .batch_count = 3,
                     .seconds = 5.0};
    const Argument rows[] = {
        ROW_READ("--level", "NAME", "bf16, int8 or int4", parse_level, &out->level),
        ROW_READ("--activation", "NAME", "f32, bf16, int8, int8x2 or mixed", parse_activation,
                 &out->activation),
        ROW_COUNT("--rows", "N", "length of a prompt (default 330)", &out->rows, 4, MODEL_ROWS_MAX),
        ROW_COUNT("--patches", "N", "how many of its rows are one picture (default 256)",
                  &out->patches, 0, MODEL_ROWS_MAX),
        ROW_READ("--batches", "N,N", "sequences of a decode step (default 1,8,16)", parse_batches,
                 out),
        ROW_REAL("--seconds", "S", "of each measurement (default 5)", &out->seconds, 0, 1e9),
        ROW_READ("--isa", "NAME", "auto, scalar, avx2 or avx512", argument_isa, &out->isa),
        ROW_COUNT("--threads", "N", "(default: one a core)", &out->threads, 0, 65536),
    };
    const Arguments arguments = {
        .bench = "model",
        .operands = "MODEL",
        .about = "MODEL is a folder, a packed file or synthetic:NAME.\n",
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0],
        .operand = argument_single,
        .at = &out->path,
    };
    return arguments_read(&arguments, argc, argv);
}

static uint32_t sequences_max(const Options *options) {
    uint32_t most = 1;
    for (uint32_t i = 0; i < options->batch_count; i++) {
        most = (uint32_t)num_max(most, options->batches[i]);
    }
    return most;
}

// Random text around one picture of random pixels on a grid 16 wide.
static bool make_prompt(Bench *bench) {
    Options *options = &bench->options;
    const Gemma4Config *config = &bench->weights->config;
    options->patches =
        config->has_vision ? (uint32_t)num_min(options->patches, options->rows - 3) : 0;
    size_t values = (size_t)options->patches * config->patch_values;
    size_t rows = num_max(options->rows, SEQUENCES_MAX);
    size_t pages = (size_t)bench->pages_each * sequences_max(options);
    bench->tokens = malloc(rows * sizeof *bench->tokens);
    bench->pixels = malloc(values + 1);
    bench->places = malloc((size_t)options->patches * 4 + 1);
    bench->positions = malloc(rows * sizeof *bench->positions);
    bench->sliding_end = malloc(rows * sizeof *bench->sliding_end);
    bench->row_sequence = malloc(rows * sizeof *bench->row_sequence);
    bench->pages = malloc(pages * sizeof *bench->pages);
    if (bench->tokens == NULL || bench->pixels == NULL || bench->places == NULL ||
        bench->positions == NULL || bench->sliding_end == NULL || bench->row_sequence == NULL ||
        bench->pages == NULL) {
        return false;
    }
    for (size_t i = 0; i < rows; i++) {
        bench->tokens[i] = (int32_t)(prng_u64(1, 0, i) % config->vocab_count);
    }
    for (size_t i = 0; i < values; i++) {
        bench->pixels[i] = (uint8_t)(prng_u64(1, 1, i / 64) ^ i);
    }
    for (uint32_t p = 0; p < options->patches; p++) {
        bench->places[2 * p] = (uint16_t)(p % 16);
        bench->places[2 * p + 1] = (uint16_t)(p / 16 % config->position_count);
    }
    for (uint32_t i = 0; i < pages; i++) {
        bench->pages[i] = i;
    }
    return true;
}

static BatchSequence sequence_of(const Bench *bench, uint32_t index, uint32_t row_first,
                                 uint32_t row_count, uint32_t position) {
    uint32_t pages = bench->pages_each;
    return (BatchSequence){.row_first = row_first,
                           .row_count = row_count,
                           .position_first = position,
                           .page_first = {index * pages, index * pages},
                           .page_count = {pages, pages},
                           .sample_rows = 1,
                           .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f}};
}

static Batch batch_of(const Bench *bench, uint32_t row_count, uint32_t sequence_count) {
    uint32_t pages = bench->pages_each * sequences_max(&bench->options);
    return (Batch){.row_count = row_count,
                   .tokens = bench->tokens,
                   .positions = bench->positions,
                   .sliding_end = bench->sliding_end,
                   .row_sequence = bench->row_sequence,
                   .sequence_count = sequence_count,
                   .sequences = bench->sequences,
                   .page_table_count = {pages, pages},
                   .pages = {bench->pages, bench->pages}};
}

// One step; every drawn token is checked.
static Status step(Bench *bench, const Batch *batch, uint64_t *spent_ns) {
    StepResult result = {.samples = bench->samples};
    uint64_t start = clock_ns();
    TRY(engine_step(bench->engine, batch, &result, &bench->error));
    *spent_ns = clock_ns() - start;
    for (uint32_t i = 0; i < result.sample_count; i++) {
        if (!isfinite(bench->samples[i].chosen.logprob)) {
            return error_set(&bench->error, E_INTERNAL, "a drawn token has no probability");
        }
    }
    return OK;
}

// The whole prompt of one sequence in one step.
static Status prefill_step(Bench *bench, uint32_t index, uint64_t *spent_ns) {
    const Options *options = &bench->options;
    int32_t kept[MODEL_ROWS_MAX];
    BatchImage image = {.row_first = 1,
                        .patch_count = options->patches,
                        .pixels = bench->pixels,
                        .positions = bench->places};
    Batch batch = batch_of(bench, options->rows, 1);
    batch.image_count = options->patches > 0;
    batch.images = &image;
    for (uint32_t r = 0; r < options->rows; r++) {
        bool soft = r >= 1 && r < 1 + options->patches;
        kept[r] = bench->tokens[r];
        bench->tokens[r] = soft ? -1 : kept[r];
        bench->positions[r] = r;
        bench->sliding_end[r] = soft ? 1 + options->patches : r + 1;
        bench->row_sequence[r] = 0;
    }
    bench->sequences[0] = sequence_of(bench, index, 0, options->rows, 0);
    Status status = step(bench, &batch, spent_ns);
    memcpy(bench->tokens, kept, options->rows * sizeof *kept);
    return status;
}

// One token of each of `count` sequences.
static Status decode_step(Bench *bench, uint32_t count, uint32_t position, uint64_t *spent_ns) {
    Batch batch = batch_of(bench, count, count);
    for (uint32_t s = 0; s < count; s++) {
        bench->positions[s] = position;
        bench->sliding_end[s] = position + 1;
        bench->row_sequence[s] = s;
        bench->sequences[s] = sequence_of(bench, s, s, 1, position);
    }
    return step(bench, &batch, spent_ns);
}

static Status open_all(Bench *bench) {
    Options *options = &bench->options;
    WeightsOptions weights = {.level = options->level, .threads = options->threads};
    TRY(weights_open(options->path, &weights, &bench->weights, &bench->error));
    const Gemma4Config *config = &bench->weights->config;
    bench->pages_each = (uint32_t)num_ceil_div(options->rows + NEW_TOKENS, KV_PAGE_TOKENS);
    if (!make_prompt(bench)) {
        return error_set(&bench->error, E_MEMORY, "no memory for a prompt of %u rows",
                         options->rows);
    }
    TRY(cpu_open(&(CpuOptions){.isa = options->isa, .threads = options->threads}, &bench->cpu,
                 &bench->error));
    bench->backend = op_profile_wrap(&bench->profile, &bench->cpu, config->vocab_count);
    uint32_t sequences = sequences_max(options);
    uint32_t pages = sequences * bench->pages_each;
    EngineOptions engine = {.activation = options->activation,
                            .rows_max = (uint32_t)num_max(options->rows, sequences),
                            .sequences_max = sequences,
                            .pages = {pages, pages}};
    return engine_open(bench->weights, &bench->backend, &engine, &bench->engine, &bench->error);
}

static void close_all(Bench *bench) {
    engine_close(bench->engine);
    if (bench->cpu.close != NULL) {
        bench->cpu.close(bench->cpu.context);
    }
    weights_close(bench->weights);
    free(bench->tokens);
    free(bench->pixels);
    free(bench->places);
    free(bench->positions);
    free(bench->sliding_end);
    free(bench->row_sequence);
    free(bench->pages);
}

static void report(Bench *bench, const char *what, uint32_t batch, uint64_t rows, uint64_t steps,
                   uint64_t spent_ns) {
    const Options *options = &bench->options;
    double seconds = (double)spent_ns * 1e-9;
    Row row = row_begin("model", what);
    row_text(&row, "model", options->path);
    row_text(&row, "weights", weight_level_name(bench->weights->level));
    row_text(&row, "device", bench->backend.device->name);
    row_number(&row, "batch", batch);
    row_number(&row, "rows", options->rows);
    row_number(&row, "patches", options->patches);
    row_number(&row, "steps", (double)steps);
    row_number(&row, "ms_per_step", seconds * 1e3 / (double)steps);
    row_number(&row, "tokens_per_s", (double)rows / seconds);
    fprintf(stderr, "%-8s batch %2u  %8.2f ms a step  %9.1f tokens/s  ", what, batch,
            seconds * 1e3 / (double)steps, (double)rows / seconds);
    for (int op = 0; op < PROFILE_OP_COUNT; op++) {
        double share = (double)bench->profile.spent_ns[op] / (double)spent_ns;
        char name[64];
        snprintf(name, sizeof name, "share_%s", op_profile_name(op));
        row_number(&row, name, share);
        if (share >= 0.005) {
            fprintf(stderr, " %s %.1f%%", op_profile_name(op), share * 100.0);
        }
    }
    fputc('\n', stderr);
    row_end(&row);
}

static Status prefill(Bench *bench) {
    uint64_t total = 0, steps = 0, spent_ns;
    TRY(prefill_step(bench, 0, &spent_ns)); // warms up
    op_profile_reset(&bench->profile);
    while (total < (uint64_t)(bench->options.seconds * 1e9) || steps < 2) {
        TRY(prefill_step(bench, 0, &spent_ns));
        total += spent_ns;
        steps++;
    }
    report(bench, "prefill", 1, steps * bench->options.rows, steps, total);
    return OK;
}

static Status decode(Bench *bench, uint32_t batch) {
    uint64_t total = 0, steps = 0, spent_ns;
    for (uint32_t s = 0; s < batch; s++) {
        TRY(prefill_step(bench, s, &spent_ns));
    }
    op_profile_reset(&bench->profile);
    while (steps < NEW_TOKENS && (total < (uint64_t)(bench->options.seconds * 1e9) || steps < 2)) {
        TRY(decode_step(bench, batch, bench->options.rows + (uint32_t)steps, &spent_ns));
        total += spent_ns;
        steps++;
    }
    report(bench, "decode", batch, steps * batch, steps, total);
    return OK;
}

static Status run(Bench *bench) {
    TRY(open_all(bench));
    TRY(prefill(bench));
    for (uint32_t i = 0; i < bench->options.batch_count; i++) {
        TRY(decode(bench, bench->options.batches[i]));
    }
    return OK;
}

int bench_model(int argc, char **argv) {
    static Bench bench;
    int wrong = parse(argc, argv, &bench.options);
    if (wrong != ARGUMENTS_GO_ON) {
        return wrong;
    }
    Status status = run(&bench);
    if (status != OK) {
        fprintf(stderr, "tessera bench model: %s\n", bench.error.text);
    }
    close_all(&bench);
    return status == OK ? 0 : 1;
}
