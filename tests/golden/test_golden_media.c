// SPDX-License-Identifier: Apache-2.0
// A conversation of text, a picture and two sounds goes the whole way: through the scheduler, which
// cuts a sound where a step ends and never the picture, to the engine. Logits and tokens are those
// of transformers (model/make_model.py, the case "audio") to the same bar as in
// test_golden_model.c: in one step, in short steps, and with each step planned and begun before the
// one under way has ended; and again when half of it comes out of the prefix cache.
#include "scheduler/sched.h"
#include "tests/support/model_case.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <stdlib.h>
#include <string.h>

enum { MEDIA_MAX = BUILDER_IMAGES_MAX + BUILDER_CLIPS_MAX, SHORT_STEP = 7, STEPS_MAX = 200 };

static const CpuIsa isas[] = {CPU_ISA_REFERENCE, CPU_ISA_SCALAR, CPU_ISA_AVX2, CPU_ISA_AVX512};

typedef struct Way {
    ModelCase model_case;
    SequenceMedia media[MEDIA_MAX];
    uint32_t media_count;
    Scheduler *scheduler;
    Backend backend;
    Engine *engine;
    float *logits;         // [tokens][vocab] of the positions that were computed
    float *step_logits[2]; // of the open steps: [rows][vocab]
    const Batch *open[2];  // oldest first
    uint32_t open_count, begun;
    uint32_t pictures, sound_parts; // in all batches
    int32_t tokens[CASE_GREEDY];
    uint32_t token_count, cached_tokens;
} Way;

static int by_position(const void *a, const void *b) {
    const SequenceMedia *x = a, *y = b;
    return x->position_first < y->position_first ? -1 : 1;
}

static void take_media(Way *way) {
    const BuilderPrompt *prompt = &way->model_case.prompt;
    for (uint32_t i = 0; i < prompt->image_count; i++) {
        const BuilderImage *image = &prompt->images[i];
        way->media[way->media_count++] =
            (SequenceMedia){MEDIA_PICTURE, image->position_first, image->patch_count,
                            image->pixels, image->positions,      NULL,
                            {1, 1 + i}};
    }
    for (uint32_t i = 0; i < prompt->clip_count; i++) {
        const BuilderClip *clip = &prompt->clips[i];
        way->media[way->media_count++] =
            (SequenceMedia){MEDIA_SOUND, clip->position_first, clip->frame_count, NULL,
                            NULL,        clip->samples,        {2, 1 + i}};
    }
    qsort(way->media, way->media_count, sizeof *way->media, by_position);
}

static void way_open(Way *way, const char *name, CpuIsa isa, uint32_t rows_max) {
    Error error = {0};
    *way = (Way){0};
    cr_assert_eq(model_case_open(name, LEVEL_COUNT, 0, &way->model_case, &error), OK, "%s",
                 error.text);
    const Weights *weights = way->model_case.weights;
    const uint32_t tokens = way->model_case.prompt.token_count + CASE_GREEDY;
    const uint32_t pages = 2 * tokens / KV_PAGE_TOKENS + 2, vocab = weights->config.vocab_count;
    take_media(way);
    const SchedulerOptions options = {.rows_max = rows_max,
                                      .sequences_max = 1,
                                      .waiting_max = 1,
                                      .tokens_max = tokens,
                                      .media_max = MEDIA_MAX,
                                      .window = weights->config.window,
                                      .pages = {pages, pages}};
    cr_assert_eq(sched_open(&options, &way->scheduler, &error), OK, "%s", error.text);
    cr_assert_eq(cpu_open(&(CpuOptions){.isa = isa, .threads = 1}, &way->backend, &error), OK, "%s",
                 error.text);
    const EngineOptions engine = {.activation = ENGINE_ACTIVATION_F32,
                                  .kv = ENGINE_KV_F32,
                                  .rows_max = rows_max,
                                  .sequences_max = 1,
                                  .samples_max = 1,
                                  .logits_rows_max = rows_max,
                                  .pages = {pages, pages}};
    cr_assert_eq(engine_open(weights, &way->backend, &engine, &way->engine, &error), OK, "%s",
                 error.text);
    way->logits = calloc((size_t)tokens * vocab, sizeof *way->logits);
    for (int i = 0; i < 2; i++) {
        way->step_logits[i] = calloc((size_t)rows_max * vocab, sizeof *way->step_logits[i]);
    }
}

static void way_close(Way *way) {
    sched_close(way->scheduler);
    engine_close(way->engine);
    way->backend.close(way->backend.context);
    free(way->logits);
    free(way->step_logits[0]);
    free(way->step_logits[1]);
    model_case_close(&way->model_case);
}

