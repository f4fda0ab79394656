// SPDX-License-Identifier: Apache-2.0
// Hugging Face folders: what transformers wrote is what we hold, element by element; and every way
// a folder can be wrong is named. Fixtures: tests/golden/weights/make_weights.py.
#include "base/json.h"
#include "fixture.h"
#include "weights/store.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN TEST_ROOT "/tests/golden/weights/"

static Weights *open_folder(const char *folder, WeightLevel level) {
    const WeightsOptions options = {.level = level, .threads = 2};
    Weights *weights;
    Error error;
    Status status = weights_open(folder, &options, &weights, &error);
    cr_assert_eq(status, OK, "%s", error.text);
    return weights;
}

// sum_i value_i * frac((i + 1) * phi), as make_weights.py forms it.
static double weighted_sum(const WeightsStore *store, const Piece *piece, size_t *count) {
    double sum = 0;
    size_t i = 0;
    const uint8_t *bytes = store->sections[piece->section] + piece->offset;
    Matrix matrix = piece->matrix;
    matrix.codes = bytes;
    uint32_t rows = piece->kind == PIECE_MATRIX ? matrix.rows : 1;
    uint32_t columns = piece->kind == PIECE_MATRIX ? matrix.columns : (uint32_t)piece->length;
    for (uint32_t row = 0; row < rows; row++) {
        for (uint32_t k = 0; k < columns; k++) {
            double index = (double)++i * 0.6180339887498949;
            double value = piece->kind == PIECE_MATRIX ? (double)matrix_value(&matrix, row, k)
                                                       : (double)((const float *)bytes)[k];
            sum += value * (index - floor(index));
        }
    }
    *count = i;
    return sum;
}

static void expect_as_transformers_reads(const char *name) {
    Buffer path = {0};
    buffer_printf(&path, GOLDEN "%s", name);
    Weights *weights = open_folder((char *)path.data, LEVEL_F32);
    buffer_free(&path);
    json_t *all;
    cr_assert_eq(json_parse_file(GOLDEN "expected.json", 1 << 20, &all, NULL), OK);
    const json_t *expected = json_object_get(all, name);
    const json_t *pieces = json_object_get(expected, "pieces");
    const Manifest *manifest = &weights->store->manifest;
    cr_assert_eq(json_object_size(pieces), manifest->count);
    for (uint32_t i = 0; i < manifest->count; i++) {
        const Piece *piece = &manifest->pieces[i];
        const json_t *row = json_object_get(pieces, piece->name);
        cr_assert_not_null(row, "%s", piece->name);
        uint64_t elements = 1;
        for (size_t j = 0; j < json_array_size(json_object_get(row, "shape")); j++) {
            elements *=
                (uint64_t)json_integer_value(json_array_get(json_object_get(row, "shape"), j));
        }
        size_t count;
        double sum = weighted_sum(weights->store, piece, &count);
        cr_expect_eq(count, elements, "%s", piece->name);
        // Values are exact in f32 from all three types; only the order of a double sum differs.
        double truth = json_number_value(json_object_get(row, "sum"));
        cr_expect_float_eq(sum, truth, 1e-9, "%s: %.17g, expected %.17g", piece->name, sum, truth);
    }
    double scale = json_number_value(json_object_get(expected, "embed_scale"));
    cr_expect_float_eq((double)weights->config.embed_scale, scale, 1e-6 * scale);
    json_decref(all);
    weights_close(weights);
}

Test(folder, holds_a_sharded_f32_checkpoint_as_transformers_reads_it) {
    expect_as_transformers_reads("per_layer");
}

Test(folder, holds_a_bf16_checkpoint_in_the_flat_form_as_transformers_reads_it) {
    expect_as_transformers_reads("flat");
}

Test(folder, holds_an_f16_checkpoint_with_the_new_names_as_transformers_reads_it) {
    expect_as_transformers_reads("renamed");
}

