// SPDX-License-Identifier: Apache-2.0
#include "bench/captions.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "base/prng.h"
#include "host/step/step_engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGE_AT = 4, STEP_TIMES_MAX = 4096 };

void captions_setting(WeightLevel level, EngineActivation activation, EngineKv kv, char out[32]) {
    static const char *const weights[LEVEL_COUNT] = {"f32", "bf16", "W8", "W4"};
    static const char *const caches[] = {"bf16", "f32", "int8", "int8-all"};
    static const char *const inputs[ENGINE_ACTIVATION_COUNT] = {"A8", "A32",  "A16",
                                                                "A8", "A8x2", "A8mixed"};
    const char *input = level >= LEVEL_INT8 ? inputs[activation] : "";
    snprintf(out, 32, "%s%s kv %s", weights[level], input, caches[kv]);
}

// ---- Sizes --------------------------------------------------------------------------------------

static EngineOptions engine_options(const Weights *weights, const CaptionsOptions *options,
                                    uint32_t batch) {
    uint32_t tokens = options->prompt + options->output;
    uint32_t rows = (uint32_t)num_max(options->step_rows, options->patches + batch);
    const SchedulerOptions step = {.rows_max = rows, .window = weights->config.window};
    EngineOptions engine = {.activation = options->activation,
                            .kv = options->kv,
                            .rows_max = rows,
                            .sequences_max = batch};
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        // One more for the page that is begun, and 2 % that admission keeps free.
        size_t pages = (size_t)batch * (sched_pages_needed(&step, kind, tokens) + 1);
        engine.pages[kind] = (uint32_t)(pages + pages / 50 + 1);
    }
    return engine;
}

uint32_t captions_batch_max(const Weights *weights, const Backend *backend,
                            const CaptionsOptions *options, uint64_t bytes_max) {
    uint32_t fits = 0, beyond = CAPTIONS_BATCH_MAX + 1;
    while (fits + 1 < beyond) {
        uint32_t middle = fits + (beyond - fits) / 2;
        EngineOptions engine = engine_options(weights, options, middle);
        if (engine_plan(weights, backend, &engine).total <= bytes_max) {
            fits = middle;
        } else {
            beyond = middle;
        }
    }
    return fits;
}

// ---- Open and close -----------------------------------------------------------------------------

static Status make_requests(Captions *captions, Error *error) {
    const CaptionsOptions *options = &captions->options;
    const Gemma4Config *config = &captions->weights->config;
    size_t tokens = (size_t)captions->batch_max * options->prompt;
    size_t values = (size_t)options->patches * config->patch_values;
    captions->tokens = malloc(tokens * sizeof *captions->tokens);
    captions->pixels = malloc(values + 1);
    captions->positions = malloc(((size_t)options->patches + 1) * 2 * sizeof *captions->positions);
    if (captions->tokens == NULL || captions->pixels == NULL || captions->positions == NULL) {
        return error_set(error, E_MEMORY, "no memory for %u requests of %u tokens",
                         captions->batch_max, options->prompt);
    }
    for (size_t i = 0; i < tokens; i++) {
        size_t at = i % options->prompt;
        bool soft = at >= IMAGE_AT && at < IMAGE_AT + options->patches;
        captions->tokens[i] =
            soft ? config->image_id : (int32_t)(prng_u64(1, 0, i) % (config->vocab_count / 2));
    }
    for (size_t i = 0; i < values; i++) {
        captions->pixels[i] = (uint8_t)(prng_u64(1, 1, i / 64) ^ i);
    }
    for (uint32_t p = 0; p < options->patches; p++) {
        captions->positions[2 * p] = (uint16_t)(p % 16);
        captions->positions[2 * p + 1] = (uint16_t)(p / 16 % config->position_count);
    }
    return OK;
}

