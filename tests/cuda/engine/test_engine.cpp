// SPDX-License-Identifier: Apache-2.0
// The whole engine on the CUDA backend, under the emulator or on a GPU: transformers' fixtures, the
// demo model's captions beside the CPU's, replayed steps beside eager ones, memory as planned,
// failures.
#include "tests/cuda/open.h"

#include <math.h>

#include <atomic>
#include <vector>

using std::atomic_bool; // media.h names C's

extern "C" {
#include "base/file.h"
#include "host/media/media.h"
#include "tests/support/model_case.h"
}

// ---- Fixtures -----------------------------------------------------------------------------------

// As tests/golden/test_golden_model.c: max |a - b| / max |b| over the logits of a position, f32
// chains on both sides whose sums differ in order.
static const double BAR = 2e-4;

static double worst_error(const ModelCase *c, const float *logits) {
    size_t vocab = c->logits.shape[1];
    double worst = 0.0;
    for (size_t t = 0; t < c->logits.shape[0]; t++) {
        const float *theirs = (const float *)c->logits.data + t * vocab;
        double largest = 0.0, difference = 0.0;
        for (size_t i = 0; i < vocab; i++) {
            difference = fmax(difference, fabs((double)logits[t * vocab + i] - (double)theirs[i]));
            largest = fmax(largest, fabs((double)theirs[i]));
            cr_assert(isfinite(logits[t * vocab + i]));
        }
        worst = fmax(worst, difference / largest);
    }
    return worst;
}

// The worst error of a fixture with a kind of cache, by a backend (NULL: the cpu); its first greedy
// tokens are transformers'.
static double fixture_error(const char *name, uint32_t rows, EngineKv kv, const Backend *backend) {
    enum { GREEDY = 4 };
    Error error = {};
    ModelCase c;
    cr_assert_eq(model_case_open(name, LEVEL_COUNT, 0, &c, &error), OK, "%s", error.text);
    RunOptions options = {};
    options.backend = backend;
    options.activation = ENGINE_ACTIVATION_F32;
    options.kv = kv;
    options.rows = rows;
    options.page_seed = 3;
    std::vector<float> logits(c.logits.count);
    int32_t tokens[GREEDY];
    CaseOutput out = {logits.data(), tokens, GREEDY};
    Status status = model_run_case(c.weights, &c.prompt, &options, out, &error);
    cr_assert_eq(status, OK, "%s: %s %s", name, error.text, simt_fault());
    double worst = worst_error(&c, logits.data());
    for (int i = 0; i < GREEDY; i++) {
        cr_assert_eq(tokens[i], ((const int32_t *)c.greedy.data)[i], "%s: token %d", name, i);
    }
    model_case_close(&c);
    return worst;
}

// On a device that does everything as late as it may, pictures and sound included.
static void check_fixture(const char *name, uint32_t rows) {
    Backend backend = open_backend(simt_late());
    double worst = fixture_error(name, rows, ENGINE_KV_F32, &backend);
    cr_assert_leq(worst, BAR, "%s: relative error %.2e", name, worst);
    close_backend(&backend);
}

Test(engine, text_equals_transformers) {
    check_fixture("text", 0);
}

Test(engine, an_image_longer_than_the_window_equals_transformers) {
    check_fixture("long_image", 7);
}

Test(engine, blank_and_written_patches_equal_transformers) {
    check_fixture("true_patch", 0);
}

Test(engine, odd_head_sizes_equal_transformers) {
    check_fixture("own_values", 7);
}

Test(engine, audio_beside_an_image_equals_transformers) {
    check_fixture("audio", 7);
}

Test(engine, heads_of_256_and_512_equal_transformers) {
    check_fixture("wide_heads", 0);
}

// Number by number the two caches round alike: a product of q and a key is off by at most 2^-9 of
// itself whether the key is rounded, as on the cpu, or the value that it is made of, as here. The
// errors are two draws of that (8.3e-3 here, 8.7e-3 there), so twice the other one is the bar.
Test(engine_simt, keys_shared_with_values_cost_a_cache_of_bf16_nothing) {
    Backend backend = open_backend();
    double shared = fixture_error("wide_heads", 0, ENGINE_KV_BF16, &backend);
    double separate = fixture_error("wide_heads", 0, ENGINE_KV_BF16, NULL);
    cr_assert_leq(shared, 2 * separate, "relative error %.2e, the cpu's %.2e", shared, separate);
    close_backend(&backend);
}