Test(folder, loads_as_stored_when_no_level_is_asked) {
    Weights *f32 = open_folder(GOLDEN "per_layer", LEVEL_COUNT);
    Weights *bf16 = open_folder(GOLDEN "flat", LEVEL_COUNT);
    Weights *f16 = open_folder(GOLDEN "renamed", LEVEL_COUNT);
    cr_expect_eq(f32->level, LEVEL_F32);
    cr_expect_eq(f32->vision.patch_dense.level, LEVEL_F32);
    cr_expect_eq(bf16->level, LEVEL_BF16);
    cr_expect_eq(f16->level, LEVEL_BF16);
    cr_expect_eq(f16->vision.patch_dense.level, LEVEL_BF16);
    cr_expect(f16->config.has_vision && !f16->config.has_audio);
    weights_close(f32);
    weights_close(bf16);
    weights_close(f16);
}

Test(folder, quantizes_the_decoder_and_the_embedding_and_leaves_the_media_alone) {
    Weights *exact = open_folder(GOLDEN "flat", LEVEL_F32);
    Weights *weights = open_folder(GOLDEN "flat", LEVEL_INT4);
    cr_expect_eq(weights->group, 32);
    cr_expect_eq(weights->embedding.level, LEVEL_INT8);
    cr_expect_eq(weights->layers[2].down.level, LEVEL_INT4);
    cr_expect_eq(weights->vision.projection.level, LEVEL_BF16);
    cr_expect_eq(weights->audio.projection.level, LEVEL_BF16);
    double signal = 0, noise = 0;
    const Matrix *a = &exact->layers[1].gate_up, *b = &weights->layers[1].gate_up;
    cr_assert_eq(b->rows, 96); // 44 is three panels, twice
    for (uint32_t row = 0; row < b->rows; row++) {
        for (uint32_t k = 0; k < b->columns; k++) {
            double w = (double)matrix_value(a, row, k);
            double difference = w - (double)matrix_value(b, row, k);
            signal += w * w;
            noise += difference * difference;
        }
    }
    // Gaussian values at 4 bits in groups of 32 have about 21.8 dB (test_quant.c); 40 columns make
    // one whole group and one of 8 values, which is better still.
    cr_expect(signal / noise > 120.0, "signal to noise %g", signal / noise);
    weights_close(exact);
    weights_close(weights);
}

Test(folder, gives_the_same_bytes_with_any_number_of_threads) {
    const WeightsOptions one = {.level = LEVEL_INT4, .threads = 1};
    const WeightsOptions many = {.level = LEVEL_INT4, .threads = 5};
    Weights *a, *b;
    cr_assert_eq(weights_open(GOLDEN "flat", &one, &a, NULL), OK);
    cr_assert_eq(weights_open(GOLDEN "flat", &many, &b, NULL), OK);
    cr_assert_eq(a->store->block_bytes, b->store->block_bytes);
    cr_expect_eq(memcmp(a->store->block, b->store->block, a->store->block_bytes), 0);
    cr_expect_str_eq(a->identity, b->identity);
    weights_close(a);
    weights_close(b);
}

Test(folder, has_an_identity_that_names_the_model_and_the_level) {
    Weights *a = open_folder(GOLDEN "flat", LEVEL_BF16);
    Weights *b = open_folder(GOLDEN "flat", LEVEL_INT8);
    Weights *c = open_folder(GOLDEN "renamed", LEVEL_BF16);
    cr_expect_eq(strlen(a->identity), 32);
    cr_expect_str_neq(a->identity, b->identity);
    cr_expect_str_neq(a->identity, c->identity);
    weights_close(a);
    weights_close(b);
    weights_close(c);
}

