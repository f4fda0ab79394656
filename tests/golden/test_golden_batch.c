// SPDX-License-Identifier: Apache-2.0
// Batch invariance of the whole model (docs/adr/0004): the logits of a request are the same bits
// alone, in a crowd, in one step or in many, whichever pages it was given. On every instruction set
// and at every weight level, as served (bf16 cache, the level's own activations).
#include "tests/support/model_case.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <stdlib.h>
#include <string.h>

enum { CROWD = 4, GREEDY = 12 };

static const CpuIsa isas[] = {CPU_ISA_REFERENCE, CPU_ISA_SCALAR, CPU_ISA_AVX2, CPU_ISA_AVX512};
static const WeightLevel levels[] = {LEVEL_F32, LEVEL_BF16, LEVEL_INT8, LEVEL_INT4};
enum { COMBINATIONS = 16 };

// The case's prompt among three others of other lengths, one of them the same prompt from its
// second page on, all prefilled and decoded in mixed steps of uneven chunks.
static Status run_crowd(const ModelCase *c, const RunOptions *options, float *logits,
                        int32_t *tokens, Error *error) {
    uint32_t count = c->prompt.token_count;
    ModelRun run;
    Status status = model_run_open(c->weights, options, CROWD, count + GREEDY, &run, error);
    if (status != OK) {
        return status;
    }
    uint32_t vocab = run.vocab_count;
    BuilderPrompt text = {.tokens = c->prompt.tokens, .sampling = batch_builder_greedy()};
    uint32_t text_count = c->prompt.image_count > 0 ? c->prompt.images[0].position_first : count;
    uint32_t crowd[CROWD];
    for (uint32_t s = 0; s < CROWD; s++) {
        text.token_count = text_count - s % 2;
        crowd[s] = batch_builder_add(run.builder, s == 2 ? &c->prompt : &text);
    }
    float *all = malloc((size_t)CROWD * (count + GREEDY) * vocab * sizeof *all);
    uint32_t done = 0, drawn = 0;
    while (status == OK && drawn < GREEDY) {
        uint32_t before = 0, mine = 0;
        bool added = false;
        for (uint32_t s = 0; s < CROWD; s++) {
            uint32_t left = batch_builder_left(run.builder, crowd[s]);
            if (left == 0) {
                continue;
            }
            uint32_t rows = batch_builder_chunk(run.builder, crowd[s], 3 + 4 * s);
            batch_builder_rows(run.builder, crowd[s], rows);
            before += s < 2 ? rows : 0;
            mine = s == 2 ? rows : mine;
            added = true;
        }
        cr_assert(added);
        StepResult result;
        status = model_run_step(&run, all, &result, error);
        if (status == OK && done < count) {
            memcpy(logits + (size_t)done * vocab, all + (size_t)before * vocab,
                   (size_t)mine * vocab * sizeof *logits);
            done += mine;
        }
        for (uint32_t i = 0; i < result.sample_count && status == OK; i++) {
            const StepSample *sample = &result.samples[i];
            if (sample->tag == crowd[2]) {
                tokens[drawn++] = sample->chosen.token;
            }
            if (batch_builder_length(run.builder, (uint32_t)sample->tag) < count + GREEDY) {
                batch_builder_push(run.builder, (uint32_t)sample->tag, sample->chosen.token);
            }
        }
    }
    free(all);
    model_run_close(&run);
    return status;
}

static void check(const char *name, CpuIsa isa, WeightLevel level) {
    Error error = {0};
    ModelCase c;
    cr_assert_eq(model_case_open(name, level, 32, &c, &error), OK, "%s", error.text);
    size_t bytes = c.logits.count * sizeof(float);
    float *alone = malloc(bytes), *other = malloc(bytes);
    int32_t alone_tokens[GREEDY], other_tokens[GREEDY];
    // The int8 cache with the level that will most often have it.
    EngineKv kv = level == LEVEL_INT4 ? ENGINE_KV_INT8_ALL : ENGINE_KV_BF16;
    RunOptions options = {.isa = isa, .page_seed = 1, .kv = kv};
    CaseOutput out = {alone, alone_tokens, GREEDY};
    cr_assert_eq(model_run_case(c.weights, &c.prompt, &options, out, &error), OK, "%s", error.text);

    options = (RunOptions){.isa = isa, .rows = 5, .page_seed = 2, .threads = 2, .kv = kv};
    out = (CaseOutput){other, other_tokens, GREEDY};
    cr_assert_eq(model_run_case(c.weights, &c.prompt, &options, out, &error), OK, "%s", error.text);
    cr_expect_arr_eq(alone, other, bytes, "%s, %s, %s: chunks change the logits", name,
                     cpu_isa_name(isa), weight_level_name(level));
    cr_expect_arr_eq(alone_tokens, other_tokens, sizeof alone_tokens);

    cr_assert_eq(run_crowd(&c, &options, other, other_tokens, &error), OK, "%s", error.text);
    cr_expect_arr_eq(alone, other, bytes, "%s, %s, %s: a crowd changes the logits", name,
                     cpu_isa_name(isa), weight_level_name(level));
    cr_expect_arr_eq(alone_tokens, other_tokens, sizeof alone_tokens);
    free(alone);
    free(other);
    model_case_close(&c);
}

