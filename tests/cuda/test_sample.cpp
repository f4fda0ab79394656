// SPDX-License-Identifier: Apache-2.0
// Sampling on the device: the tokens of the reference, which has those of transformers, for every
// setting; rows whose prefix does not decide; damaged logits and ties; neighbours.
#include "cuda/context.h"
#include "cuda/kernels/linear.h"
#include "cuda/linear_case.h"
#include "cuda/paged_case.h"
#include "cuda/scan_case.h"
#include "ops/tolerance.h"
#include "tests/cuda/open.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string>

extern "C" {
#include "base/prng.h"
#include "ops/fixture.h"
#include "unit/cpu/random_operands.h"
}

typedef struct Device {
    CudaContext context;
    std::vector<void *> memory;
} Device;

static Device device_open(const SimtOptions &options) {
    return {open_context(options), {}};
}

static void device_close(Device *d) {
    for (void *pointer : d->memory) {
        cudaFree(pointer);
    }
    close_context(&d->context);
}

static void assert_close(float got, float wanted, const char *what) {
    double allowed = TOLERANCE_LOGPROB.absolute + TOLERANCE_LOGPROB.relative * fabs((double)wanted);
    cr_assert(fabs((double)got - (double)wanted) <= allowed, "%s: logprob %g, not %g", what,
              (double)got, (double)wanted);
}

// The plain scan of host logits, which are suppressed.
static ScanCase scanned(const BatchSequence *const *sequences, uint32_t rows, float *logits,
                        uint32_t vocab, const int32_t *suppress, uint32_t suppress_count) {
    std::vector<float> inverse_temperature(rows, 1.0f);
    for (uint32_t r = 0; r < rows; r++) {
        float temperature = sequences[r]->sampling.temperature;
        inverse_temperature[r] = temperature > 0.0f ? 1.0f / temperature : 1.0f;
    }
    ScanCase scan = scan_case(vocab, inverse_temperature, suppress, suppress_count);
    scan_case_fill(&scan, logits, vocab);
    return scan;
}

static const SampleSettings *settings_on_device(const BatchSequence *const *sequences,
                                                uint32_t rows, std::vector<void *> *memory) {
    std::vector<SampleSettings> settings;
    for (uint32_t r = 0; r < rows; r++) {
        settings.push_back(sample_settings(sequences[r]));
    }
    return (SampleSettings *)device_copy(settings.data(), rows * sizeof settings[0], 0, memory);
}

// `rows` rows of host logits through the op; the logits stay as they were. What the step before
// drew: sample 1 is token 5.
static Status sample(Device *d, const BatchSequence *const *sequences, uint32_t rows,
                     const float *logits, uint32_t vocab, const int32_t *suppress,
                     uint32_t suppress_count, StepSample *out) {
    const int32_t before[] = {-1, 5};
    std::vector<void *> memory;
    std::vector<float> left(logits, logits + (size_t)rows * vocab);
    ScanCase scan = scanned(sequences, rows, left.data(), vocab, suppress, suppress_count);
    float *copy = (float *)device_copy(left.data(), (size_t)rows * vocab * 4, 0, &memory);
    StepSample *on_device = (StepSample *)device_copy(NULL, rows * sizeof *out, 0, &memory);
    int32_t *drawn = (int32_t *)device_copy(NULL, rows * sizeof *drawn, 0, &memory);
    OpSample op = {rows,
                   sequences,
                   settings_on_device(sequences, rows, &memory),
                   (int32_t *)device_copy(before, 8, 0, &memory),
                   copy,
                   vocab,
                   suppress,
                   suppress_count,
                   on_device,
                   drawn,
                   scan_on_device(&scan, false, &memory)};
    Status status = cuda_sample(&d->context, &op);
    if (status == OK) {
        std::vector<int32_t> tokens(rows);
        cr_assert_eq(cudaStreamSynchronize(d->context.stream), cudaSuccess, "%s", simt_fault());
        device_read(out, on_device, rows * sizeof *out);
        device_read(tokens.data(), drawn, rows * sizeof *drawn);
        for (uint32_t r = 0; r < rows; r++) {
            cr_assert_eq(tokens[r], out[r].chosen.token);
        }
    }
    for (void *pointer : memory) {
        cudaFree(pointer);
    }
    return status;
}

