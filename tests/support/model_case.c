// SPDX-License-Identifier: Apache-2.0
#include "tests/support/model_case.h"

#include "base/check.h"
#include "base/file.h"
#include "base/num.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double BAR_LEAST = 2e-4, BAR_DISTANCES = 3.0;

const char *const model_case_names[CASE_NAMES_DEEP] = {
    "text",      "own_values", "long_image", "images", "wide_heads", "many_heads",
    "long_text", "true_patch", "new_config", "audio",  "deep"};

static Status read_array(const char *folder, const char *name, const char *type, Npy *out,
                         Error *error) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    return npy_read(path, type, out, error);
}

static void fill_prompt(ModelCase *c) {
    c->prompt = (BuilderPrompt){.tokens = c->tokens.data,
                                .token_count = (uint32_t)c->tokens.count,
                                .sampling = batch_builder_greedy()};
    const int32_t *spans = c->spans.data;
    size_t first = 0;
    for (size_t i = 0; i < c->spans.shape[0]; i++) {
        uint32_t count = (uint32_t)spans[2 * i + 1];
        c->prompt.images[c->prompt.image_count++] =
            (BuilderImage){.position_first = (uint32_t)spans[2 * i],
                           .patch_count = count,
                           .pixels = (const uint8_t *)c->pixels.data + first * c->pixels.shape[1],
                           .positions = (const uint16_t *)c->positions.data + first * 2};
        first += count;
    }
    const int32_t *clips = c->clips.data;
    first = 0;
    for (size_t i = 0; i < c->clips.shape[0]; i++) {
        uint32_t count = (uint32_t)clips[2 * i + 1];
        c->prompt.clips[c->prompt.clip_count++] =
            (BuilderClip){.position_first = (uint32_t)clips[2 * i],
                          .frame_count = count,
                          .samples = (const float *)c->samples.data + first * c->samples.shape[1]};
        first += count;
    }
}

Status model_case_open(const char *name, WeightLevel level, uint32_t group, ModelCase *out,
                       Error *error) {
    *out = (ModelCase){0};
    char folder[2048], spans[4096], clips[4096];
    snprintf(folder, sizeof folder, "%s/tests/golden/model/%s", TEST_ROOT, name);
    snprintf(spans, sizeof spans, "%s/spans.npy", folder);
    snprintf(clips, sizeof clips, "%s/clips.npy", folder);
    level = level == LEVEL_COUNT && strcmp(name, "images") == 0 ? LEVEL_F32 : level;
    const bool grouped = level == LEVEL_INT8 || level == LEVEL_INT4;
    const WeightsOptions options = {.level = level, .group = grouped ? group : 0, .threads = 1};
    TRY(weights_open(folder, &options, &out->weights, error));
    TRY(read_array(folder, "tokens", "i4", &out->tokens, error));
    TRY(read_array(folder, "logits", "f4", &out->logits, error));
    TRY(read_array(folder, "greedy", "i4", &out->greedy, error));
    TRY(read_array(folder, "distance", "f4", &out->distance, error));
    out->bar = fmax(BAR_LEAST, BAR_DISTANCES * (double)*(const float *)out->distance.data);
    if (file_exists(spans)) {
        TRY(read_array(folder, "spans", "i4", &out->spans, error));
        TRY(read_array(folder, "positions", "u2", &out->positions, error));
        TRY(read_array(folder, "pixels", "u1", &out->pixels, error));
    }
    if (file_exists(clips)) {
        TRY(read_array(folder, "clips", "i4", &out->clips, error));
        TRY(read_array(folder, "samples", "f4", &out->samples, error));
    }
    fill_prompt(out);
    return OK;
}

void model_case_close(ModelCase *c) {
    npy_free(&c->tokens);
    npy_free(&c->logits);
    npy_free(&c->greedy);
    npy_free(&c->distance);
    npy_free(&c->spans);
    npy_free(&c->positions);
    npy_free(&c->pixels);
    npy_free(&c->clips);
    npy_free(&c->samples);
    weights_close(c->weights);
    *c = (ModelCase){0};
}

static void close_backend(ModelRun *run) {
    if (run->backend_ours) {
        run->backend.close(run->backend.context);
    }
}

Status model_run_open(const Weights *weights, const RunOptions *options, uint32_t sequences,
                      uint32_t tokens, ModelRun *out, Error *error) {
    const Gemma4Config *config = &weights->config;
    *out = (ModelRun){.vocab_count = config->vocab_count};
    uint32_t pages = sequences * (uint32_t)(num_ceil_div(tokens, KV_PAGE_TOKENS) + 1);
    CpuOptions cpu = {.isa = options->isa, .threads = options->threads == 0 ? 1 : options->threads};
    out->backend_ours = options->backend == NULL;
    if (out->backend_ours) {
        TRY(cpu_open(&cpu, &out->backend, error));
    } else {
        out->backend = *options->backend;
    }
    EngineOptions engine = {.activation = options->activation,
                            .kv = options->kv,
                            .eager = options->eager,
                            .rows_max = sequences * tokens,
                            .sequences_max = sequences,
                            .samples_max = sequences * MODEL_RUN_DRAFTS,
                            .logits_rows_max = 5, // so that raw logits come in several pieces
                            .pages = {pages, pages}};
    Status status = engine_open(weights, &out->backend, &engine, &out->engine, error);
    if (status != OK) {
        close_backend(out);
        return status;
    }
    out->samples = calloc(sequences * MODEL_RUN_DRAFTS, sizeof *out->samples);
    REQUIRE(out->samples != NULL);
    out->builder = batch_builder_open(&(BuilderOptions){.sequences_max = sequences,
                                                        .tokens_max = tokens,
                                                        .window = config->window,
                                                        .patch_values = config->patch_values,
                                                        .pages = {pages, pages},
                                                        .seed = options->page_seed});
    return OK;
}