Status captions_open(const Weights *weights, const Backend *backend, const CaptionsOptions *options,
                     uint32_t batch_max, Captions *out, Error *error) {
    REQUIRE(batch_max > 0 && options->output > 0);
    *out = (Captions){.options = *options, .weights = weights, .batch_max = batch_max};
    if (!weights->config.has_vision) {
        out->options.patches = 0;
    }
    if (options->prompt < out->options.patches + IMAGE_AT + 1) {
        return error_set(error, E_ARGUMENT,
                         "a prompt of %u tokens has no room for a picture of %u and %u of text",
                         options->prompt, out->options.patches, IMAGE_AT + 1);
    }
    TRY(make_requests(out, error));
    out->engine_options = engine_options(weights, &out->options, batch_max);
    out->plan = engine_plan(weights, backend, &out->engine_options);
    uint64_t free_before = backend->device->memory_bytes(backend->context);
    TRY(engine_open(weights, backend, &out->engine_options, &out->engine, error));
    uint64_t free_after = backend->device->memory_bytes(backend->context);
    out->taken_bytes = free_before > free_after ? free_before - free_after : 0;
    return OK;
}

void captions_close(Captions *captions) {
    engine_close(captions->engine);
    free(captions->tokens);
    free(captions->pixels);
    free(captions->positions);
    *captions = (Captions){0};
}

// ---- A wave -------------------------------------------------------------------------------------

typedef struct WaveState {
    const Captions *captions;
    Scheduler *scheduler;
    Stepper *stepper;
    StepEngine engine;
    const Batch *begun[ENGINE_STEPS_MAX]; // steps under way, oldest first
    uint32_t batch, finished;
    uint64_t begin_ns;
    double first_sum_ms, first_max_ms;
    uint64_t prefill_rows, prefill_ns, decode_rows, decode_ns;
    uint64_t full_ns[STEP_TIMES_MAX]; // of the steps that decode the whole batch
    uint32_t full_count;
    bool began[CAPTIONS_BATCH_MAX]; // has its first token
    SequenceMedia picture;          // of every request
    SequenceRequest requests[CAPTIONS_BATCH_MAX];
} WaveState;

static void wave_count_step(WaveState *wave, const Batch *batch) {
    uint64_t prompt_rows = 0, spent_ns = wave->engine.last_ns;
    for (uint32_t r = 0; r < batch->row_count; r++) {
        prompt_rows += batch->positions[r] < wave->captions->options.prompt;
    }
    if (prompt_rows > 0) {
        wave->prefill_rows += prompt_rows;
        wave->prefill_ns += spent_ns;
        return;
    }
    wave->decode_rows += batch->row_count;
    wave->decode_ns += spent_ns;
    if (batch->row_count == wave->batch && wave->full_count < STEP_TIMES_MAX) {
        wave->full_ns[wave->full_count++] = spent_ns;
    }
}

static Status wave_begin_step(void *context, const Batch *batch, Error *error) {
    WaveState *wave = context;
    TRY(step_engine_begin(&wave->engine, batch, error));
    wave->begun[wave->engine.begun_count - 1] = batch;
    return OK;
}

// The batch stays until the stepper commits it.
static Status wave_end_step(void *context, StepResult *result, Error *error) {
    WaveState *wave = context;
    const Batch *batch = wave->begun[0];
    wave->begun[0] = wave->begun[1];
    TRY(step_engine_end(&wave->engine, result, error));
    wave_count_step(wave, batch);
    return OK;
}

static Status wave_open_scheduler(WaveState *wave, Error *error) {
    const Captions *captions = wave->captions;
    const EngineOptions *engine = &captions->engine_options;
    SchedulerOptions options = {
        .rows_max = engine->rows_max,
        .sequences_max = wave->batch,
        .waiting_max = wave->batch,
        .tokens_max = captions->options.prompt + captions->options.output,
        .media_max = 1,
        .window = captions->weights->config.window,
        .pages = {engine->pages[PAGE_SLIDING], engine->pages[PAGE_FULL]},
        .no_prefix_cache = true,
    };
    return sched_open(&options, &wave->scheduler, error);
}

static Status wave_open_stepper(WaveState *wave, Error *error) {
    wave->engine.engine = wave->captions->engine;
    StepperOptions options = {
        .scheduler = wave->scheduler,
        .sequences_max = wave->batch,
        .tags_max = wave->batch,
    };
    step_engine_options(&wave->engine, &options);
    options.begin = wave_begin_step;
    options.end = wave_end_step;
    options.context = wave;
    return stepper_open(&options, &wave->stepper, error);
}