static void assert_same(const StepSample *got, const StepSample *wanted, const char *what) {
    cr_assert_eq(got->chosen.token, wanted->chosen.token, "%s: token %d, not %d", what,
                 got->chosen.token, wanted->chosen.token);
    assert_close(got->chosen.logprob, wanted->chosen.logprob, what);
    cr_assert_eq(got->top_count, wanted->top_count, "%s", what);
    for (uint32_t i = 0; i < got->top_count; i++) {
        cr_assert_eq(got->top[i].token, wanted->top[i].token, "%s: top %u", what, i);
        assert_close(got->top[i].logprob, wanted->top[i].logprob, what);
    }
}

Test(sample, draws_the_tokens_that_transformers_would) {
    enum { DRAWS = 4 }; // of each case; the cpu's test takes them all
    Device d = device_open(simt_seeded(1));
    Fixture fixture = fixture_open("sampling/sampling.bin");
    uint32_t case_count = fixture_u32(&fixture), draws = fixture_u32(&fixture), checked = 0;
    for (uint32_t c = 0; c < case_count; c++) {
        uint32_t vocab = fixture_u32(&fixture), top_k = fixture_u32(&fixture);
        uint32_t history_count = fixture_u32(&fixture), suppressed = fixture_u32(&fixture);
        fixture_u32(&fixture); // tokens kept, for people who read the file
        const float *numbers = fixture_f32s(&fixture, 4);
        const uint32_t *seed = fixture_u32s(&fixture, 2);
        const int32_t *history = (const int32_t *)fixture_u32s(&fixture, history_count);
        const int32_t *suppress = (const int32_t *)fixture_u32s(&fixture, suppressed);
        const float *logits = fixture_f32s(&fixture, vocab);
        const float *logprobs = fixture_f32s(&fixture, vocab);
        const uint32_t *tokens = fixture_u32s(&fixture, draws);
        for (uint32_t i = 0; i < draws && i < DRAWS; i++) {
            if (tokens[i] == UINT32_MAX) {
                continue; // too near a boundary to be certain
            }
            BatchSequence sequence = {};
            sequence.sampling = {numbers[0], top_k,      numbers[1],
                                 numbers[2], numbers[3], (uint64_t)seed[1] << 32 | seed[0],
                                 5};
            sequence.draw = i;
            sequence.history = history;
            sequence.history_count = history_count;
            const BatchSequence *pointer = &sequence;
            StepSample out;
            cr_assert_eq(sample(&d, &pointer, 1, logits, vocab, suppress, suppressed, &out), OK,
                         "%s", simt_fault());
            cr_assert_eq((uint32_t)out.chosen.token, tokens[i],
                         "case %u draw %u is %d, transformers gives %u", c, i, out.chosen.token,
                         tokens[i]);
            assert_close(out.chosen.logprob, logprobs[out.chosen.token], "logprob");
            checked++;
        }
    }
    cr_assert_gt(checked, case_count, "most draws are certain");
    fixture_close(&fixture);
    device_close(&d);
}

// temperature, top_k, top_p, min_p, penalty, seed, logprobs
static const Sampling settings[] = {
    {0.0f, 0, 1.0f, 0.0f, 1.0f, 1, 20},  {1.0f, 64, 0.95f, 0.0f, 1.0f, 2, 0},
    {0.7f, 0, 0.9f, 0.0f, 1.1f, 3, 3},   {1.0f, 0, 1.0f, 0.0f, 1.0f, 4, 0},
    {1.0f, 0, 1.0f, 0.02f, 1.0f, 5, 1},  {1.3f, 1000, 1.0f, 0.0f, 1.0f, 6, 0},
    {0.0f, 0, 1.0f, 0.0f, 1.3f, 7, 0},   {1.0f, 9000, 0.5f, 0.0f, 1.0f, 8, 0},
    {8.0f, 0, 0.999f, 0.0f, 1.0f, 9, 2}, // nearly flat: everything is ranked
};
enum { SETTING_COUNT = sizeof settings / sizeof settings[0], VOCAB = 8191 };