void model_run_close(ModelRun *run) {
    batch_builder_close(run->builder);
    engine_close(run->engine);
    close_backend(run);
    free(run->samples);
}

Status model_run_step(ModelRun *run, float *all_logits, StepResult *result, Error *error) {
    Batch *batch = batch_builder_batch(run->builder);
    batch->all_logits = all_logits;
    *result = (StepResult){.samples = run->samples};
    return engine_step(run->engine, batch, result, error);
}

// The k-th sequence of a step of model_run_decode.
static uint32_t decode_order(uint32_t sequences, uint32_t step, uint32_t k) {
    return step % 2 == 0 ? k : sequences - 1 - k;
}

// Begins step `step` of model_run_decode; false: no sequence has a token left to draw.
static bool begin_decode(ModelRun *run, uint32_t sequences, const uint32_t *counts, uint32_t step,
                         Status *status, Error *error) {
    bool any = false;
    for (uint32_t k = 0; k < sequences; k++) {
        uint32_t s = decode_order(sequences, step, k);
        if (step < counts[s]) {
            batch_builder_rows(run->builder, s, batch_builder_left(run->builder, s));
            any = true;
        }
    }
    *status = any ? engine_begin(run->engine, batch_builder_batch(run->builder), error) : OK;
    return any;
}

Status model_run_decode(ModelRun *run, uint32_t sequences, const uint32_t *counts, bool ahead,
                        StepSample *out, Error *error) {
    Status status;
    bool more = begin_decode(run, sequences, counts, 0, &status, error);
    for (uint32_t step = 0; more && status == OK; step++) {
        uint32_t sampled = 0;
        for (uint32_t k = 0; k < sequences; k++) {
            uint32_t s = decode_order(sequences, step, k);
            if (step < counts[s]) {
                batch_builder_push(run->builder, s, batch_token_drawn(sampled++));
            }
        }
        if (ahead) {
            more = begin_decode(run, sequences, counts, step + 1, &status, error);
            TRY(status);
        }
        StepResult result = {.samples = out};
        TRY(engine_end(run->engine, &result, error));
        REQUIRE(result.sample_count == sampled);
        for (uint32_t i = 0; i < sampled; i++, out++) {
            batch_builder_settle(run->builder, (uint32_t)out->tag, out->chosen.token);
        }
        if (!ahead) {
            more = begin_decode(run, sequences, counts, step + 1, &status, error);
        }
    }
    return status;
}

static Status run_alone(ModelRun *run, const BuilderPrompt *prompt, uint32_t rows, CaseOutput out,
                        Error *error) {
    uint32_t s = batch_builder_add(run->builder, prompt);
    StepResult result = {0};
    uint32_t done = 0;
    while (batch_builder_left(run->builder, s) > 0) {
        uint32_t want = rows == 0 ? prompt->token_count : rows;
        uint32_t count = batch_builder_chunk(run->builder, s, want);
        batch_builder_rows(run->builder, s, count);
        float *here = out.logits == NULL ? NULL : out.logits + (size_t)done * run->vocab_count;
        TRY(model_run_step(run, here, &result, error));
        done += count;
    }
    for (uint32_t i = 0; i < out.token_count; i++) {
        REQUIRE(result.sample_count == 1);
        out.tokens[i] = result.samples[0].chosen.token;
        if (i + 1 < out.token_count) {
            batch_builder_push(run->builder, s, out.tokens[i]);
            batch_builder_rows(run->builder, s, 1);
            TRY(model_run_step(run, NULL, &result, error));
        }
    }
    return OK;
}

Status model_run_case(const Weights *weights, const BuilderPrompt *prompt,
                      const RunOptions *options, CaseOutput out, Error *error) {
    ModelRun run;
    TRY(model_run_open(weights, options, 1, prompt->token_count + out.token_count, &run, error));
    Status status = run_alone(&run, prompt, options->rows, out, error);
    model_run_close(&run);
    return status;
}

double model_position_error(const float *ours, const float *theirs, size_t vocab) {
    double worst = 0.0, largest = 0.0;
    for (size_t i = 0; i < vocab; i++) {
        double difference = fabs((double)ours[i] - (double)theirs[i]);
        worst = difference > worst || isnan(difference) ? difference : worst;
        largest = fmax(largest, fabs((double)theirs[i]));
    }
    return worst / largest;
}
