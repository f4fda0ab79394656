// SPDX-License-Identifier: Apache-2.0
// The engine's life on a backend that computes nothing: which ops a step is, what is refused at
// open, who owns what, and how a failure sticks. The numbers are tests/golden's business.
#include "fake_backend.h"
#include "model/engine.h"
#include "tests/support/batch_builder.h"

#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

static const EngineOptions small = {
    .rows_max = 64, .sequences_max = 4, .logits_rows_max = 2, .pages = {16, 16}};

typedef struct Setup {
    FakeBackend fake;
    Weights *weights;
    Engine *engine;
    BatchBuilder *builder;
    StepSample samples[4];
    StepResult result;
    Error error;
} Setup;

static Setup *setup_on(bool scans) {
    static const GenerationDefaults suppressing = {.suppress_count = 4,
                                                   .suppress_ids = {3, 64, -1, 512}};
    Setup *s = calloc(1, sizeof *s);
    fake_backend_open(&s->fake);
    s->fake.device.scans = scans;
    s->weights = fake_weights();
    s->weights->config.generation = suppressing;
    cr_assert_eq(engine_open(s->weights, &s->fake.backend, &small, &s->engine, &s->error), OK, "%s",
                 s->error.text);
    s->builder = batch_builder_open(&(BuilderOptions){.sequences_max = 4,
                                                      .tokens_max = 64,
                                                      .window = 64,
                                                      .patch_values = 6912,
                                                      .pages = {16, 16}});
    return s;
}

static Setup *setup(void) {
    return setup_on(false);
}

static void teardown(Setup *s) {
    batch_builder_close(s->builder);
    engine_close(s->engine);
    weights_close(s->weights);
    free(s);
}

static Status step(Setup *s) {
    s->result = (StepResult){.samples = s->samples};
    return engine_step(s->engine, batch_builder_batch(s->builder), &s->result, &s->error);
}

static const int32_t tokens[40];

static uint32_t add(Setup *s, uint32_t count) {
    return batch_builder_add(s->builder, &(BuilderPrompt){.tokens = tokens,
                                                          .token_count = count,
                                                          .sampling = batch_builder_greedy()});
}

Test(engine, a_step_is_the_model_card) {
    Setup *s = setup();
    batch_builder_rows(s->builder, add(s, 10), 10);
    cr_assert_eq(step(s), OK);
    FakeOp layer[] = {FAKE_linear,   FAKE_rope_append,   FAKE_attention,
                      FAKE_linear,   FAKE_residual_norm, FAKE_linear,
                      FAKE_activate, FAKE_linear,        FAKE_residual_norm};
    FakeOp expected[FAKE_CALLS_MAX] = {FAKE_embed, FAKE_rope_table, FAKE_rope_table, FAKE_norm};
    uint32_t count = 4;
    for (int l = 0; l < 3; l++) {
        memcpy(expected + count, layer, sizeof layer);
        count += sizeof layer / sizeof layer[0];
    }
    FakeOp head[] = {FAKE_norm, FAKE_linear, FAKE_sample};
    memcpy(expected + count, head, sizeof head);
    count += sizeof head / sizeof head[0];
    cr_assert_eq(s->fake.call_count, count);
    cr_assert_arr_eq(s->fake.calls, expected, count * sizeof(FakeOp));
    teardown(s);
}

Test(engine, frames_of_audio_are_a_norm_and_a_product) {
    Setup *s = setup();
    float *samples = calloc(3 * 640, sizeof *samples);
    BuilderPrompt prompt = {.tokens = tokens,
                            .token_count = 10,
                            .clips = {{.position_first = 4, .frame_count = 3, .samples = samples}},
                            .clip_count = 1,
                            .sampling = batch_builder_greedy()};
    uint32_t sequence = batch_builder_add(s->builder, &prompt);
    batch_builder_rows(s->builder, sequence, 6); // two of the three frames
    cr_assert_eq(step(s), OK);
    FakeOp expected[] = {FAKE_embed, FAKE_norm, FAKE_linear, FAKE_rope_table};
    cr_assert_arr_eq(s->fake.calls, expected, sizeof expected);
    cr_assert_eq(s->fake.linear_rows[0], 2);
    batch_builder_rows(s->builder, sequence, 4);
    uint32_t before = s->fake.linear_count;
    cr_assert_eq(step(s), OK);
    cr_assert_eq(s->fake.linear_rows[before], 1);
    free(samples);
    teardown(s);
}