Test(sample, every_setting_alone_and_in_a_crowd_as_the_reference) {
    const int32_t suppress[] = {8003, 8002};
    const int32_t histories[2][5] = {{8190, 17, 17, -1, 5}, {5, 17, 17, -1, 5}};
    BatchSequence sequences[SETTING_COUNT] = {};
    const BatchSequence *pointers[SETTING_COUNT];
    std::vector<float> logits((size_t)SETTING_COUNT * VOCAB);
    for (uint32_t s = 0; s < SETTING_COUNT; s++) {
        sequences[s].sampling = settings[s];
        sequences[s].draw = 1000 + s;
        sequences[s].history = histories[s % 4 / 2];
        sequences[s].history_count = 5;
        pointers[s] = &sequences[s];
        for (uint32_t i = 0; i < VOCAB; i++) {
            logits[(size_t)s * VOCAB + i] = prng_normal(99, s, i) * 3.0f;
        }
        logits[(size_t)s * VOCAB + 8002] = 29.0f; // would win
        logits[(size_t)s * VOCAB + 5] = 14.0f;    // wins unless it is penalised
    }
    StepSample wanted[SETTING_COUNT], got[SETTING_COUNT], alone;
    Backend reference;
    cr_assert(variant_open(CPU_ISA_REFERENCE, 1, &reference));
    std::vector<float> copy = logits;
    int32_t drawn[SETTING_COUNT];
    OpSample op = {SETTING_COUNT, pointers, NULL,   NULL,  copy.data(), VOCAB,
                   suppress,      2,        wanted, drawn, {}};
    cr_assert_eq(reference.ops->sample(reference.context, &op), OK);
    Device d = device_open(simt_seeded(2));
    cr_assert_eq(sample(&d, pointers, SETTING_COUNT, logits.data(), VOCAB, suppress, 2, got), OK,
                 "%s", simt_fault());
    for (uint32_t s = 0; s < SETTING_COUNT; s++) {
        std::string what = "setting " + std::to_string(s);
        assert_same(&got[s], &wanted[s], what.c_str());
        if (s % 4 == 0 || sequences[s].sampling.repetition_penalty != 1.0f) {
            sequences[s].history_count = 4; // the last one is drawn_before[1]
            sequences[s].history_drawn = 2;
            const float *row = logits.data() + (size_t)s * VOCAB;
            cr_assert_eq(sample(&d, &pointers[s], 1, row, VOCAB, suppress, 2, &alone), OK);
            cr_assert_eq(memcmp(&alone, &got[s], sizeof alone), 0, "%s: alone", what.c_str());
        }
    }
    reference.close(reference.context);
    device_close(&d);
}

// Rows with a set beside rows without, more of them than one launch takes at the true size of a
// vocabulary. Truth is the row whose other logits are -inf from the start, to the bit.
Test(sample, a_set_of_allowed_tokens_is_as_if_all_others_had_no_chance) {
    enum { ROWS = 5 };
    const int32_t history[] = {5, 900, 71, 5}, suppress[] = {8, 64};
    const uint32_t words = batch_token_words(VOCAB);
    std::vector<uint32_t> sets(ROWS * words, UINT32_MAX);
    std::vector<float> logits(ROWS * VOCAB), left;
    BatchSequence sequences[ROWS] = {};
    const BatchSequence *rows[ROWS];
    for (uint32_t i = 0; i < ROWS * VOCAB; i++) {
        logits[i] = prng_normal(98, 1, i) * 3.0f;
    }
    left = logits;
    for (uint32_t r = 0; r < ROWS; r++) {
        uint32_t *set = sets.data() + r * words;
        for (uint32_t w = 0; w < words && r < 4; w++) { // the last row allows all, by a set
            set[w] = r == 1 ? 0 : w % 4 == 3 ? UINT32_MAX : (uint32_t)prng_u64(14, r, w);
        }
        set[71 / 32] |= 1u << 71 % 32;
        sequences[r].sampling = {r == 1 ? 0.0f : 0.8f, r, 0.95f, 0.0f, r == 2 ? 1.3f : 1.0f, r, 5};
        sequences[r].draw = 40 + r;
        sequences[r].history = history;
        sequences[r].history_count = 4;
        rows[r] = &sequences[r];
        for (uint32_t i = 0; i < VOCAB && r != 3; i++) {
            left[r * VOCAB + i] = batch_token_in(set, i) ? logits[r * VOCAB + i] : -INFINITY;
        }
    }
    Device d = device_open(simt_seeded(9));
    StepSample wanted[ROWS], got[ROWS];
    cr_assert_eq(sample(&d, rows, ROWS, left.data(), VOCAB, suppress, 2, wanted), OK, "%s",
                 simt_fault());
    for (uint32_t r = 0; r < ROWS; r++) {
        sequences[r].allowed = r == 3 ? NULL : sets.data() + r * words; // one row without
    }
    cr_assert_eq(sample(&d, rows, ROWS, logits.data(), VOCAB, suppress, 2, got), OK, "%s",
                 simt_fault());
    for (uint32_t r = 0; r < ROWS; r++) {
        cr_assert_eq(memcmp(&got[r], &wanted[r], sizeof got[r]), 0, "row %u: %d, not %d", r,
                     got[r].chosen.token, wanted[r].chosen.token);
    }
    cr_assert_eq(got[1].chosen.token, 71, "the one that is allowed");
    device_close(&d);
}