// ---- The demo model -----------------------------------------------------------------------------

enum { DEMO_THOUGHT_END = 14 }; // <channel|> of its tokenizer: the answer comes after it

typedef struct Demo {
    Weights *weights;
    Npy tokens;
    Patches patches[2];
    BuilderPrompt prompts[2]; // up to the answer
} Demo;

static void read_prompt(Demo *demo, uint32_t i, MediaScratch *scratch) {
    const Gemma4Config *config = &demo->weights->config;
    Error error = {};
    char path[4096];
    snprintf(path, sizeof path, "%s/examples/scenes/%03u.webp", TEST_ROOT, i);
    Buffer file = {};
    cr_assert_eq(file_read(path, 1 << 24, &file, &error), OK, "%s", error.text);
    MediaLimits limits = media_limits_default();
    Status status = media_load(Bytes{file.data, file.length}, &limits, config->image_budget,
                               scratch, &demo->patches[i], &error);
    cr_assert_eq(status, OK, "%s", error.text);
    buffer_free(&file);
    const int32_t *tokens = (const int32_t *)demo->tokens.data + i * demo->tokens.shape[1];
    BuilderPrompt *prompt = &demo->prompts[i];
    prompt->tokens = tokens;
    prompt->image_count = 1;
    prompt->sampling = batch_builder_greedy();
    BuilderImage *image = &prompt->images[0];
    for (uint32_t t = 0; prompt->token_count == 0; t++) {
        if (tokens[t] == config->image_id) {
            image->position_first = image->patch_count++ == 0 ? t : image->position_first;
        }
        prompt->token_count = tokens[t] == DEMO_THOUGHT_END ? t + 1 : 0;
    }
    image->pixels = demo->patches[i].pixels;
    image->positions = demo->patches[i].positions;
}

static Demo open_demo(WeightLevel level) {
    Demo demo = {};
    Error error = {};
    WeightsOptions options = {};
    options.level = level;
    options.group = level >= LEVEL_INT8 ? 32 : 0;
    cr_assert_eq(weights_open(TEST_ROOT "/examples/demo-model", &options, &demo.weights, &error),
                 OK, "%s", error.text);
    cr_assert_eq(npy_read(TEST_ROOT "/tests/golden/demo/tokens.npy", "i4", &demo.tokens, &error),
                 OK, "%s", error.text);
    MediaScratch scratch = {};
    read_prompt(&demo, 0, &scratch);
    read_prompt(&demo, 1, &scratch);
    media_scratch_free(&scratch);
    return demo;
}

static void close_demo(Demo *demo) {
    patches_free(&demo->patches[0]);
    patches_free(&demo->patches[1]);
    npy_free(&demo->tokens);
    weights_close(demo->weights);
}

// Both pictures at once: `count` tokens of each, with their log probabilities.
static std::vector<StepSample> caption(const Demo *demo, const RunOptions *options,
                                       uint32_t count) {
    Error error = {};
    ModelRun run;
    std::vector<StepSample> samples;
    cr_assert_eq(model_run_open(demo->weights, options, 2, 160, &run, &error), OK, "%s",
                 error.text);
    for (uint32_t s = 0; s < 2; s++) {
        batch_builder_add(run.builder, &demo->prompts[s]);
        batch_builder_rows(run.builder, s, demo->prompts[s].token_count);
    }
    for (uint32_t i = 0; i < count; i++) {
        StepResult result;
        cr_assert_eq(model_run_step(&run, NULL, &result, &error), OK, "%s %s", error.text,
                     simt_fault());
        cr_assert_eq(result.sample_count, 2);
        for (uint32_t s = 0; s < 2; s++) {
            samples.push_back(result.samples[s]);
            batch_builder_push(run.builder, s, result.samples[s].chosen.token);
            batch_builder_rows(run.builder, s, 1);
        }
    }
    model_run_close(&run);
    return samples;
}