Test(engine, the_head_runs_for_sampled_rows_only) {
    Setup *s = setup();
    uint32_t unfinished = add(s, 20);
    batch_builder_rows(s->builder, unfinished, 5);
    batch_builder_rows(s->builder, add(s, 7), 7);
    cr_assert_eq(step(s), OK);
    cr_assert_eq(s->result.sample_count, 1);
    cr_assert_eq(s->samples[0].tag, 1);
    cr_assert_eq(s->fake.linear_rows[0], 12);
    cr_assert_eq(s->fake.linear_rows[s->fake.linear_count - 1], 1);

    batch_builder_rows(s->builder, unfinished, 5);
    cr_assert_eq(step(s), OK);
    cr_assert_eq(s->result.sample_count, 0);
    cr_assert_eq(fake_backend_count(&s->fake, FAKE_sample), 1);
    teardown(s);
}

Test(engine, more_samples_than_logits_rows_come_in_pieces) {
    Setup *s = setup();
    for (int i = 0; i < 3; i++) {
        batch_builder_rows(s->builder, add(s, 3), 3);
    }
    cr_assert_eq(step(s), OK);
    cr_assert_eq(s->result.sample_count, 3);
    cr_assert_eq(fake_backend_count(&s->fake, FAKE_sample), 2);
    for (uint64_t i = 0; i < 3; i++) {
        cr_assert_eq(s->samples[i].tag, i);
    }
    teardown(s);
}

Test(engine, all_logits_cover_every_row) {
    Setup *s = setup();
    batch_builder_rows(s->builder, add(s, 5), 5);
    Batch *batch = batch_builder_batch(s->builder);
    batch->all_logits = calloc(5 * 512, sizeof(float));
    s->result = (StepResult){.samples = s->samples};
    cr_assert_eq(engine_step(s->engine, batch, &s->result, &s->error), OK);
    // The head: 2 + 2 + 1 rows, then the one to sample.
    cr_assert_eq(fake_backend_count(&s->fake, FAKE_linear), 3 * 4 + 3 + 1);
    free(batch->all_logits);
    teardown(s);
}

// Two vocabulary ids are suppressed, two are none. Raw logits of every row are not scanned.
Test(engine, a_device_that_scans_is_given_what_is_suppressed_and_every_temperature) {
    Setup *s = setup_on(true);
    const float temperatures[] = {0.5f, 0.0f, 4.0f};
    for (int i = 0; i < 3; i++) {
        Sampling sampling = batch_builder_greedy();
        sampling.temperature = temperatures[i];
        batch_builder_rows(s->builder,
                           batch_builder_add(s->builder, &(BuilderPrompt){.tokens = tokens,
                                                                          .token_count = 3,
                                                                          .sampling = sampling}),
                           3);
    }
    Batch *batch = batch_builder_batch(s->builder);
    batch->all_logits = calloc(9 * 512, sizeof(float));
    s->result = (StepResult){.samples = s->samples};
    cr_assert_eq(engine_step(s->engine, batch, &s->result, &s->error), OK);
    uint32_t decoder = 3 * 4, raw = 5; // products; then two rows at a time, and the two pieces
    cr_assert_eq(s->fake.linear_count, decoder + raw + 2);
    for (uint32_t i = 0; i < decoder + raw; i++) {
        cr_assert_null(s->fake.linear_scans[i].chunks);
    }
    const LogitScan *scans = s->fake.linear_scans + decoder + raw;
    for (uint32_t i = 0; i < 512 / 32; i++) {
        cr_assert_eq(scans[0].suppressed[i], i == 0 ? 1u << 3 : i == 2 ? 1u : 0u);
    }
    cr_assert_eq(scans[0].inverse_temperature[0], 2.0f);
    cr_assert_eq(scans[0].inverse_temperature[1], 1.0f);
    cr_assert_eq(scans[1].inverse_temperature[0], 0.25f);
    cr_assert_eq(s->fake.sample_scan.inverse_temperature, scans[1].inverse_temperature);
    cr_assert_eq(s->fake.sample_scan.chunks, scans[1].chunks);
    free(batch->all_logits);
    teardown(s);
}