Test(sample, ties_go_to_the_lowest_id_and_damaged_logits_are_passed_over) {
    float logits[100] = {0};
    BatchSequence greedy = {};
    greedy.sampling.top_p = 1.0f;
    greedy.sampling.repetition_penalty = 1.0f;
    BatchSequence warm = greedy;
    warm.sampling.temperature = 1.0f;
    warm.sampling.top_k = 3;
    const BatchSequence *cold_row = &greedy, *warm_row = &warm;
    Device d = device_open(simt_seeded(3));
    StepSample out;
    for (int i = 0; i < 100; i++) {
        logits[i] = i == 40 || i == 71 ? 2.0f : -1.0f;
    }
    cr_assert_eq(sample(&d, &cold_row, 1, logits, 100, NULL, 0, &out), OK);
    cr_assert_eq(out.chosen.token, 40);
    logits[40] = NAN;
    cr_assert_eq(sample(&d, &cold_row, 1, logits, 100, NULL, 0, &out), OK);
    cr_assert_eq(out.chosen.token, 71);
    logits[3] = INFINITY;
    logits[5] = -INFINITY;
    cr_assert_eq(sample(&d, &warm_row, 1, logits, 100, NULL, 0, &out), OK);
    cr_assert_eq(out.chosen.token, 3);
    for (int i = 0; i < 100; i++) {
        logits[i] = i % 2 == 0 ? NAN : -INFINITY;
    }
    cr_assert_eq(sample(&d, &warm_row, 1, logits, 100, NULL, 0, &out), OK);
    cr_assert_eq(out.chosen.token, -1, "nothing is left");
    device_close(&d);
}

// More logits tie for the first place than a prefix holds: everything is sorted. In a step of two
// such rows around one that its prefix decides, one after the other.
Test(sample, flat_rows_take_the_lowest_id) {
    std::vector<float> logits(3 * VOCAB, 0.5f);
    logits[VOCAB + 70] = 6.0f;
    logits[2 * VOCAB + 1] = 0.0f;
    BatchSequence greedy = {};
    greedy.sampling.top_p = 1.0f;
    greedy.sampling.repetition_penalty = 1.0f;
    greedy.sampling.logprobs = 2;
    const BatchSequence *rows[] = {&greedy, &greedy, &greedy};
    const int32_t suppress[] = {0};
    Device d = device_open(simt_seeded(4));
    StepSample out[3];
    cr_assert_eq(sample(&d, rows, 3, logits.data(), VOCAB, suppress, 1, out), OK);
    cr_assert_eq(out[0].chosen.token, 1);
    cr_assert_eq(out[0].top[1].token, 2);
    cr_assert_float_eq(out[0].chosen.logprob, -log(VOCAB - 1.0), 1e-5);
    cr_assert_eq(out[1].chosen.token, 70);
    cr_assert_eq(out[2].chosen.token, 2);
    cr_assert_eq(out[2].top[1].token, 3);
    device_close(&d);
}