Test(folder, aligns_every_array_to_64_bytes) {
    Weights *weights = open_folder(GOLDEN "flat", LEVEL_INT8);
    const Manifest *manifest = &weights->store->manifest;
    for (uint32_t i = 0; i < manifest->count; i++) {
        const Piece *piece = &manifest->pieces[i];
        const uint8_t *section = weights->store->sections[piece->section];
        cr_expect_eq((uintptr_t)(section + piece->offset) % MATRIX_BYTES_ALIGN, 0);
        cr_expect_eq((uintptr_t)(section + piece->scales_offset) % MATRIX_BYTES_ALIGN, 0);
    }
    weights_close(weights);
}

// Opens a copy of the flat fixture and expects an error whose text has all of `words`.
static void expect_refused(Fixture *fixture, Status expected, const char *const *words) {
    const WeightsOptions options = {.level = LEVEL_COUNT};
    Weights *weights;
    Error error = {0};
    Status status = weights_open(fixture->folder, &options, &weights, &error);
    cr_expect_eq(status, expected, "%s: %s", status_name(status), error.text);
    cr_expect_null(weights);
    for (; *words != NULL; words++) {
        cr_expect(strstr(error.text, *words) != NULL, "no \"%s\" in: %s", *words, error.text);
    }
    fixture_close(fixture);
}

#define EXPECT_REFUSED(fixture, status, ...)                                                       \
    expect_refused(fixture, status, (const char *const[]){__VA_ARGS__, NULL})

Test(folder, names_missing_surplus_misshapen_and_truncated_tensors_together) {
    Fixture fixture = fixture_open(GOLDEN "flat");
    fixture_replace(&fixture, "layers.0.mlp.up_proj.weight", "layers.0.mlp.uq_proj.weight");
    fixture_replace(&fixture, "\"shape\":[40,44]", "\"shape\":[44,40]");
    fixture_cut(&fixture, 10);
    EXPECT_REFUSED(
        &fixture, E_TENSOR, "model.language_model.layers.0.mlp.up_proj.weight [44, 40] is missing",
        "model.language_model.layers.0.mlp.uq_proj.weight [44, 40] is surplus",
        "layers.0.mlp.down_proj.weight has shape [44, 40], expected [40, 44]", "is truncated");
}

Test(folder, counts_the_complaints_that_do_not_fit) {
    Fixture fixture = fixture_open(GOLDEN "flat");
    fixture_replace_all(&fixture, "language_model.layers", "language_model.lawyers");
    EXPECT_REFUSED(&fixture, E_TENSOR, "is missing", " more");
}

Test(folder, names_a_type_it_does_not_read) {
    Fixture fixture = fixture_open(GOLDEN "flat");
    fixture_replace_all(&fixture, "\"BF16\"", "\"I16\"");
    EXPECT_REFUSED(&fixture, E_TENSOR,
                   "embed_tokens.weight has type I16, expected F32, F16 or BF16");
}

Test(folder, names_what_is_not_there) {
    Fixture fixture = fixture_open(GOLDEN "flat");
    fixture_remove(&fixture, "config.json");
    EXPECT_REFUSED(&fixture, E_NOT_FOUND, "config.json");
    fixture = fixture_open(GOLDEN "flat");
    fixture_remove(&fixture, "model.safetensors");
    EXPECT_REFUSED(&fixture, E_NOT_FOUND, "model.safetensors");
}

Test(folder, does_without_generation_and_processor_config) {
    Fixture fixture = fixture_open(GOLDEN "flat");
    fixture_remove(&fixture, "generation_config.json");
    fixture_remove(&fixture, "processor_config.json");
    Weights *weights = open_folder(fixture.folder, LEVEL_COUNT);
    cr_expect_eq(weights->config.image_budget, 70);
    cr_expect_eq(weights->config.generation.stop_count, 2);
    weights_close(weights);
    fixture_close(&fixture);
}