static void add(Way *way) {
    const BuilderPrompt *prompt = &way->model_case.prompt;
    const SequenceRequest request = {.tokens = prompt->tokens,
                                     .token_count = prompt->token_count,
                                     .media = way->media,
                                     .media_count = way->media_count,
                                     .new_tokens_max = CASE_GREEDY,
                                     .sampling = prompt->sampling};
    uint64_t handle;
    Error error = {0};
    cr_assert_eq(sched_add(way->scheduler, &request, &handle, &error), OK, "%s", error.text);
}

static bool begin(Way *way) {
    const Batch *batch = sched_plan(way->scheduler);
    if (batch == NULL) {
        return false;
    }
    Error error = {0};
    Batch step = *batch;
    step.all_logits = way->step_logits[way->begun++ % 2];
    way->pictures += step.image_count;
    way->sound_parts += step.audio_count;
    cr_assert_eq(engine_begin(way->engine, &step, &error), OK, "%s", error.text);
    way->open[way->open_count++] = batch;
    return true;
}

static void keep_logits(Way *way, const Batch *batch) {
    size_t vocab = way->model_case.logits.shape[1];
    const float *from = way->step_logits[(way->begun - way->open_count) % 2];
    for (uint32_t row = 0; row < batch->row_count; row++) {
        memcpy(way->logits + batch->positions[row] * vocab, from + row * vocab,
               vocab * sizeof *from);
    }
}

static void end(Way *way) {
    StepSample sample;
    StepResult result = {.samples = &sample};
    SchedulerEvent events[2];
    Error error = {0};
    cr_assert_eq(engine_end(way->engine, &result, &error), OK, "%s", error.text);
    keep_logits(way, way->open[0]);
    size_t count = sched_commit(way->scheduler, &result, events, 2);
    way->open[0] = way->open[1];
    way->open_count--;
    sched_check_all(way->scheduler);
    for (size_t i = 0; i < count; i++) {
        way->tokens[way->token_count++] = events[i].chosen.token;
        way->cached_tokens = events[i].cached_tokens;
    }
}

static void run(Way *way, uint32_t plans_max) {
    way->token_count = 0;
    add(way);
    for (int step = 0; way->token_count < CASE_GREEDY; step++) {
        cr_assert_lt(step, STEPS_MAX);
        while (way->open_count < plans_max && begin(way)) {
        }
        end(way);
    }
}

static double error_at(const Way *way, uint32_t position) {
    size_t vocab = way->model_case.logits.shape[1];
    const float *theirs = (const float *)way->model_case.logits.data + position * vocab;
    return model_position_error(way->logits + position * vocab, theirs, vocab);
}

static void expect_golden(const Way *way, const char *how) {
    const ModelCase *c = &way->model_case;
    for (uint32_t t = 0; t < c->prompt.token_count; t++) {
        double error = error_at(way, t);
        cr_expect(error <= c->bar, "%s: position %u: relative error %.2e, bar %.2e", how, t, error,
                  c->bar);
    }
    const int32_t *theirs = c->greedy.data;
    for (int i = 0; i < CASE_GREEDY; i++) {
        cr_expect_eq(way->tokens[i], theirs[i], "%s: token %d is %d, not %d", how, i,
                     way->tokens[i], theirs[i]);
    }
}

ParameterizedTestParameters(golden_media, a_scheduled_conversation_equals_transformers) {
    return cr_make_param_array(const CpuIsa, isas, sizeof isas / sizeof isas[0]);
}

ParameterizedTest(const CpuIsa *isa, golden_media, a_scheduled_conversation_equals_transformers) {
    if (!cpu_isa_available(*isa)) {
        cr_skip_test("%s is not available here", cpu_isa_name(*isa));
    }
    Way way;
    way_open(&way, "audio", *isa, 64);
    cr_assert_eq(way.media_count, 3);
    run(&way, 1);
    expect_golden(&way, "in one step");
    cr_expect_eq(way.pictures, 1);
    cr_expect_eq(way.sound_parts, 2);
    way_close(&way);
    for (uint32_t plans = 1; plans <= 2; plans++) {
        way_open(&way, "audio", *isa, SHORT_STEP);
        run(&way, plans);
        expect_golden(&way, plans == 1 ? "in short steps" : "planned ahead");
        cr_expect_eq(way.pictures, 1);
        cr_expect_gt(way.sound_parts, 2, "no sound was cut");
        run(&way, plans);
        expect_golden(&way, "from the cache");
        cr_expect_gt(way.cached_tokens, KV_PAGE_TOKENS);
        way_close(&way);
    }
}
