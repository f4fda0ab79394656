// SPDX-License-Identifier: Apache-2.0
// One layer pair of the true 12B shape (hidden 3840, head sizes 256 and 512, patches of 6,912
// values) against transformers (shape12b/make_shape12b.py): our synthetic weights, the first rows
// of the vocabulary, a prompt with a picture, 64 greedy tokens. About 3 GB and some seconds.
#include "tests/support/model_case.h"

#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { VOCAB = 2048, KEPT = 4, GREEDY = 64, PATCH_VALUES = 6912 };
static const uint32_t kept_rows[KEPT] = {0, 7, 10, 17};

static Npy read_array(const char *name, const char *type) {
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/golden/shape12b/%s.npy", TEST_ROOT, name);
    Error error = {0};
    Npy out;
    cr_assert_eq(npy_read(path, type, &out, &error), OK, "%s", error.text);
    return out;
}

static uint8_t *pixels_of(uint32_t patch_count) {
    uint8_t *pixels = malloc((size_t)patch_count * PATCH_VALUES);
    for (uint32_t p = 0; p < patch_count; p++) {
        for (uint32_t i = 0; i < PATCH_VALUES; i++) {
            pixels[(size_t)p * PATCH_VALUES + i] = (uint8_t)(i * 37 + i / 144 * 11 + p * 101);
        }
    }
    return pixels;
}

static double worst_error(const float *ours, const float *theirs) {
    double worst = 0.0;
    for (uint32_t k = 0; k < KEPT; k++) {
        double difference = 0.0, largest = 0.0;
        for (uint32_t v = 0; v < VOCAB; v++) {
            double a = (double)ours[(size_t)kept_rows[k] * VOCAB + v];
            double b = (double)theirs[(size_t)k * VOCAB + v];
            difference = fabs(a - b) > difference || isnan(a) ? fabs(a - b) : difference;
            largest = fmax(largest, fabs(b));
        }
        worst = fmax(worst, difference / largest);
    }
    return worst;
}

Test(golden_shape12b, equals_transformers) {
    Error error = {0};
    Weights *weights;
    WeightsOptions options = {.level = LEVEL_BF16};
    cr_assert_eq(weights_open("synthetic:gemma-4-12b-2l", &options, &weights, &error), OK, "%s",
                 error.text);
    // The first rows of the vocabulary lie first in the panels, so a shorter matrix is a view.
    weights->embedding.rows = weights->config.vocab_count = VOCAB;
    weights->config.generation.suppress_count = 0;
    Npy tokens = read_array("tokens", "i4"), spans = read_array("spans", "i4"),
        positions = read_array("positions", "u2"), logits = read_array("logits", "f4"),
        greedy = read_array("greedy", "i4");
    const int32_t *span = spans.data;
    uint8_t *pixels = pixels_of((uint32_t)span[1]);
    BuilderPrompt prompt = {.tokens = tokens.data,
                            .token_count = (uint32_t)tokens.count,
                            .images = {{.position_first = (uint32_t)span[0],
                                        .patch_count = (uint32_t)span[1],
                                        .pixels = pixels,
                                        .positions = positions.data}},
                            .image_count = 1,
                            .sampling = batch_builder_greedy()};
    prompt.sampling.repetition_penalty = 8.0f; // else random weights repeat one token for ever
    float *ours = malloc(tokens.count * VOCAB * sizeof *ours);
    int32_t drawn[GREEDY];
    for (uint32_t rows = 0; rows <= 4; rows += 4) { // in one step, in chunks
        RunOptions run = {
            .threads = 2, .activation = ENGINE_ACTIVATION_F32, .kv = ENGINE_KV_F32, .rows = rows};
        uint32_t count = rows == 0 ? GREEDY : 1;
        CaseOutput out = {ours, drawn, count};
        cr_assert_eq(model_run_case(weights, &prompt, &run, out, &error), OK, "%s", error.text);
        double worst = worst_error(ours, logits.data);
        cr_log_info("relative error %.2e", worst);
        cr_expect(worst <= 2e-4, "%u rows a step: relative error %.2e", rows, worst);
        cr_expect_arr_eq(drawn, greedy.data, count * sizeof *drawn);
    }
    free(ours);
    free(pixels);
    npy_free(&tokens);
    npy_free(&spans);
    npy_free(&positions);
    npy_free(&logits);
    npy_free(&greedy);
    weights_close(weights);
}