static void check_captions(WeightLevel level, EngineActivation activation, EngineKv kv,
                           uint32_t count, double logprob_bound, const CudaOptions *cuda) {
    Demo demo = open_demo(level);
    RunOptions options = {};
    options.activation = activation;
    options.kv = kv;
    options.page_seed = 9;
    std::vector<StepSample> on_cpu = caption(&demo, &options, count);
    Backend backend = open_backend({}, *cuda);
    options.backend = &backend;
    std::vector<StepSample> on_cuda = caption(&demo, &options, count);
    for (size_t i = 0; i < on_cpu.size(); i++) {
        cr_assert_eq(on_cuda[i].chosen.token, on_cpu[i].chosen.token, "%s, picture %zu, token %zu",
                     weight_level_name(level), i % 2, i / 2);
        double difference =
            fabs((double)on_cuda[i].chosen.logprob - (double)on_cpu[i].chosen.logprob);
        cr_assert_leq(difference, logprob_bound, "%s, token %zu: %g", weight_level_name(level),
                      i / 2, difference);
    }
    close_backend(&backend);
    close_demo(&demo);
}

// int8 sums are exact and scales are applied in the cpu's order; what differs is attention's f32
// order and, through it, single int8 roundings of the next layer.
Test(engine, captions_of_int4_are_the_cpus) {
    CudaOptions cuda = {};
    check_captions(LEVEL_INT4, ENGINE_ACTIVATION_MIXED, ENGINE_KV_BF16, 5, 0.02, &cuda);
}

// Roundings to bf16 of activations flip where sums differ in their last bits.
Test(engine, captions_of_bf16_are_the_cpus) {
    CudaOptions cuda = {};
    check_captions(LEVEL_BF16, ENGINE_ACTIVATION_AUTO, ENGINE_KV_INT8, 3, 0.02, &cuda);
}

// So they do where a library sums in its own order: the same bound. Decode steps are replayed.
Test(engine, captions_of_bf16_by_cublaslt_are_the_cpus) {
    CudaOptions cuda = {};
    cuda.cublaslt = true;
    check_captions(LEVEL_BF16, ENGINE_ACTIVATION_AUTO, ENGINE_KV_INT8, 3, 0.02, &cuda);
}

// ---- Recorded steps -----------------------------------------------------------------------------

static const GraphTable *real_graphs;
static uint32_t recordings, replays;

static Status counting_end(void *context, uint64_t key) {
    recordings++;
    return real_graphs->end(context, key);
}

static Status counting_launch(void *context, uint64_t key) {
    replays++;
    return real_graphs->launch(context, key);
}

// Prompts of different lengths, sampled differently, with a penalty that tokens drawn a moment ago
// already count for.
static void add_prompts(ModelRun *run, const ModelCase *c, uint32_t sequences) {
    for (uint32_t s = 0; s < sequences; s++) {
        BuilderPrompt part = c->prompt;
        part.token_count -= 3 * s;
        part.sampling.temperature = s % 3 == 1 ? 0.9f : 0.0f;
        part.sampling.repetition_penalty = s % 3 == 0 ? 1.0f : 1.2f;
        part.sampling.seed = 4 + s;
        part.sampling.logprobs = 2;
        batch_builder_add(run->builder, &part);
    }
}

static std::vector<StepSample> decode(const ModelCase *c, Backend *backend, bool eager, bool ahead,
                                      const std::vector<uint32_t> &counts) {
    Error error = {};
    RunOptions options = {};
    options.backend = backend;
    options.eager = eager;
    ModelRun run;
    uint32_t sequences = (uint32_t)counts.size(), all = 0, most = 0;
    for (uint32_t count : counts) {
        all += count;
        most = count > most ? count : most;
    }
    Status status =
        model_run_open(c->weights, &options, sequences, c->prompt.token_count + most, &run, &error);
    cr_assert_eq(status, OK, "%s", error.text);
    add_prompts(&run, c, sequences);
    std::vector<StepSample> samples(all);
    status = model_run_decode(&run, sequences, counts.data(), ahead, samples.data(), &error);
    cr_assert_eq(status, OK, "%s %s", error.text, simt_fault());
    model_run_close(&run);
    return samples;
}