// The logits are a product with one column. After the penalty its chunks are what the product with
// the penalised logits leaves at once, to the bit, and so are all others.
Test(sample, a_chunk_scanned_again_has_the_bits_of_one_scanned_at_once) {
    enum { COUNT = 3 * 32 + 5 };
    Device d = device_open(simt_seeded(5));
    LinearShape shape = {LEVEL_F32, ACTIVATION_F32, 0, COUNT, 1, 1, LINEAR_PLAIN, false};
    LinearCase c = linear_case_open(shape);
    c.op.out_stride = COUNT;
    activation_f32(&c.in, 0)[0] = 1.0f;
    const int32_t suppress[] = {7}, history[] = {-1, 100, 7, 3, 3, 98, 40, 41, 3, 5000};
    ScanCase scan = scan_case(COUNT, {1.0f / 0.7f}, suppress, 1);
    BatchSequence sequence = {};
    sequence.sampling = {0.7f, 5, 1.0f, 0.0f, 1.3f, 1, 0};
    sequence.history = history;
    sequence.history_count = sizeof history / sizeof history[0];
    const BatchSequence *row = &sequence;
    std::vector<float> sums[2];
    for (int penalised = 0; penalised < 2; penalised++) {
        LinearOnDevice on = linear_on_device(&c);
        on.op.scan = scan_on_device(&scan, true, &on.memory);
        cr_assert_eq(cuda_linear(&d.context, &on.op), OK);
        if (penalised == 0) {
            StepSample *out = (StepSample *)device_copy(NULL, sizeof *out, 0, &on.memory);
            int32_t *drawn = (int32_t *)device_copy(NULL, sizeof *drawn, 0, &on.memory);
            const SampleSettings *settings = settings_on_device(&row, 1, &on.memory);
            OpSample op = {1,        &row, settings, NULL,  on.op.out, COUNT,
                           suppress, 1,    out,      drawn, on.op.scan};
            cr_assert_eq(cuda_sample(&d.context, &op), OK, "%s", simt_fault());
        }
        sums[penalised].resize(scan.sums.size());
        device_read(sums[penalised].data(), on.op.scan.chunks, scan.sums.size() * 4);
        std::vector<float> logits = linear_result(&on);
        for (uint32_t i = 0; i < COUNT; i++) {
            float *weight =
                (float *)c.weight.codes + (size_t)(i / 16) * c.weight.padded_columns * 16 + i % 16;
            *weight = logits[i];
        }
        linear_off_device(&on);
    }
    cr_assert_eq(memcmp(sums[0].data(), sums[1].data(), sums[0].size() * sizeof(float)), 0);
    linear_case_close(&c);
    device_close(&d);
}

// 4,219 chunks in 4,096 parts, as those of a real vocabulary are 8,192. Of the five best, two share
// a part and two a chunk.
Test(sample, a_part_of_several_chunks_bounds_the_ranking_too) {
    enum { LARGE = 4218 * 32 + 9 };
    const uint32_t best[] = {31, 4096 * 32 + 31, 70000, 70001, LARGE - 1};
    std::vector<float> logits(LARGE);
    for (uint32_t i = 0; i < LARGE; i++) {
        logits[i] = (float)(i * 7919 % 1009) * 1e-3f;
    }
    for (uint32_t i = 0; i < 5; i++) {
        logits[best[i]] = 9.0f - 0.5f * (float)i;
    }
    BatchSequence sequence = {};
    sequence.sampling = {1.0f, 5, 1.0f, 0.0f, 1.0f, 3, 6};
    const BatchSequence *row = &sequence;
    Device d = device_open(simt_seeded(6));
    StepSample got, wanted;
    cr_assert_eq(sample(&d, &row, 1, logits.data(), LARGE, NULL, 0, &got), OK, "%s", simt_fault());
    int32_t drawn;
    OpSample op = {1, &row, NULL, NULL, logits.data(), LARGE, NULL, 0, &wanted, &drawn, {}};
    cr_assert_eq(sample_ref(NULL, &op), OK);
    assert_same(&got, &wanted, "parts");
    for (uint32_t i = 0; i < 5; i++) {
        cr_assert_eq((uint32_t)got.top[i].token, best[i]);
    }
    device_close(&d);
}

