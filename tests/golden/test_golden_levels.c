// SPDX-License-Identifier: Apache-2.0
// What the narrower levels cost: the mean Kullback-Leibler divergence per position, in nats, of the
// next-token distribution from that of our own f32 run of the same checkpoint (which equals
// transformers, test_golden_model.c).
//
// Rounding of weights and rounding in arithmetic are measured apart: "int8 weights" and "int4
// weights" compare with the weights as stored, both in f32 arithmetic; W8A16 and so on compare with
// the same quantized weights in f32 arithmetic.
//
// Random weights are the hardest case there is: nothing was trained to survive rounding, logits
// have a standard deviation of 4, and their four bits cost over a nat (two unrelated models of that
// kind are about 16 apart). So the bounds are about twice what was measured when they were set;
// they guard against mistakes, a wrong group, a lost offset, a neighbour's scale, which cost nats.
// The trained demo model has tight bounds below.
//
// The instruction set is the best there is, or TESSERA_ISA's (scalar, avx2, avx512): sums differ in
// their last bits between them, and with them what rounds to which code.
#include "base/file.h"
#include "host/media/media.h"
#include "tests/support/model_case.h"

#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct Level {
    const char *name;
    WeightLevel weights; // LEVEL_COUNT: as stored
    EngineActivation activation;
    EngineKv kv;
    WeightLevel against; // the same weights in f32 arithmetic, or those stored
    double random_bound, demo_bound;
} Level;

static const Level levels[] = {
    {"bf16 cache", LEVEL_COUNT, ENGINE_ACTIVATION_F32, ENGINE_KV_BF16, LEVEL_COUNT, 0.0022, 1e-4},
    {"int8 cache", LEVEL_COUNT, ENGINE_ACTIVATION_F32, ENGINE_KV_INT8, LEVEL_COUNT, 0.0125, 1e-4},
    {"int8-all cache", LEVEL_COUNT, ENGINE_ACTIVATION_F32, ENGINE_KV_INT8_ALL, LEVEL_COUNT, 0.013,
     1e-4},
    {"bf16", LEVEL_BF16, ENGINE_ACTIVATION_BF16, ENGINE_KV_BF16, LEVEL_COUNT, 0.02, 1e-4},
    {"int8 weights", LEVEL_INT8, ENGINE_ACTIVATION_F32, ENGINE_KV_F32, LEVEL_COUNT, 0.045, 3e-4},
    {"W8A16", LEVEL_INT8, ENGINE_ACTIVATION_BF16, ENGINE_KV_F32, LEVEL_INT8, 0.006, 1e-4},
    {"W8A8x2", LEVEL_INT8, ENGINE_ACTIVATION_INT8X2, ENGINE_KV_F32, LEVEL_INT8, 0.001, 1e-4},
    {"W8A8 mixed", LEVEL_INT8, ENGINE_ACTIVATION_MIXED, ENGINE_KV_F32, LEVEL_INT8, 0.0235, 1e-3},
    {"W8A8", LEVEL_INT8, ENGINE_ACTIVATION_INT8, ENGINE_KV_F32, LEVEL_INT8, 0.065, 1e-3},
    {"int4 weights", LEVEL_INT4, ENGINE_ACTIVATION_F32, ENGINE_KV_F32, LEVEL_COUNT, 3.0, 0.02},
    {"W4A16", LEVEL_INT4, ENGINE_ACTIVATION_BF16, ENGINE_KV_F32, LEVEL_INT4, 0.006, 1e-4},
    {"W4A8x2", LEVEL_INT4, ENGINE_ACTIVATION_INT8X2, ENGINE_KV_F32, LEVEL_INT4, 0.001, 1e-4},
    {"W4A8 mixed", LEVEL_INT4, ENGINE_ACTIVATION_MIXED, ENGINE_KV_F32, LEVEL_INT4, 0.027, 1e-3},
    {"W4A8", LEVEL_INT4, ENGINE_ACTIVATION_INT8, ENGINE_KV_F32, LEVEL_INT4, 0.055, 1e-3},
};
enum { LEVELS = sizeof levels / sizeof levels[0] };

// KL(p || q) of two rows of logits.
static double divergence(const float *p, const float *q, size_t vocab) {
    double top_p = -INFINITY, top_q = -INFINITY, sum_p = 0.0, sum_q = 0.0, total = 0.0;
    for (size_t i = 0; i < vocab; i++) {
        top_p = fmax(top_p, (double)p[i]);
        top_q = fmax(top_q, (double)q[i]);
    }
    for (size_t i = 0; i < vocab; i++) {
        sum_p += exp((double)p[i] - top_p);
        sum_q += exp((double)q[i] - top_q);
    }
    for (size_t i = 0; i < vocab; i++) {
        double log_p = (double)p[i] - top_p - log(sum_p);
        double log_q = (double)q[i] - top_q - log(sum_q);
        total += exp(log_p) * (log_p - log_q);
    }
    return total;
}

static CpuIsa isa(void) {
    const char *name = getenv("TESSERA_ISA");
    CpuIsa isa = CPU_ISA_AUTO;
    Error error = {0};
    cr_assert(name == NULL || cpu_isa_parse(name, &isa, &error) == OK, "%s", error.text);
    return isa;
}

// Logits of every position of a prompt at a level.
static float *logits_of(const Weights *weights, const BuilderPrompt *prompt,
                        EngineActivation activation, EngineKv kv) {
    Error error = {0};
    RunOptions options = {.isa = isa(), .threads = 2, .activation = activation, .kv = kv};
    size_t count = (size_t)prompt->token_count * weights->config.vocab_count;
    float *logits = malloc(count * sizeof *logits);
    Status status =
        model_run_case(weights, prompt, &options, (CaseOutput){.logits = logits}, &error);
    cr_assert_eq(status, OK, "%s", error.text);
    return logits;
}