static void assert_same_samples(const std::vector<StepSample> &a,
                                const std::vector<StepSample> &b) {
    cr_assert_eq(a.size(), b.size());
    for (size_t i = 0; i < a.size(); i++) {
        cr_assert_eq(memcmp(&a[i], &b[i], sizeof a[i]), 0, "sample %zu: token %d, not %d", i,
                     b[i].chosen.token, a[i].chosen.token);
    }
}

// One step after the other, launch by launch, gives the bits; then two steps under way on a device
// that does everything as late as it may, replayed. 110 tokens and more: the longest sequence
// passes 128 on the way, which is one more recording, and another one ends.
Test(engine, steps_replayed_ahead_have_the_bits_of_eager_ones) {
    enum { STEPS = 24 };
    Error error = {};
    ModelCase c;
    cr_assert_eq(model_case_open("text", LEVEL_BF16, 0, &c, &error), OK, "%s", error.text);
    const std::vector<uint32_t> counts = {STEPS, STEPS / 2, STEPS};
    std::vector<StepSample> samples[2];
    for (int eager = 0; eager < 2; eager++) {
        Backend backend = open_backend(eager == 0 ? simt_late() : SimtOptions{});
        cr_assert(backend.device->overlaps);
        real_graphs = backend.device->graphs;
        GraphTable counting = *real_graphs;
        counting.end = counting_end;
        counting.launch = counting_launch;
        DeviceTable device = *backend.device;
        device.graphs = &counting;
        backend.device = &device;
        recordings = replays = 0;
        samples[eager] = decode(&c, &backend, eager != 0, eager == 0, counts);
        cr_assert_eq(replays, eager != 0 ? 0 : STEPS - 1);
        cr_assert(eager != 0 ? recordings == 0 : recordings >= 2 && recordings <= 4,
                  "%u recordings", recordings);
        close_backend(&backend);
    }
    assert_same_samples(samples[1], samples[0]);
    model_case_close(&c);
}

// More rows to sample than rows of logits, so that a step draws in pieces while the next one waits
// for their tokens, and more steps than halves.
Test(engine, eager_steps_ahead_have_the_bits_of_one_at_a_time) {
    Error error = {};
    ModelCase c;
    cr_assert_eq(model_case_open("text", LEVEL_BF16, 0, &c, &error), OK, "%s", error.text);
    c.prompt.token_count = 20;
    const std::vector<uint32_t> counts = {2, 4, 4, 3, 4, 4, 4};
    std::vector<StepSample> samples[2];
    for (int ahead = 0; ahead < 2; ahead++) {
        Backend backend = open_backend(ahead != 0 ? simt_late() : SimtOptions{});
        samples[ahead] = decode(&c, &backend, true, ahead != 0, counts);
        close_backend(&backend);
    }
    assert_same_samples(samples[0], samples[1]);
    model_case_close(&c);
}

#ifdef TESSERA_SIMT // a GPU has other limits, and is not to be broken
// ---- Memory and failures ------------------------------------------------------------------------

static EngineOptions small_engine(void) {
    EngineOptions options = {};
    options.rows_max = 64;
    options.sequences_max = 2;
    options.pages[PAGE_SLIDING] = 40;
    options.pages[PAGE_FULL] = 40;
    return options;
}

// The plan leaves out what is small (inverse frequencies). One hundredth is the promise.
Test(engine, the_memory_taken_is_the_memory_planned) {
    Demo demo = open_demo(LEVEL_INT4);
    Backend backend = open_backend();
    EngineOptions options = small_engine();
    MemoryPlan plan = engine_plan(demo.weights, &backend, &options);
    uint64_t before = simt_memory_used();
    Engine *engine;
    Error error = {};
    cr_assert_eq(engine_open(demo.weights, &backend, &options, &engine, &error), OK, "%s",
                 error.text);
    double actual = (double)(simt_memory_used() - before);
    double planned = (double)plan.total;
    cr_assert(fabs(actual - planned) <= planned / 100, "%g taken, %g planned", actual, planned);
    engine_close(engine);
    close_backend(&backend);
    close_demo(&demo);
}

