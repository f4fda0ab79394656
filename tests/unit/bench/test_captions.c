// SPDX-License-Identifier: Apache-2.0
// Captioning end to end (bench/captions.h) on the CPU and a tiny model: what a wave must add up to,
// and how many requests fit a memory.
#include "bench/captions.h"
#include "cpu/cpu.h"

#include <criterion/criterion.h>
#include <math.h>

static const CaptionsOptions options = {.activation = ENGINE_ACTIVATION_INT8,
                                        .kv = ENGINE_KV_BF16,
                                        .prompt = 40,
                                        .patches = 20,
                                        .output = 6,
                                        .step_rows = 64};

static Weights *weights;
static Backend cpu;

static void open_all(void) {
    Error error = {0};
    WeightsOptions wanted = {.level = LEVEL_INT4, .group = 32, .threads = 1};
    cr_assert_eq(weights_open("synthetic:tiny", &wanted, &weights, &error), OK, "%s", error.text);
    cr_assert_eq(cpu_open(&(CpuOptions){.threads = 1}, &cpu, &error), OK, "%s", error.text);
}

static void close_all(void) {
    cpu.close(cpu.context);
    weights_close(weights);
}

TestSuite(captions, .init = open_all, .fini = close_all);

Test(captions, a_wave_answers_every_request_and_its_rates_add_up) {
    enum { BATCH = 5 };
    Captions captions;
    CaptionsWave wave;
    Error error = {0};
    cr_assert_eq(captions_open(weights, &cpu, &options, BATCH, &captions, &error), OK, "%s",
                 error.text);
    for (uint32_t batch = 1; batch <= BATCH; batch += 4) {
        cr_assert_eq(captions_wave(&captions, batch, &wave, &error), OK, "%s", error.text);
        cr_assert_eq(wave.batch, batch);
        cr_assert_float_eq(wave.captions_per_second * wave.seconds, batch, 1e-9);
        // All steps are prefill or decode, and nothing else takes time worth naming.
        double prefill_s = batch * options.prompt / wave.prefill_tokens_per_second;
        cr_assert_lt(prefill_s, wave.seconds);
        cr_assert_gt(wave.decode_tokens_per_second, 0);
        cr_assert_leq(wave.first_token_ms_mean, wave.first_token_ms_max);
        cr_assert_lt(wave.first_token_ms_max, wave.seconds * 1e3);
    }
    captions_close(&captions);
}

Test(captions, as_many_fit_as_the_plan_of_one_more_says) {
    cr_assert_eq(captions_batch_max(weights, &cpu, &options, UINT64_MAX), CAPTIONS_BATCH_MAX);
    Captions captions;
    Error error = {0};
    cr_assert_eq(captions_open(weights, &cpu, &options, 7, &captions, &error), OK, "%s",
                 error.text);
    const MemoryPlan *plan = &captions.plan;
    cr_assert_eq(captions_batch_max(weights, &cpu, &options, plan->total), 7);
    cr_assert_eq(captions_batch_max(weights, &cpu, &options, plan->total - 1), 6);
    cr_assert_eq(captions_batch_max(weights, &cpu, &options, plan->weights), 0);
    captions_close(&captions);
}

Test(captions, a_prompt_without_room_for_its_picture_is_refused) {
    CaptionsOptions small = options;
    small.prompt = 21;
    Captions captions;
    Error error = {0};
    cr_assert_eq(captions_open(weights, &cpu, &small, 1, &captions, &error), E_ARGUMENT);
    captions_close(&captions);
}

Test(captions, settings_have_the_names_of_the_roofline) {
    static const struct {
        WeightLevel level;
        EngineActivation activation;
        EngineKv kv;
        const char *name;
    } cases[] = {
        {LEVEL_INT4, ENGINE_ACTIVATION_INT8, ENGINE_KV_INT8, "W4A8 kv int8"},
        {LEVEL_INT4, ENGINE_ACTIVATION_AUTO, ENGINE_KV_BF16, "W4A8 kv bf16"},
        {LEVEL_INT4, ENGINE_ACTIVATION_BF16, ENGINE_KV_BF16, "W4A16 kv bf16"},
        {LEVEL_INT8, ENGINE_ACTIVATION_INT8, ENGINE_KV_INT8, "W8A8 kv int8"},
        {LEVEL_INT4, ENGINE_ACTIVATION_INT8X2, ENGINE_KV_INT8_ALL, "W4A8x2 kv int8-all"},
        {LEVEL_BF16, ENGINE_ACTIVATION_BF16, ENGINE_KV_BF16, "bf16 kv bf16"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[32];
        captions_setting(cases[i].level, cases[i].activation, cases[i].kv, name);
        cr_assert_str_eq(name, cases[i].name);
    }
}
