// SPDX-License-Identifier: Apache-2.0
// A list of tensors of which one is coded, loaded as any other: the list of the flat fixture with a
// tensor exchanged, as a format of codes would give it.
#include "base/f16.h"
#include "weights/load.h"
#include "weights/safetensors.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#define FLAT  TEST_ROOT "/tests/golden/weights/flat"
#define QUERY "model.language_model.layers.0.self_attn.q_proj.weight"

enum { ROWS = 24, COLUMNS = 40 }; // of the query projection

typedef struct Material {
    TensorSource source;
    Weights *weights;
    GroupCodes codes;
    uint8_t bytes[ROWS][COLUMNS / 2];
    uint16_t scales[ROWS];
} Material;

// One scale for each row.
static void material_open(Material *m) {
    memset(m, 0, sizeof *m);
    cr_assert_eq(store_new(&m->weights, NULL), OK);
    WeightsStore *store = m->weights->store;
    cr_assert_eq(file_read(FLAT "/config.json", 1 << 20, &store->texts_owned[0], NULL), OK);
    store->texts.text[0] = (Bytes){store->texts_owned[0].data, store->texts_owned[0].length};
    cr_assert_eq(config_parse(&store->texts, &m->weights->config, NULL), OK);
    cr_assert_eq(safetensors_open(FLAT, &m->source, NULL), OK);
    for (uint32_t row = 0; row < ROWS; row++) {
        m->scales[row] = f16_from_f32(row % 2 == 0 ? 0.01f * (float)row : -0.02f);
        for (uint32_t i = 0; i < COLUMNS / 2; i++) {
            m->bytes[row][i] = (uint8_t)(row * 37 + i * 101);
        }
    }
    m->codes = (GroupCodes){
        .form = CODES_PAIRS,
        .zero = 8,
        .group = COLUMNS,
        .codes = m->bytes[0],
        .code_row_bytes = COLUMNS / 2,
        .scale_type = ELEMENT_F16,
        .scales = (const uint8_t *)m->scales,
        .scale_row_bytes = 2,
    };
}

static void material_close(Material *m) {
    source_close(&m->source);
    store_close(m->weights);
}

static void make_coded(Material *m, const char *name) {
    SourceTensor *tensor = (SourceTensor *)source_find(&m->source, name);
    cr_assert_not_null(tensor, "%s", name);
    tensor->codes = &m->codes;
    tensor->type = ELEMENT_OTHER;
    tensor->type_name = "int4";
    tensor->data = NULL;
    tensor->bytes = 0;
}

static Status load(Material *m, WeightLevel level, Error *error) {
    const WeightsOptions options = {.level = level, .threads = 2};
    return load_source(&m->source, &options, m->weights, error);
}

static void expect_refused(Material *m, WeightLevel level, const char *words) {
    Error error;
    cr_expect_eq(load(m, level, &error), E_TENSOR);
    cr_expect_not_null(strstr(error.text, words), "no \"%s\" in: %s", words, error.text);
    material_close(m);
}

static float value_of(const Material *m, uint32_t row, uint32_t k) {
    uint8_t byte = m->bytes[row][k / 2];
    return (float)((k % 2 == 0 ? byte & 15 : byte >> 4) - 8) * f16_to_f32(m->scales[row]);
}

Test(source, a_coded_tensor_keeps_its_codes_beside_dense_ones) {
    Material coded, dense;
    material_open(&coded);
    material_open(&dense);
    make_coded(&coded, QUERY);
    cr_assert_eq(load(&coded, LEVEL_INT4, NULL), OK);
    cr_assert_eq(load(&dense, LEVEL_INT4, NULL), OK);
    cr_assert_eq(store_finish(coded.weights, NULL), OK);
    cr_assert_eq(store_finish(dense.weights, NULL), OK);
    const Matrix *qkv = &coded.weights->layers[0].qkv, *plain = &dense.weights->layers[0].qkv;
    for (uint32_t row = 0; row < qkv->rows; row++) {
        for (uint32_t k = 0; k < COLUMNS; k++) {
            float truth = row < ROWS ? value_of(&coded, row, k) : matrix_value(plain, row, k);
            cr_assert_eq(matrix_value(qkv, row, k), truth, "row %u column %u", row, k);
        }
    }
    const CodeCounts *counts = coded.weights->store->coded;
    cr_expect_eq(counts[SECTION_DECODER].runs[PASS_EXACT], ROWS * 2); // groups of 32 in 40 columns
    cr_expect_eq(counts[SECTION_DECODER].runs[PASS_NONE], 0);
    cr_expect_eq(dense.weights->store->coded[SECTION_DECODER].runs[PASS_EXACT], 0);
    material_close(&coded);
    material_close(&dense);
}

Test(source, a_coded_tensor_of_another_shape_is_named) {
    Material m;
    material_open(&m);
    make_coded(&m, QUERY);
    ((SourceTensor *)source_find(&m.source, QUERY))->shape[1] = 64;
    expect_refused(&m, LEVEL_INT4, QUERY " has shape [24, 64], expected [24, 40]");
}

Test(source, a_coded_vector_is_named) {
    Material m;
    material_open(&m);
    make_coded(&m, "model.language_model.norm.weight");
    expect_refused(
        &m, LEVEL_INT4,
        "model.language_model.norm.weight has codes (int4), which only a matrix may have");
}

Test(source, a_scale_that_is_not_finite_is_named_with_its_place) {
    Material m;
    material_open(&m);
    make_coded(&m, QUERY);
    m.scales[9] = 0x7e00; // NaN
    expect_refused(&m, LEVEL_INT4, QUERY " holds NaN at [9, 0], which is not finite");
    material_open(&m);
    make_coded(&m, QUERY);
    m.scales[2] = 0x7c00; // infinite
    m.bytes[2][0] = 0x99;
    expect_refused(&m, LEVEL_BF16, QUERY " holds an infinity at [2, 0], which is not finite");
}

Test(source, a_type_that_is_neither_dense_nor_coded_is_named) {
    Material m;
    material_open(&m);
    make_coded(&m, QUERY);
    ((SourceTensor *)source_find(&m.source, QUERY))->codes = NULL;
    expect_refused(&m, LEVEL_INT4, QUERY " has type int4, expected F32, F16 or BF16");
}

Test(source, a_name_that_is_there_twice_is_an_error) {
    SourceTensor tensors[] = {
        {.name = "b", .file = "x"}, {.name = "a", .file = "x"}, {.name = "b", .file = "y"}};
    TensorSource source = {.tensors = tensors, .count = 2};
    cr_assert_eq(source_sort(&source, NULL), OK);
    cr_expect_str_eq(source_find(&source, "a")->name, "a");
    cr_expect_null(source_find(&source, "c"));
    source.count = 3;
    Error error;
    cr_expect_eq(source_sort(&source, &error), E_CHECKPOINT);
    cr_expect_not_null(strstr(error.text, "tensor b is in"), "%s", error.text);
}