static Status wave_add(WaveState *wave, uint32_t index, Error *error) {
    const CaptionsOptions *options = &wave->captions->options;
    wave->requests[index] = (SequenceRequest){
        .tokens = wave->captions->tokens + (size_t)index * options->prompt,
        .token_count = options->prompt,
        .media = &wave->picture,
        .media_count = options->patches > 0,
        .new_tokens_max = options->output,
        .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f},
        .tag = index,
    };
    return stepper_add(wave->stepper, &wave->requests[index], STEPPER_NO_TAG, error);
}

static Status wave_begin(WaveState *wave, Error *error) {
    const Captions *captions = wave->captions;
    TRY(wave_open_scheduler(wave, error));
    TRY(wave_open_stepper(wave, error));
    wave->picture = (SequenceMedia){.position_first = IMAGE_AT,
                                    .row_count = captions->options.patches,
                                    .pixels = captions->pixels,
                                    .positions = captions->positions};
    for (uint32_t i = 0; i < wave->batch; i++) {
        TRY(wave_add(wave, i, error));
    }
    return OK;
}

static Status wave_take_event(WaveState *wave, const StepperEvent *event, double now_ms,
                              Error *error) {
    if (event->kind == STEPPER_REFUSED) {
        return error_set(error, event->status, "%s", event->text);
    }
    if (event->kind == STEPPER_TOKEN && !isfinite(event->event.chosen.logprob)) {
        return error_set(error, E_INTERNAL, "a drawn token has no probability");
    }
    if (!wave->began[event->tag]) {
        wave->began[event->tag] = true;
        wave->first_sum_ms += now_ms;
        wave->first_max_ms = fmax(wave->first_max_ms, now_ms);
    }
    wave->finished += event->event.finish != FINISH_NONE;
    return OK;
}

static Status wave_step(WaveState *wave, Error *error) {
    const StepperEvent *events;
    stepper_tick(wave->stepper, (clock_ns() - wave->begin_ns) / 1000000);
    size_t count = stepper_step(wave->stepper, &events);
    const Error *failure = stepper_error(wave->stepper);
    if (failure != NULL) {
        return error_set(error, failure->status, "%s", failure->text);
    }
    double now_ms = (double)(clock_ns() - wave->begin_ns) * 1e-6;
    for (size_t i = 0; i < count; i++) {
        TRY(wave_take_event(wave, &events[i], now_ms, error));
    }
    return OK;
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static CaptionsWave wave_result(WaveState *wave, double seconds) {
    qsort(wave->full_ns, wave->full_count, sizeof *wave->full_ns, compare_u64);
    uint32_t middle = wave->full_count / 2;
    return (CaptionsWave){
        .batch = wave->batch,
        .seconds = seconds,
        .captions_per_second = wave->batch / seconds,
        .prefill_tokens_per_second = (double)wave->prefill_rows * 1e9 / (double)wave->prefill_ns,
        .decode_tokens_per_second = wave->decode_ns > 0
                                        ? (double)wave->decode_rows * 1e9 / (double)wave->decode_ns
                                        : (double)NAN,
        .first_token_ms_mean = wave->first_sum_ms / wave->batch,
        .first_token_ms_max = wave->first_max_ms,
        .decode_step_ms = wave->full_count > 0 ? (double)wave->full_ns[middle] * 1e-6 : (double)NAN,
    };
}

Status captions_wave(const Captions *captions, uint32_t batch, CaptionsWave *out, Error *error) {
    REQUIRE(batch > 0 && batch <= captions->batch_max);
    WaveState *wave = calloc(1, sizeof *wave);
    if (wave == NULL) {
        return error_set(error, E_MEMORY, "no memory for a wave of requests");
    }
    wave->captions = captions;
    wave->batch = batch;
    Status status = wave_begin(wave, error);
    wave->begin_ns = clock_ns();
    while (status == OK && wave->finished < batch) {
        status = wave_step(wave, error);
    }
    if (status == OK) {
        *out = wave_result(wave, (double)(clock_ns() - wave->begin_ns) * 1e-9);
    }
    stepper_close(wave->stepper);
    if (wave->scheduler != NULL) {
        sched_close(wave->scheduler);
    }
    free(wave);
    return status;
}
