// SPDX-License-Identifier: Apache-2.0
// Sampling: transformers' logits processors are the truth for the reference and for every
// instruction set (tests/golden/sampling/make_sampling.py); then the promises about damaged
// logits, ties, neighbours and the true vocabulary size.
#include "base/prng.h"
#include "ops/fixture.h"
#include "ops/isa.h"
#include "ops/paged.h"

#include <stdlib.h>
#include <string.h>

static const CpuIsa isas[] = {CPU_ISA_REFERENCE, CPU_ISA_SCALAR, CPU_ISA_AVX2, CPU_ISA_AVX512};

// What the step before drew: sample 1 is what histories end with.
static const int32_t drawn_before[] = {-1, 5};

static StepSample sample(const Backend *backend, const BatchSequence *sequence, const float *logits,
                         uint32_t vocab, const int32_t *suppress, uint32_t suppress_count) {
    StepSample out;
    float *copy = malloc(vocab * sizeof *copy);
    memcpy(copy, logits, vocab * sizeof *copy);
    int32_t drawn;
    OpSample op = {1,        &sequence,      NULL, drawn_before, copy, vocab,
                   suppress, suppress_count, &out, &drawn,       {0}};
    cr_assert_eq(backend->ops->sample(backend->context, &op), OK);
    cr_assert_eq(drawn, out.chosen.token);
    free(copy);
    return out;
}

Test(sample, draws_the_tokens_that_transformers_would) {
    for (size_t b = 0; b < sizeof isas / sizeof isas[0]; b++) {
        if (!cpu_isa_available(isas[b])) {
            continue;
        }
        Backend backend = isa_open(isas[b], 1);
        Fixture fixture = fixture_open("sampling/sampling.bin");
        uint32_t case_count = fixture_u32(&fixture), draws = fixture_u32(&fixture);
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
            for (uint32_t d = 0; d < draws; d++) {
                if (tokens[d] == UINT32_MAX) {
                    continue; // too near a boundary to be certain
                }
                BatchSequence sequence = {.sampling = {.temperature = numbers[0],
                                                       .top_k = top_k,
                                                       .top_p = numbers[1],
                                                       .min_p = numbers[2],
                                                       .repetition_penalty = numbers[3],
                                                       .seed = (uint64_t)seed[1] << 32 | seed[0],
                                                       .logprobs = 5},
                                          .draw = d,
                                          .history = history,
                                          .history_count = history_count};
                StepSample out = sample(&backend, &sequence, logits, vocab, suppress, suppressed);
                cr_assert_eq((uint32_t)out.chosen.token, tokens[d],
                             "%s: case %u draw %u is %d, transformers gives %u",
                             cpu_isa_name(isas[b]), c, d, out.chosen.token, tokens[d]);
                assert_close(&out.chosen.logprob, &logprobs[out.chosen.token], 1, TOLERANCE_LOGPROB,
                             "logprob");
                cr_assert_eq(out.top_count, vocab - suppressed < 5 ? vocab - suppressed : 5);
                for (uint32_t i = 0; i < out.top_count; i++) {
                    assert_close(&out.top[i].logprob, &logprobs[out.top[i].token], 1,
                                 TOLERANCE_LOGPROB, "top");
                    cr_assert(i == 0 || out.top[i].logprob <= out.top[i - 1].logprob);
                }
            }
        }
        fixture_close(&fixture);
        backend.close(backend.context);
    }
}

static const Sampling settings[] = {
    {0.0f, 0, 1.0f, 0.0f, 1.0f, 1, 20},     {1.0f, 64, 0.95f, 0.0f, 1.0f, 2, 0},
    {0.7f, 0, 0.9f, 0.0f, 1.1f, 3, 3},      {1.0f, 0, 1.0f, 0.0f, 1.0f, 4, 0},
    {1.0f, 0, 1.0f, 0.02f, 1.0f, 5, 1},     {1.3f, 1000, 1.0f, 0.0f, 1.0f, 6, 0},
    {8.0f, 0, 0.999f, 0.0f, 1.0f, 7, 0}, // nearly flat: the whole vocabulary is ranked
    {1.0f, 300000, 0.5f, 0.0f, 1.0f, 8, 0},
};

enum { SETTING_COUNT = sizeof settings / sizeof settings[0], VOCAB = 262144 };