// Sum over the positions from `first` on.
static double divergence_sum(const Weights *truth, const Weights *weights,
                             const BuilderPrompt *prompt, const Level *level, uint32_t first) {
    size_t vocab = weights->config.vocab_count;
    float *theirs = logits_of(truth, prompt, ENGINE_ACTIVATION_F32, ENGINE_KV_F32);
    float *ours = logits_of(weights, prompt, level->activation, level->kv);
    double sum = 0.0;
    for (uint32_t t = first; t < prompt->token_count; t++) {
        sum += divergence(theirs + t * vocab, ours + t * vocab, vocab);
    }
    free(theirs);
    free(ours);
    return sum;
}

static double random_divergence(const char *name, const Level *level) {
    Error error = {0};
    ModelCase truth, c;
    cr_assert_eq(model_case_open(name, level->against, 32, &truth, &error), OK, "%s", error.text);
    cr_assert_eq(model_case_open(name, level->weights, 32, &c, &error), OK, "%s", error.text);
    double sum = divergence_sum(truth.weights, c.weights, &c.prompt, level, 0);
    double mean = sum / c.prompt.token_count;
    model_case_close(&truth);
    model_case_close(&c);
    return mean;
}

Test(golden_levels, random_models_stay_close_to_f32) {
    for (int l = 0; l < LEVELS; l++) {
        double all = 0.0;
        for (int n = 0; n < CASE_NAMES; n++) {
            double mean = random_divergence(model_case_names[n], &levels[l]);
            cr_log_info("%-12s %-12s mean KL %.6f", levels[l].name, model_case_names[n], mean);
            all += mean / CASE_NAMES;
        }
        cr_log_info("%-12s mean KL %.6f over all cases", levels[l].name, all);
        cr_expect(all <= levels[l].random_bound, "%s: mean KL %.6f", levels[l].name, all);
    }
}

enum { DEMO_THOUGHT_END = 14 }; // <channel|> of its tokenizer

// Captioning requests to the demo model: the picture, the question, and the true caption, whose
// tokens are the positions that count.
typedef struct Requests {
    Npy tokens; // demo/make_demo.py
    uint32_t count;
    BuilderPrompt prompts[16];
    uint32_t answer_first[16];
    Patches patches[16];
} Requests;

static void read_requests(const Gemma4Config *config, Requests *out) {
    Error error = {0};
    MediaScratch scratch = {0};
    MediaLimits limits = media_limits_default();
    *out = (Requests){0};
    cr_assert_eq(npy_read(TEST_ROOT "/tests/golden/demo/tokens.npy", "i4", &out->tokens, &error),
                 OK, "%s", error.text);
    out->count = (uint32_t)out->tokens.shape[0];
    for (uint32_t i = 0; i < out->count; i++) {
        const int32_t *tokens = (const int32_t *)out->tokens.data + i * out->tokens.shape[1];
        char path[4096];
        snprintf(path, sizeof path, "%s/examples/scenes/%03u.webp", TEST_ROOT, i);
        Buffer file = {0};
        cr_assert_eq(file_read(path, 1 << 24, &file, &error), OK, "%s", error.text);
        Status status = media_load((Bytes){file.data, file.length}, &limits, config->image_budget,
                                   &scratch, &out->patches[i], &error);
        cr_assert_eq(status, OK, "%s", error.text);
        buffer_free(&file);
        BuilderPrompt *prompt = &out->prompts[i];
        *prompt =
            (BuilderPrompt){.tokens = tokens, .image_count = 1, .sampling = batch_builder_greedy()};
        BuilderImage *image = &prompt->images[0];
        uint32_t count = 0;
        for (; count < out->tokens.shape[1] && tokens[count] >= 0; count++) {
            if (tokens[count] == config->image_id) {
                image->position_first = image->patch_count++ == 0 ? count : image->position_first;
            }
            // The answer comes after the empty thought that the template closes.
            out->answer_first[i] = tokens[count] == DEMO_THOUGHT_END ? count : out->answer_first[i];
        }
        cr_assert_gt(out->answer_first[i], 0);
        cr_assert_eq(image->patch_count, out->patches[i].count);
        prompt->token_count = count;
        image->pixels = out->patches[i].pixels;
        image->positions = out->patches[i].positions;
    }
    media_scratch_free(&scratch);
}

static Weights *demo_weights(WeightLevel level) {
    Error error = {0};
    Weights *weights;
    WeightsOptions options = {.level = level};
    cr_assert_eq(weights_open(TEST_ROOT "/examples/demo-model", &options, &weights, &error), OK,
                 "%s", error.text);
    return weights;
}

Test(golden_levels, the_demo_model_stays_closer) {
    for (int l = 0; l < LEVELS; l++) {
        Weights *truth = demo_weights(levels[l].against);
        Weights *weights = demo_weights(levels[l].weights);
        Requests requests;
        read_requests(&weights->config, &requests);
        double sum = 0.0;
        uint32_t positions = 0;
        for (uint32_t i = 0; i < requests.count; i++) {
            const BuilderPrompt *prompt = &requests.prompts[i];
            sum += divergence_sum(truth, weights, prompt, &levels[l], requests.answer_first[i]);
            positions += prompt->token_count - requests.answer_first[i];
            patches_free(&requests.patches[i]);
        }
        double mean = sum / positions;
        cr_log_info("%-12s demo model, mean KL %.7f of %u positions", levels[l].name, mean,
                    positions);
        cr_expect(mean <= levels[l].demo_bound, "%s: mean KL %.6f", levels[l].name, mean);
        npy_free(&requests.tokens);
        weights_close(truth);
        weights_close(weights);
    }
}