ParameterizedTestParameters(golden_batch, same_bits_alone_and_in_a_crowd) {
    static int indices[COMBINATIONS];
    for (int i = 0; i < COMBINATIONS; i++) {
        indices[i] = i;
    }
    return cr_make_param_array(int, indices, COMBINATIONS);
}

ParameterizedTest(int *index, golden_batch, same_bits_alone_and_in_a_crowd) {
    CpuIsa isa = isas[*index / 4];
    if (!cpu_isa_available(isa)) {
        cr_skip_test("%s is not available here", cpu_isa_name(isa));
    }
    check("images", isa, levels[*index % 4]);
    check("long_text", isa, levels[*index % 4]);
}

// A step begun before the one before it has ended, with rows whose token that one draws, has the
// bits of one begun after it, also on a backend where it is no sooner done for that.
Test(golden_batch, a_step_begun_ahead_has_the_same_bits) {
    enum { SEQUENCES = 6, TOKENS = 6 }; // a sixth one, so that logits come in two pieces
    const uint32_t counts[SEQUENCES] = {6, 4, 6, 6, 2, 6};
    Error error = {0};
    ModelCase c;
    cr_assert_eq(model_case_open("text", LEVEL_BF16, 0, &c, &error), OK, "%s", error.text);
    StepSample samples[2][30];
    for (int ahead = 0; ahead < 2; ahead++) {
        ModelRun run;
        cr_assert_eq(model_run_open(c.weights, &(RunOptions){0}, SEQUENCES,
                                    c.prompt.token_count + TOKENS, &run, &error),
                     OK, "%s", error.text);
        cr_assert(!engine_overlaps(run.engine));
        for (uint32_t s = 0; s < SEQUENCES; s++) {
            BuilderPrompt prompt = c.prompt;
            prompt.token_count -= s;
            prompt.sampling.temperature = s % 2 == 0 ? 0.0f : 0.8f;
            prompt.sampling.repetition_penalty = 1.0f + 0.1f * (float)s;
            prompt.sampling.logprobs = 2;
            batch_builder_add(run.builder, &prompt);
        }
        cr_assert_eq(model_run_decode(&run, SEQUENCES, counts, ahead != 0, samples[ahead], &error),
                     OK, "%s", error.text);
        model_run_close(&run);
    }
    cr_assert_arr_eq(samples[0], samples[1], sizeof samples[0]);
    model_case_close(&c);
}

// Four rows of one step, three of them behind tokens that were only guessed, draw what one row a
// step draws: the guesses are right, so that each row has the beginning it would have had. With a
// penalty and a temperature, beside a sequence that draws one token.
Test(golden_batch, rows_behind_drafts_draw_what_one_step_each_would) {
    enum { DRAWN = 1 + MODEL_RUN_DRAFTS };
    Error error = {0};
    ModelCase c;
    ModelRun run;
    StepResult result;
    StepSample alone[DRAWN];
    cr_assert_eq(model_case_open("text", LEVEL_BF16, 0, &c, &error), OK, "%s", error.text);
    BuilderPrompt prompt = c.prompt;
    prompt.sampling = (Sampling){0.8f, 0, 0.95f, 0.0f, 1.2f, 7, 3};
    for (int drafts = 0; drafts < 2; drafts++) {
        cr_assert_eq(model_run_open(c.weights, &(RunOptions){0}, 2, prompt.token_count + DRAWN,
                                    &run, &error),
                     OK, "%s", error.text);
        uint32_t s = batch_builder_add(run.builder, &prompt);
        uint32_t other = batch_builder_add(run.builder, &prompt);
        for (uint32_t i = 0; i < DRAWN; i++) {
            uint32_t guessed = drafts && i > 0 ? MODEL_RUN_DRAFTS : 1;
            for (uint32_t g = 0; i > 0 && g < guessed; g++) {
                batch_builder_push(run.builder, s, alone[i - 1 + g].chosen.token);
            }
            batch_builder_rows(run.builder, s, batch_builder_left(run.builder, s));
            batch_builder_draft(run.builder, guessed);
            if (i == 1) {
                batch_builder_rows(run.builder, other, prompt.token_count);
            }
            cr_assert_eq(model_run_step(&run, NULL, &result, &error), OK, "%s", error.text);
            cr_assert_eq(result.sample_count, guessed + (i == 1));
            for (uint32_t g = 0; g < guessed && drafts; g++) {
                cr_assert_arr_eq(&result.samples[g], &alone[i + g], sizeof alone[0],
                                 "draw %u differs", i + g);
            }
            alone[i] = drafts ? alone[i] : result.samples[0];
            i += guessed - 1;
        }
        model_run_close(&run);
    }
    model_case_close(&c);
}