Test(sample, the_true_vocabulary_alone_and_in_a_crowd_as_the_reference) {
    const int32_t suppress[] = {258883, 258882};
    const int32_t history[] = {5, 5, 262143, 17, -1};
    BatchSequence sequences[SETTING_COUNT];
    const BatchSequence *pointers[SETTING_COUNT];
    float *logits = malloc((size_t)SETTING_COUNT * VOCAB * sizeof *logits);
    float *copy = malloc((size_t)SETTING_COUNT * VOCAB * sizeof *copy);
    for (uint32_t s = 0; s < SETTING_COUNT; s++) {
        sequences[s] = (BatchSequence){.sampling = settings[s],
                                       .draw = 1000 + s,
                                       .history = history,
                                       .history_count = 5,
                                       .tag = s};
        pointers[s] = &sequences[s];
        for (uint32_t i = 0; i < VOCAB; i++) {
            logits[(size_t)s * VOCAB + i] = prng_normal(99, s, i) * 3.0f;
        }
        logits[(size_t)s * VOCAB + 258882] = 29.0f; // would win (model.md 0, item 9)
    }
    StepSample wanted[SETTING_COUNT], got[SETTING_COUNT], alone;
    Backend reference = isa_open(CPU_ISA_REFERENCE, 1);
    memcpy(copy, logits, (size_t)SETTING_COUNT * VOCAB * sizeof *copy);
    int32_t drawn[SETTING_COUNT];
    OpSample op = {SETTING_COUNT, pointers, NULL,   NULL,  copy, VOCAB,
                   suppress,      2,        wanted, drawn, {0}};
    cr_assert_eq(reference.ops->sample(reference.context, &op), OK);
    for
        EACH_ISA(isa) {
            Backend backend = isa_open(isa, 2);
            memcpy(copy, logits, (size_t)SETTING_COUNT * VOCAB * sizeof *copy);
            op.out = got;
            cr_assert_eq(backend.ops->sample(backend.context, &op), OK);
            for (uint32_t s = 0; s < SETTING_COUNT; s++) {
                cr_assert_eq(got[s].chosen.token, wanted[s].chosen.token,
                             "%s setting %u: %d, not %d", cpu_isa_name(isa), s, got[s].chosen.token,
                             wanted[s].chosen.token);
                assert_close(&got[s].chosen.logprob, &wanted[s].chosen.logprob, 1,
                             TOLERANCE_LOGPROB, "logprob");
                cr_assert_eq(got[s].top_count, wanted[s].top_count);
                for (uint32_t i = 0; i < got[s].top_count; i++) {
                    cr_assert_eq(got[s].top[i].token, wanted[s].top[i].token);
                }
                alone =
                    sample(&backend, pointers[s], logits + (size_t)s * VOCAB, VOCAB, suppress, 2);
                cr_assert_eq(alone.chosen.token, got[s].chosen.token);
                cr_assert_eq(memcmp(&alone.chosen.logprob, &got[s].chosen.logprob, sizeof(float)),
                             0);
            }
            backend.close(backend.context);
        }
    free(logits);
    free(copy);
    reference.close(reference.context);
}

Test(sample, ties_go_to_the_lowest_id_and_damaged_logits_are_passed_over) {
    float logits[100] = {0};
    for (size_t b = 0; b < sizeof isas / sizeof isas[0]; b++) {
        if (!cpu_isa_available(isas[b])) {
            continue;
        }
        Backend backend = isa_open(isas[b], 1);
        StepSample out;
        BatchSequence greedy = {.sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f}};
        BatchSequence warm = greedy;
        warm.sampling.temperature = 1.0f;
        warm.sampling.top_k = 3;
        for (int i = 0; i < 100; i++) {
            logits[i] = i == 40 || i == 71 ? 2.0f : -1.0f;
        }
        out = sample(&backend, &greedy, logits, 100, NULL, 0);
        cr_assert_eq(out.chosen.token, 40);
        logits[40] = NAN;
        out = sample(&backend, &greedy, logits, 100, NULL, 0);
        cr_assert_eq(out.chosen.token, 71);
        logits[3] = INFINITY;
        logits[5] = -INFINITY;
        out = sample(&backend, &warm, logits, 100, NULL, 0);
        cr_assert_eq(out.chosen.token, 3);
        for (int i = 0; i < 100; i++) {
            logits[i] = i % 2 == 0 ? NAN : -INFINITY;
        }
        out = sample(&backend, &warm, logits, 100, NULL, 0);
        cr_assert_eq(out.chosen.token, -1, "nothing is left");
        backend.close(backend.context);
    }
}

// Sets of words that are full, empty and mixed; the last one ends inside a word.
static void fill_set(uint32_t *set, uint32_t vocab, uint32_t kind) {
    for (uint32_t w = 0; w < batch_token_words(vocab); w++) {
        uint32_t mixed = (uint32_t)prng_u64(13, kind, w);
        set[w] = kind == 0 ? UINT32_MAX : kind == 1 ? mixed : kind == 2 && w % 3 > 0 ? 0 : mixed;
    }
    if (kind == 3) {
        memset(set, 0, batch_token_words(vocab) * sizeof *set);
        set[71 / 32] = 1u << 71 % 32;
    }
}