// Four steps of two rows, each with what the one before drew in its penalty: a flat row, which is
// ranked whole, and a warm one. Queued without a look at the results they draw what they draw when
// each is waited for.
static std::vector<StepSample> draw_in_turn(bool late) {
    enum { STEPS = 4, ROWS = 2 };
    const int32_t history[] = {3};
    BatchSequence sequences[STEPS][ROWS] = {};
    const BatchSequence *rows[STEPS][ROWS];
    std::vector<float> logits((size_t)ROWS * VOCAB, 0.5f);
    for (uint32_t i = 0; i < VOCAB; i++) {
        logits[VOCAB + i] = prng_normal(98, 0, i) * 3.0f;
    }
    Device d = device_open(late ? simt_late(5) : simt_seeded(5));
    StepSample *out = (StepSample *)device_copy(NULL, STEPS * ROWS * sizeof *out, 0, &d.memory);
    int32_t *drawn = (int32_t *)device_copy(NULL, 2 * ROWS * sizeof *drawn, 0, &d.memory);
    float *copies[STEPS]; // made here, since that waits for the device
    LogitScan scans[STEPS];
    const SampleSettings *settings[STEPS];
    ScanCase scan = scan_case(VOCAB, std::vector<float>(ROWS, 1.0f), NULL, 0);
    scan_case_fill(&scan, logits.data(), VOCAB);
    for (uint32_t step = 0; step < STEPS; step++) {
        for (uint32_t r = 0; r < ROWS; r++) {
            BatchSequence *sequence = &sequences[step][r];
            sequence->sampling = {r == 0 ? 0.0f : 1.0f, 0, 1.0f, 0.0f, 1.5f, 6, 3};
            sequence->draw = step;
            sequence->history = history;
            sequence->history_count = 1;
            sequence->history_drawn = step == 0 ? 0 : 1 + r;
            rows[step][r] = sequence;
        }
        copies[step] = (float *)device_copy(logits.data(), logits.size() * 4, 0, &d.memory);
        scans[step] = scan_on_device(&scan, false, &d.memory);
        settings[step] = settings_on_device(rows[step], ROWS, &d.memory);
    }
    for (uint32_t step = 0; step < STEPS; step++) {
        const int32_t *before = drawn + (step + 1) % 2 * ROWS;
        OpSample op = {ROWS,
                       rows[step],
                       settings[step],
                       before,
                       copies[step],
                       VOCAB,
                       NULL,
                       0,
                       out + (size_t)step * ROWS,
                       drawn + step % 2 * ROWS,
                       scans[step]};
        cr_assert_eq(cuda_sample(&d.context, &op), OK, "%s", simt_fault());
        memset(sequences[step], 0xee, sizeof sequences[step]); // read by the call, not later
    }
    cr_assert_eq(cudaStreamSynchronize(d.context.stream), cudaSuccess, "%s", simt_fault());
    std::vector<StepSample> samples(STEPS * ROWS);
    device_read(samples.data(), out, samples.size() * sizeof *out);
    device_close(&d);
    return samples;
}

Test(sample, draws_queued_behind_each_other_are_those_of_one_at_a_time) {
    std::vector<StepSample> wanted = draw_in_turn(false), got = draw_in_turn(true);
    cr_assert_eq(wanted[0].chosen.token, 0);
    cr_assert_eq(wanted[2].chosen.token, 1, "0 was drawn and has its penalty");
    cr_assert_eq(memcmp(got.data(), wanted.data(), got.size() * sizeof got[0]), 0);
}

// Two histories of 700,000 tokens fit a half of the staging memory, three do not: three sequences
// are drawn by two launches, which turn the halves twice. Each has its own best token, whose
// penalty the last token of its history brings.
Test(sample, histories_that_do_not_fit_one_launch_are_split_over_several) {
    enum { ROWS = 3, HISTORY = 700000, SMALL = 64 };
    static_assert(2 * HISTORY * sizeof(int32_t) < CUDA_STAGING_HALF &&
                  3 * HISTORY * sizeof(int32_t) > CUDA_STAGING_HALF);
    std::vector<int32_t> histories[ROWS];
    BatchSequence sequences[ROWS] = {};
    const BatchSequence *rows[ROWS];
    std::vector<float> logits(ROWS * SMALL);
    for (uint32_t i = 0; i < ROWS * SMALL; i++) {
        logits[i] = prng_normal(97, 0, i) * 0.1f;
    }
    for (uint32_t r = 0; r < ROWS; r++) {
        histories[r].assign(HISTORY, -1); // pictures, which have no penalty
        histories[r].back() = (int32_t)(40 + r);
        logits[r * SMALL + 40 + r] = 2.0f;
        logits[r * SMALL + 20 + r] = 1.5f; // the best once the other has its penalty
        sequences[r].sampling = {0.0f, 0, 1.0f, 0.0f, 2.0f, 1, 2};
        sequences[r].history = histories[r].data();
        sequences[r].history_count = HISTORY;
        rows[r] = &sequences[r];
    }
    Device d = device_open(simt_late(7));
    StepSample together[ROWS], alone;
    cr_assert_eq(sample(&d, rows, ROWS, logits.data(), SMALL, NULL, 0, together), OK, "%s",
                 simt_fault());
    cr_assert_eq(d.context.half, 0, "two launches");
    for (uint32_t r = 0; r < ROWS; r++) {
        cr_assert_eq((uint32_t)together[r].chosen.token, 20 + r);
    }
    const float *last = &logits[(ROWS - 1) * SMALL];
    cr_assert_eq(sample(&d, &rows[ROWS - 1], 1, last, SMALL, NULL, 0, &alone), OK);
    cr_assert_eq(memcmp(&alone, &together[ROWS - 1], sizeof alone), 0);
    device_close(&d);
}