Test(engine, pages_are_copied_before_anything_else) {
    Setup *s = setup();
    batch_builder_rows(s->builder, add(s, 5), 5);
    Batch *batch = batch_builder_batch(s->builder);
    const uint32_t from[] = {3}, to[] = {4};
    batch->copy_count[PAGE_FULL] = 1;
    batch->copy_from[PAGE_FULL] = from;
    batch->copy_to[PAGE_FULL] = to;
    s->result = (StepResult){.samples = s->samples};
    cr_assert_eq(engine_step(s->engine, batch, &s->result, &s->error), OK);
    cr_assert_eq(s->fake.calls[0], FAKE_copy_pages);
    cr_assert_eq(fake_backend_count(&s->fake, FAKE_copy_pages), 1);
    teardown(s);
}

Test(engine, a_step_takes_no_memory_and_uploads_once) {
    Setup *s = setup();
    uint32_t taken = s->fake.taken;
    batch_builder_rows(s->builder, add(s, 5), 5);
    cr_assert_eq(step(s), OK);
    cr_assert_eq(s->fake.taken, taken);
    cr_assert_eq(s->fake.upload_count, 1);
    teardown(s);
}

Test(engine, close_gives_back_what_open_took) {
    Setup *s = setup();
    engine_close(s->engine);
    s->engine = NULL;
    cr_assert_gt(s->fake.taken, 0);
    cr_assert_eq(s->fake.given, s->fake.taken);
    teardown(s);
}

Test(engine, the_first_failure_stays) {
    Setup *s = setup();
    s->fake.fail_at = 7;
    s->fake.fail_with = E_IO;
    batch_builder_rows(s->builder, add(s, 5), 5);
    cr_assert_eq(step(s), E_IO);
    uint32_t calls = s->fake.call_count;
    s->fake.fail_at = UINT32_MAX;
    batch_builder_rows(s->builder, add(s, 5), 5);
    cr_assert_eq(step(s), E_IO);
    cr_assert_eq(s->fake.call_count, calls, "a failed engine must not touch the device");
    cr_assert_eq(s->result.sample_count, 0);
    teardown(s);
}

// The builder's one Batch is filled anew while the step before it is under way.
Test(engine, steps_end_in_the_order_of_their_beginning) {
    Setup *s = setup();
    s->result = (StepResult){.samples = s->samples};
    for (uint32_t i = 0; i < 4; i++) {
        batch_builder_rows(s->builder, add(s, 5), 5);
        cr_assert_eq(engine_begin(s->engine, batch_builder_batch(s->builder), &s->error), OK);
        if (i > 0) {
            cr_assert_eq(engine_end(s->engine, &s->result, &s->error), OK);
            cr_assert_eq(s->result.sample_count, 1);
            cr_assert_eq(s->samples[0].tag, i - 1);
        }
    }
    teardown(s);
}

Test(engine, a_row_with_nothing_left_to_draw_is_found_at_the_end) {
    Setup *s = setup();
    s->fake.nothing_left = true;
    s->result = (StepResult){.samples = s->samples};
    batch_builder_rows(s->builder, add(s, 5), 5);
    cr_assert_eq(engine_begin(s->engine, batch_builder_batch(s->builder), &s->error), OK);
    cr_assert_eq(engine_end(s->engine, &s->result, &s->error), E_INTERNAL);
    cr_assert_not_null(strstr(s->error.text, "a step of the engine failed"));
    cr_assert_eq(s->result.sample_count, 0);
    teardown(s);
}

