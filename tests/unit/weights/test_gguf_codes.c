// SPDX-License-Identifier: Apache-2.0
// Blocks of GGUF described as group codes, against what the gguf package decodes them to, bit for
// bit. Fixtures: tests/golden/weights/make_codes.py.
#include "base/json.h"
#include "weights/matrix_pack.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN TEST_ROOT "/tests/golden/weights/codes.json"

typedef struct Blocks {
    uint32_t rows, columns;
    uint8_t *bytes;
    float *values;
    GroupCodes codes;
} Blocks;

static void *bytes_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    size_t count = strlen(text) / 2;
    uint8_t *bytes = malloc(count);
    for (size_t i = 0; i < count; i++) {
        const char digits[3] = {text[2 * i], text[2 * i + 1], 0};
        bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return bytes;
}

// Blocks of 32 columns: the scale, for Q4_1 the bias, then the codes.
static GroupCodes codes_of(const char *type, const Blocks *blocks) {
    bool bias = strcmp(type, "Q4_1") == 0, int8 = strcmp(type, "Q8_0") == 0;
    uint64_t head = bias ? 4 : 2, block = head + (int8 ? 32 : 16);
    return (GroupCodes){
        .form = int8 ? CODES_INT8 : CODES_HALVES,
        .zero = int8 || bias ? 0 : 8,
        .group = 32,
        .codes = blocks->bytes + head,
        .code_row_bytes = blocks->columns / 32 * block,
        .code_group_bytes = block,
        .scale_type = ELEMENT_F16,
        .scales = blocks->bytes,
        .biases = bias ? blocks->bytes + 2 : NULL,
        .scale_row_bytes = blocks->columns / 32 * block,
        .scale_group_bytes = block,
    };
}

static Blocks blocks_open(const char *type) {
    json_t *all;
    cr_assert_eq(json_parse_file(GOLDEN, 1 << 20, &all, NULL), OK);
    const json_t *row = json_object_get(all, type);
    cr_assert_not_null(row, "%s", type);
    Blocks blocks = {
        .rows = (uint32_t)json_integer_value(json_object_get(row, "rows")),
        .columns = (uint32_t)json_integer_value(json_object_get(row, "columns")),
        .bytes = bytes_of(row, "blocks"),
        .values = bytes_of(row, "values"),
    };
    blocks.codes = codes_of(type, &blocks);
    json_decref(all);
    return blocks;
}

static void blocks_close(Blocks *blocks) {
    free(blocks->bytes);
    free(blocks->values);
}

Test(gguf_codes, are_decoded_as_the_gguf_package_decodes_them) {
    static const char *const types[] = {"Q4_0", "Q4_1", "Q8_0"};
    for (size_t i = 0; i < 3; i++) {
        Blocks blocks = blocks_open(types[i]);
        for (uint32_t row = 0; row < blocks.rows; row++) {
            float found[256];
            const float *truth = blocks.values + (size_t)row * blocks.columns;
            const CodeRun whole = {row, 0, blocks.columns}, middle = {row, 19, 70};
            group_codes_to_f32(&blocks.codes, &whole, 1, found);
            cr_expect_eq(memcmp(found, truth, blocks.columns * sizeof *truth), 0, "%s", types[i]);
            group_codes_to_f32(&blocks.codes, &middle, 1, found);
            cr_expect_eq(memcmp(found, truth + 19, 70 * sizeof *truth), 0, "%s", types[i]);
        }
        blocks_close(&blocks);
    }
}

static void expect_panels(const char *type, WeightLevel level) {
    Blocks blocks = blocks_open(type);
    Matrix m = matrix_shape(level, blocks.rows, blocks.columns, 32);
    void *codes = aligned_alloc(64, matrix_codes_bytes(level, m.rows, m.padded_columns));
    void *scales = aligned_alloc(64, matrix_scales_bytes(level, m.rows, m.padded_columns, 32));
    m.codes = codes;
    m.scales = scales;
    const MatrixPart part = {.rows = blocks.rows, .codes = &blocks.codes};
    const MatrixParts parts = {&part, 1, ORDER_STACKED};
    CodeCounts counts = {0};
    cr_assert_eq(matrix_pack(&m, &parts, 1, &counts, NULL), OK);
    cr_expect_eq(counts.runs[PASS_EXACT], blocks.rows * blocks.columns / 32, "%s at %s", type,
                 weight_level_name(level));
    for (uint32_t row = 0; row < m.rows; row++) {
        for (uint32_t k = 0; k < m.columns; k++) {
            cr_assert_eq(matrix_value(&m, row, k), blocks.values[row * m.columns + k]);
        }
    }
    free(codes);
    free(scales);
    blocks_close(&blocks);
}

Test(gguf_codes, come_back_from_panels_as_the_gguf_package_decodes_them) {
    expect_panels("Q4_0", LEVEL_INT4);
    expect_panels("Q4_0", LEVEL_INT8);
    expect_panels("Q8_0", LEVEL_INT8);
}