Test(engine, what_does_not_fit_is_refused_with_the_sum_and_what_to_lower) {
    Demo demo = open_demo(LEVEL_BF16);
    // Room for the scratch and the weights but not the cache; then not even for the weights.
    for (uint64_t mebibytes : {48, 36}) {
        Backend backend = open_backend(simt_of_memory(mebibytes << 20));
        EngineOptions options = small_engine();
        options.pages[PAGE_FULL] = 4000;
        Engine *engine;
        Error error = {};
        cr_assert_eq(engine_open(demo.weights, &backend, &options, &engine, &error), E_MEMORY);
        cr_assert(strstr(error.text, "the engine needs") != NULL, "%s", error.text);
        cr_assert(strstr(error.text, "lower the pages") != NULL, "%s", error.text);
        close_backend(&backend);
    }
    close_demo(&demo);
}

Test(engine, a_fault_on_the_device_fails_every_step_until_a_new_start) {
    Error error = {};
    ModelCase c;
    cr_assert_eq(model_case_open("text", LEVEL_BF16, 0, &c, &error), OK, "%s", error.text);
    RunOptions options = {};
    int32_t tokens[2][2];
    for (int round = 0; round < 2; round++) {
        Backend backend = open_backend();
        options.backend = &backend;
        ModelRun run;
        cr_assert_eq(model_run_open(c.weights, &options, 1, 64, &run, &error), OK, "%s",
                     error.text);
        batch_builder_add(run.builder, &c.prompt);
        batch_builder_rows(run.builder, 0, c.prompt.token_count);
        StepResult result;
        for (int i = 0; i < 2; i++) {
            cr_assert_eq(model_run_step(&run, NULL, &result, &error), OK, "%s", error.text);
            tokens[round][i] = result.samples[0].chosen.token;
            batch_builder_push(run.builder, 0, tokens[round][i]);
            batch_builder_rows(run.builder, 0, 1);
        }
        float host = 1.0f; // a kernel that writes where no device memory is
        Activation out = {ACTIVATION_F32, 1, 1, &host, NULL, NULL};
        OpActivate stray = {1, &host, 1, out};
        backend.ops->activate(backend.context, &stray);
        cr_assert_neq(*simt_fault(), '\0');
        for (int i = 0; i < 2; i++) {
            cr_assert_eq(model_run_step(&run, NULL, &result, &error), E_DEVICE);
            cr_assert_eq(result.sample_count, 0);
            cr_assert(strstr(error.text, "activate_rows") != NULL, "names the kernel: %s",
                      error.text);
        }
        model_run_close(&run);
        close_backend(&backend);
    }
    cr_assert_eq(memcmp(tokens[0], tokens[1], sizeof tokens[0]), 0,
                 "the new start computes as before");
    model_case_close(&c);
}

// A stray kernel behind the first of two steps under way: the first one's tokens are good, the
// second one fails, and so does every one after it.
Test(engine, a_fault_between_two_steps_under_way_fails_the_second) {
    Error error = {};
    ModelCase c;
    cr_assert_eq(model_case_open("text", LEVEL_BF16, 0, &c, &error), OK, "%s", error.text);
    c.prompt.token_count = 20;
    Backend backend = open_backend(simt_late());
    RunOptions options = {};
    options.backend = &backend;
    ModelRun run;
    cr_assert_eq(model_run_open(c.weights, &options, 2, 64, &run, &error), OK, "%s", error.text);
    float host = 1.0f;
    Activation out = {ACTIVATION_F32, 1, 1, &host, NULL, NULL};
    OpActivate stray = {1, &host, 1, out};
    for (uint32_t s = 0; s < 2; s++) {
        batch_builder_add(run.builder, &c.prompt);
        batch_builder_rows(run.builder, s, c.prompt.token_count);
        cr_assert_eq(engine_begin(run.engine, batch_builder_batch(run.builder), &error), OK);
        backend.ops->activate(backend.context, &stray);
    }
    StepResult result = {0, run.samples};
    cr_assert_eq(engine_end(run.engine, &result, &error), OK, "%s", error.text);
    cr_assert_eq(result.sample_count, 1);
    cr_assert_eq(engine_end(run.engine, &result, &error), E_DEVICE);
    cr_assert_eq(result.sample_count, 0);
    batch_builder_push(run.builder, 0, 1);
    batch_builder_rows(run.builder, 0, 1);
    cr_assert_eq(engine_begin(run.engine, batch_builder_batch(run.builder), &error), E_DEVICE);
    model_run_close(&run);
    close_backend(&backend);
    model_case_close(&c);
}
#endif