Test(engine, a_failure_is_told_to_every_step_that_was_begun) {
    Setup *s = setup();
    batch_builder_rows(s->builder, add(s, 5), 5);
    Batch *batch = batch_builder_batch(s->builder);
    s->result = (StepResult){.samples = s->samples};
    cr_assert_eq(engine_begin(s->engine, batch, &s->error), OK);
    cr_assert_eq(engine_begin(s->engine, batch, &s->error), OK);
    s->fake.wait_fails = true;
    for (int i = 0; i < 2; i++) {
        s->error = (Error){0};
        cr_assert_eq(engine_end(s->engine, &s->result, &s->error), E_INTERNAL);
        cr_assert_not_null(strstr(s->error.text, "fell over"));
        cr_assert_eq(s->result.sample_count, 0);
    }
    cr_assert_eq(engine_begin(s->engine, batch, &s->error), E_INTERNAL);
    teardown(s);
}

Test(engine, a_step_that_cannot_begin_fails_the_one_under_way) {
    Setup *s = setup();
    batch_builder_rows(s->builder, add(s, 5), 5);
    Batch *batch = batch_builder_batch(s->builder);
    s->result = (StepResult){.samples = s->samples};
    cr_assert_eq(engine_begin(s->engine, batch, &s->error), OK);
    s->fake.fail_at = s->fake.call_count + 3;
    s->fake.fail_with = E_DEVICE;
    cr_assert_eq(engine_begin(s->engine, batch, &s->error), E_DEVICE);
    cr_assert_eq(engine_end(s->engine, &s->result, &s->error), E_DEVICE);
    cr_assert_eq(s->result.sample_count, 0);
    cr_assert_eq(engine_begin(s->engine, batch, &s->error), E_DEVICE);
    teardown(s);
}

Test(engine, may_be_closed_with_steps_under_way) {
    Setup *s = setup();
    batch_builder_rows(s->builder, add(s, 5), 5);
    Batch *batch = batch_builder_batch(s->builder);
    cr_assert_eq(engine_begin(s->engine, batch, &s->error), OK);
    cr_assert_eq(engine_begin(s->engine, batch, &s->error), OK);
    engine_close(s->engine);
    s->engine = NULL;
    cr_assert_eq(s->fake.waits, 1, "what the device still reads is not given back before");
    cr_assert_eq(s->fake.given, s->fake.taken);
    teardown(s);
}

Test(engine, a_failed_wait_fails_the_step) {
    Setup *s = setup();
    s->fake.wait_fails = true;
    batch_builder_rows(s->builder, add(s, 5), 5);
    cr_assert_eq(step(s), E_INTERNAL);
    cr_assert_not_null(strstr(s->error.text, "fell over"));
    teardown(s);
}

Test(engine, memory_is_refused_with_the_sum_and_what_to_lower) {
    FakeBackend fake;
    fake_backend_open(&fake);
    Weights *weights = fake_weights();
    MemoryPlan plan = engine_plan(weights, &fake.backend, &small);
    fake.free_bytes = plan.kv[PAGE_SLIDING] + plan.kv[PAGE_FULL] + plan.workspace - 1;
    Engine *engine;
    Error error;
    cr_assert_eq(engine_open(weights, &fake.backend, &small, &engine, &error), E_MEMORY);
    cr_assert_null(engine);
    cr_assert_not_null(strstr(error.text, "lower the pages"), "%s", error.text);
    cr_assert_eq(fake.taken, 0);
    fake.free_bytes++;
    cr_assert_eq(engine_open(weights, &fake.backend, &small, &engine, &error), OK);
    engine_close(engine);
    weights_close(weights);
}

static Status refuse_matrix(void *context, const Matrix *host, Matrix *out) {
    (void)context;
    (void)host;
    (void)out;
    return E_DEVICE;
}

Test(engine, weights_that_are_refused_are_refused_in_the_devices_words) {
    Weights *weights = fake_weights();
    for (int says = 0; says < 2; says++) {
        FakeBackend fake;
        fake_backend_open(&fake);
        fake.device.place_matrix = refuse_matrix;
        fake.wait_fails = says;
        Engine *engine;
        Error error;
        cr_assert_eq(engine_open(weights, &fake.backend, &small, &engine, &error), E_DEVICE);
        cr_assert_not_null(strstr(error.text, "refused the weights"), "%s", error.text);
        cr_assert_eq(strstr(error.text, "the fake device fell over") != NULL, says == 1, "%s",
                     error.text);
        cr_assert_eq(fake.taken, fake.given);
    }
    weights_close(weights);
}

