// SPDX-License-Identifier: Apache-2.0
// Synthetic weights: the true shapes, the promised spread, the same numbers every time.
#include "weights/store.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static Weights *open_synthetic(const char *name, WeightLevel level, uint32_t group) {
    const WeightsOptions options = {
        .level = level, .group = level >= LEVEL_INT8 ? group : 0, .threads = 2};
    Weights *weights;
    Error error;
    cr_assert_eq(weights_open(name, &options, &weights, &error), OK, "%s", error.text);
    return weights;
}

static void expect_spread(const char *name, const Matrix *matrix) {
    double sum = 0, squares = 0, count = (double)matrix->rows * matrix->columns;
    for (uint32_t row = 0; row < matrix->rows; row++) {
        for (uint32_t k = 0; k < matrix->columns; k++) {
            double w = (double)matrix_value(matrix, row, k);
            sum += w;
            squares += w * w;
        }
    }
    // A standard error of the deviation of n values is 1 / sqrt(2 n); n is 8192 at least.
    cr_expect(fabs(sqrt(squares / count) - 0.02) < 0.02 * 0.05, "%s: deviation %g", name,
              sqrt(squares / count));
    cr_expect(fabs(sum / count) < 4 * 0.02 / sqrt(count), "%s: mean %g", name, sum / count);
}

Test(synthetic, spreads_weights_around_zero_at_every_level) {
    for (int level = 0; level < LEVEL_COUNT; level++) {
        Weights *weights = open_synthetic("synthetic:tiny", (WeightLevel)level, 64);
        expect_spread(weight_level_name((WeightLevel)level), &weights->layers[0].qkv);
        expect_spread("down", &weights->layers[2].down);
        expect_spread("embedding", &weights->embedding);
        expect_spread("patches", &weights->vision.patch_dense);
        weights_close(weights);
    }
}

Test(synthetic, gives_norms_near_one_and_a_moderate_layer_scalar) {
    Weights *weights = open_synthetic("synthetic:tiny", LEVEL_COUNT, 0);
    for (uint32_t i = 0; i < weights->config.hidden; i++) {
        cr_expect(fabsf(weights->final_norm[i] - 1.0f) <= 0.1f);
        cr_expect(fabsf(weights->vision.patch_dense_bias[i]) <= 0.1f);
    }
    cr_expect(weights->layers[1].layer_scalar > 0.1f && weights->layers[1].layer_scalar < 1.0f);
    weights_close(weights);
}

Test(synthetic, is_int4_in_groups_of_32_unless_asked_otherwise) {
    Weights *weights = open_synthetic("synthetic:tiny", LEVEL_COUNT, 0);
    cr_expect_eq(weights->level, LEVEL_INT4);
    cr_expect_eq(weights->group, 32);
    cr_expect_eq(weights->embedding.level, LEVEL_INT8);
    cr_expect_eq(weights->vision.patch_dense.level, LEVEL_BF16);
    weights_close(weights);
}

// The last model is of 48 GB, more than the machine of a test has.
Test(synthetic, shape_only_has_the_sizes_and_takes_no_memory) {
    const WeightsOptions whole = {.level = LEVEL_INT8, .threads = 2},
                         shape = {.level = LEVEL_INT8, .shape_only = true};
    Weights *a, *b;
    cr_assert_eq(weights_open("synthetic:tiny", &whole, &a, NULL), OK);
    cr_assert_eq(weights_open("synthetic:tiny", &shape, &b, NULL), OK);
    const uint64_t *wanted = weights_manifest(a)->section_bytes;
    const uint64_t *found = weights_manifest(b)->section_bytes;
    cr_expect_eq(memcmp(wanted, found, SECTION_COUNT * sizeof *found), 0);
    cr_expect_eq(weights_bytes(a), weights_bytes(b));
    cr_expect_eq(a->layers[1].gate_up.rows, b->layers[1].gate_up.rows);
    weights_close(a);
    weights_close(b);
    const WeightsOptions truth = {.level = LEVEL_F32, .shape_only = true};
    cr_assert_eq(weights_open("synthetic:gemma-4-12b", &truth, &b, NULL), OK);
    cr_expect_gt(weights_manifest(b)->section_bytes[SECTION_DECODER], UINT64_C(40) << 30);
    weights_close(b);
}

Test(synthetic, makes_the_same_bytes_with_any_number_of_threads) {
    const WeightsOptions one = {.level = LEVEL_INT8, .threads = 1};
    const WeightsOptions many = {.level = LEVEL_INT8, .threads = 7};
    Weights *a, *b;
    cr_assert_eq(weights_open("synthetic:tiny", &one, &a, NULL), OK);
    cr_assert_eq(weights_open("synthetic:tiny", &many, &b, NULL), OK);
    cr_expect_eq(memcmp(a->store->block, b->store->block, a->store->block_bytes), 0);
    weights_close(a);
    weights_close(b);
}

// The parameters of the released checkpoint, whose sum is 11,959,730,224 (model.md section 2), less
// the layers left out: what synthetic:gemma-4-12b would hold, counted from its manifest alone.
Test(synthetic, counts_the_parameters_of_the_released_model) {
    Gemma4Config config = {.hidden = 3840,
                           .intermediate = 15360,
                           .layer_count = 48,
                           .vocab_count = 262144,
                           .has_vision = true,
                           .patch_values = 6912,
                           .vision_hidden = 3840,
                           .position_count = 1120,
                           .has_audio = true,
                           .audio_frame = 640};
    for (uint32_t i = 0; i < 48; i++) {
        bool full = (i + 1) % 6 == 0;
        config.layers[i] = full ? (LayerShape){LAYER_FULL, 16, 1, 512, true, 64}
                                : (LayerShape){LAYER_SLIDING, 16, 8, 256, false, 128};
    }
    Manifest manifest;
    ManifestLevels levels = {LEVEL_BF16, 0, LEVEL_BF16};
    cr_assert_eq(manifest_build(&config, levels, &manifest, NULL), OK);
    uint64_t parameters = 0, tensors = 0;
    for (uint32_t i = 0; i < manifest.count; i++) {
        for (uint32_t j = 0; j < manifest.pieces[i].source_count; j++) {
            const PieceSource *source = &manifest.pieces[i].sources[j];
            uint64_t product;
            cr_assert(num_product(source->shape, source->rank, &product));
            parameters += product;
            tensors++;
        }
    }
    cr_expect_eq(parameters, 11959730224u);
    cr_expect_eq(tensors, 677);
    manifest_free(&manifest);
}

Test(synthetic, names_the_models_there_are) {
    const WeightsOptions options = {.level = LEVEL_COUNT};
    Weights *weights;
    Error error;
    cr_expect_eq(weights_open("synthetic:gemma-5", &options, &weights, &error), E_NOT_FOUND);
    cr_expect_not_null(strstr(error.text, "gemma-4-12b-2l"), "%s", error.text);
}

Test(synthetic, says_how_many_bytes_do_not_fit) {
    // 12 billion weights in f32 are 44.6 GiB; on a larger machine there is nothing to see.
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
    if ((double)pages * (double)page > 40e9) {
        cr_skip_test("this machine has room");
    }
    const WeightsOptions options = {.level = LEVEL_F32};
    Weights *weights;
    Error error;
    cr_expect_eq(weights_open("synthetic:gemma-4-12b", &options, &weights, &error), E_MEMORY);
    cr_expect_not_null(strstr(error.text, "44."), "%s", error.text);
}