Test(folder, names_a_shard_that_is_missing_and_an_index_that_does_not_fit) {
    Fixture fixture = fixture_open(GOLDEN "per_layer");
    fixture_remove(&fixture, "model-00003-of-00004.safetensors");
    EXPECT_REFUSED(&fixture, E_NOT_FOUND, "model-00003-of-00004.safetensors");
    fixture = fixture_open(GOLDEN "per_layer");
    fixture_edit(&fixture, "model.safetensors.index.json",
                 "\"model.language_model.norm.weight\": \"model-0000",
                 "\"model.language_model.norn.weight\": \"model-0000");
    EXPECT_REFUSED(&fixture, E_CHECKPOINT, "model.language_model.norn.weight is not in its shard");
    fixture = fixture_open(GOLDEN "per_layer");
    fixture_edit(&fixture, "model.safetensors.index.json", "\"model-00002", "\"../el-00002");
    EXPECT_REFUSED(&fixture, E_CHECKPOINT, "is not mapped to the name of a file in the folder");
}

Test(folder, takes_the_single_file_when_there_is_an_index_too) {
    Fixture fixture = fixture_open(GOLDEN "per_layer");
    fixture_take(&fixture, "model.safetensors", GOLDEN "flat");
    Weights *weights = open_folder(fixture.folder, LEVEL_COUNT);
    cr_expect_eq(weights->level, LEVEL_BF16); // the shards are f32
    weights_close(weights);
    fixture_close(&fixture);
}

// Any file of a folder, of either form.
static const struct {
    const char *source, *file;
} FILES[] = {
    {GOLDEN "flat", "config.json"},
    {GOLDEN "flat", "generation_config.json"},
    {GOLDEN "flat", "processor_config.json"},
    {GOLDEN "flat", "model.safetensors"},
    {GOLDEN "per_layer", "model.safetensors.index.json"},
    {GOLDEN "per_layer", "model-00002-of-00004.safetensors"},
};

Test(folder, names_a_file_that_git_lfs_has_not_fetched) {
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:"
                                  "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
                                  "\nsize 12345\n";
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        Fixture fixture = fixture_open(FILES[i].source);
        fixture_write(&fixture, FILES[i].file, pointer);
        Weights *weights;
        Error error = {0};
        const WeightsOptions options = {.level = LEVEL_COUNT};
        cr_expect_neq(weights_open(fixture.folder, &options, &weights, &error), OK);
        cr_expect_not_null(strstr(error.text, FILES[i].file), "%s", error.text);
        cr_expect_not_null(strstr(error.text, "is a Git LFS pointer"), "%s", error.text);
        cr_expect_not_null(strstr(error.text, "git lfs pull"), "%s", error.text);
        fixture_close(&fixture);
    }
}

Test(folder, names_a_link_to_nothing) {
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        Fixture fixture = fixture_open(FILES[i].source);
        fixture_link(&fixture, FILES[i].file, "../../blobs/4d7a");
        EXPECT_REFUSED(&fixture, E_NOT_FOUND, FILES[i].file, "what it links to");
    }
}

Test(folder, refuses_options_that_do_not_exist) {
    const WeightsOptions group = {.level = LEVEL_INT4, .group = 48};
    Weights *weights;
    Error error;
    cr_expect_eq(weights_open(GOLDEN "flat", &group, &weights, &error), E_ARGUMENT);
    cr_expect_not_null(strstr(error.text, "48"));
    const WeightsOptions level = {.level = (WeightLevel)9};
    cr_expect_eq(weights_open(GOLDEN "flat", &level, &weights, &error), E_ARGUMENT);
}

Test(folder, opens_the_demo_model_at_every_level) {
    if (!file_is_folder(TEST_ROOT "/examples/demo-model")) {
        cr_skip_test("examples/demo-model is not there");
    }
    for (int level = 0; level < LEVEL_COUNT; level++) {
        Weights *weights = open_folder(TEST_ROOT "/examples/demo-model", (WeightLevel)level);
        cr_expect_eq(weights->config.patch_side, 48);
        cr_expect(weights_manifest(weights)->section_bytes[SECTION_DECODER] > 0);
        weights_close(weights);
    }
}