Test(engine, running_out_of_memory_half_way_gives_the_rest_back) {
    Weights *weights = fake_weights();
    for (uint32_t limit = 0; limit < 5; limit++) { // three layers, the workspace, the host
        FakeBackend fake;
        fake_backend_open(&fake);
        fake.take_limit = limit;
        Engine *engine;
        Error error;
        cr_assert_eq(engine_open(weights, &fake.backend, &small, &engine, &error), E_MEMORY);
        cr_assert_eq(fake.given, limit);
    }
    weights_close(weights);
}

Test(engine, the_plan_adds_up) {
    FakeBackend fake;
    fake_backend_open(&fake);
    Weights *weights = fake_weights();
    MemoryPlan plan = engine_plan(weights, &fake.backend, &small);
    // 2 sliding layers of 2 heads x 32 and 1 full of 1 head x 64; K and V, 16 tokens, bf16.
    cr_assert_eq(plan.page_bytes[PAGE_SLIDING], 2u * 2 * 16 * 2 * 32 * 2);
    cr_assert_eq(plan.page_bytes[PAGE_FULL], 2u * 16 * 64 * 2);
    cr_assert_eq(plan.kv[PAGE_SLIDING], 16 * plan.page_bytes[PAGE_SLIDING]);
    cr_assert_eq(plan.total,
                 plan.weights + plan.kv[PAGE_SLIDING] + plan.kv[PAGE_FULL] + plan.workspace);
    EngineOptions wide = small;
    wide.kv = ENGINE_KV_F32;
    cr_assert_eq(engine_plan(weights, &fake.backend, &wide).kv[PAGE_FULL], 2 * plan.kv[PAGE_FULL]);
    weights_close(weights);
}

// Pixels of as many patches as a step has rows, and results of all its sequences, of two steps; the
// arrays of a step are 7 words a row, and 16 pages a sequence may have.
Test(engine, the_host_memory_taken_is_the_memory_planned) {
    FakeBackend fake;
    fake_backend_open(&fake);
    Weights *weights = fake_weights();
    EngineOptions options = small;
    options.rows_max = 1000;
    MemoryPlan plan = engine_plan(weights, &fake.backend, &options);
    Engine *engine;
    cr_assert_eq(engine_open(weights, &fake.backend, &options, &engine, NULL), OK);
    cr_assert_eq(fake.host_bytes, plan.host);
    uint64_t known = 2 * (1000 * (weights->config.patch_values + 7 * sizeof(uint32_t)) +
                          options.sequences_max * sizeof(StepSample));
    cr_assert(plan.host >= known && plan.host <= known + known / 100, "%llu, of them %llu known",
              (unsigned long long)plan.host, (unsigned long long)known);
    engine_close(engine);
    weights_close(weights);
}

Test(engine, options_that_cannot_work_are_refused) {
    FakeBackend fake;
    fake_backend_open(&fake);
    Weights *weights = fake_weights();
    Engine *engine;
    Error error;
    EngineOptions wrong = small;
    wrong.activation = ENGINE_ACTIVATION_INT8;
    cr_assert_eq(engine_open(weights, &fake.backend, &wrong, &engine, &error), E_ARGUMENT);
    cr_assert_not_null(strstr(error.text, "int8"), "%s", error.text);
    wrong = small;
    wrong.rows_max = 0;
    cr_assert_eq(engine_open(weights, &fake.backend, &wrong, &engine, &error), E_ARGUMENT);
    wrong = small;
    wrong.pages[PAGE_FULL] = 0;
    cr_assert_eq(engine_open(weights, &fake.backend, &wrong, &engine, &error), E_ARGUMENT);
    cr_assert_not_null(strstr(error.text, "full"), "%s", error.text);
    weights_close(weights);
}