// Truth is the same row whose other logits are -inf from the start, drawn without a set.
Test(sample, a_set_of_allowed_tokens_is_as_if_all_others_had_no_chance) {
    enum { SMALL = 1003, KINDS = 4 };
    uint32_t set[SMALL / 32 + 1];
    float logits[SMALL], left[SMALL];
    const int32_t history[] = {5, 900, 71, 5};
    const int32_t suppress[] = {8, 64};
    for (uint32_t i = 0; i < SMALL; i++) {
        logits[i] = prng_normal(98, 0, i) * 3.0f;
    }
    for (size_t b = 0; b < sizeof isas / sizeof isas[0]; b++) {
        if (!cpu_isa_available(isas[b])) {
            continue;
        }
        Backend backend = isa_open(isas[b], 1);
        for (uint32_t n = 0; n < KINDS * SETTING_COUNT; n++) {
            BatchSequence sequence = {
                .sampling = settings[n / KINDS], .draw = n, .history = history, .history_count = 4};
            StepSample wanted, got;
            fill_set(set, SMALL, n % KINDS);
            for (uint32_t i = 0; i < SMALL; i++) {
                left[i] = batch_token_in(set, i) ? logits[i] : -INFINITY;
            }
            wanted = sample(&backend, &sequence, left, SMALL, suppress, 2);
            sequence.allowed = set;
            got = sample(&backend, &sequence, logits, SMALL, suppress, 2);
            cr_assert_eq(memcmp(&got, &wanted, sizeof got), 0, "%s case %u: %d, not %d",
                         cpu_isa_name(isas[b]), n, got.chosen.token, wanted.chosen.token);
            cr_assert(batch_token_in(set, (uint32_t)got.chosen.token));
        }
        BatchSequence none = {.sampling = settings[0], .allowed = set};
        StepSample out;
        memset(set, 0, sizeof set);
        out = sample(&backend, &none, logits, SMALL, NULL, 0);
        cr_assert_eq(out.chosen.token, -1, "nothing is left");
        backend.close(backend.context);
    }
}

// A penalty that decides: the last token of the history would win, and is penalised once whether
// the host knows it or only the step before does, and also where it had been there already.
Test(sample, the_penalty_counts_a_token_that_the_step_before_drew) {
    const int32_t histories[2][4] = {{2, 2, -1, 5}, {5, 2, -1, 5}};
    float logits[100] = {0};
    logits[5] = 3.0f;
    logits[9] = 2.0f;
    for (size_t b = 0; b < sizeof isas / sizeof isas[0]; b++) {
        if (!cpu_isa_available(isas[b])) {
            continue;
        }
        Backend backend = isa_open(isas[b], 1);
        for (int h = 0; h < 2; h++) {
            BatchSequence known = {
                .sampling = {.top_p = 1.0f, .repetition_penalty = 1.6f, .logprobs = 20},
                .history = histories[h],
                .history_count = 4};
            BatchSequence pending = known, without = known;
            pending.history_count = without.history_count = 3;
            pending.history_drawn = 2; // drawn_before[1]
            StepSample wanted, got, other;
            wanted = sample(&backend, &known, logits, 100, NULL, 0);
            got = sample(&backend, &pending, logits, 100, NULL, 0);
            other = sample(&backend, &without, logits, 100, NULL, 0);
            cr_assert_eq(wanted.chosen.token, 9, "%s", cpu_isa_name(isas[b]));
            cr_assert_eq(memcmp(&got, &wanted, sizeof got), 0, "%s", cpu_isa_name(isas[b]));
            cr_assert_eq(other.chosen.token, h == 0 ? 5 : 9);
        }
        backend.close(backend.context);
    }
}

// 4000 draws from a known distribution; chi square with 3 degrees of freedom is below 16.3 with
// probability 0.999, and the seed is fixed, so this cannot flicker.
Test(sample, draws_follow_the_probabilities) {
    const float logits[4] = {0.0f, 1.0f, -1.0f, 0.5f};
    double total = 0.0, chi = 0.0;
    uint32_t counts[4] = {0};
    Backend backend = isa_open(CPU_ISA_AUTO, 1);
    for (uint32_t d = 0; d < 4000; d++) {
        BatchSequence sequence = {.sampling = {.temperature = 1.0f,
                                               .top_p = 1.0f,
                                               .repetition_penalty = 1.0f,
                                               .seed = 77},
                                  .draw = d};
        StepSample out = sample(&backend, &sequence, logits, 4, NULL, 0);
        counts[out.chosen.token]++;
    }
    for (int i = 0; i < 4; i++) {
        total += exp((double)logits[i]);
    }
    for (int i = 0; i < 4; i++) {
        double expected = 4000.0 * exp((double)logits[i]) / total;
        chi += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    cr_assert_lt(chi, 16.3);
    backend.close(backend.context);
}
