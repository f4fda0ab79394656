// SPDX-License-Identifier: Apache-2.0
// The panel layout: the addresses of matrix.h written out once more, against matrix_value,
// matrix_row and what matrix_pack stores, at shapes that fill panels and groups and at shapes that
// do not.
#include "weights/matrix_pack.h"

#include "base/f16.h"
#include "base/prng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t SHAPES[][2] = {{1, 1},   {1, 128},  {15, 31},  {16, 32},
                                     {17, 33}, {40, 129}, {33, 300}, {64, 256}};

typedef struct Packed {
    Matrix matrix;
    float *original;
} Packed;

static float sample(size_t i) {
    return prng_normal(7, 1, i) * 0.05f;
}

static Packed packed_open(WeightLevel level, uint32_t rows, uint32_t columns, uint32_t group) {
    Packed packed = {.matrix = matrix_shape(level, rows, columns, group)};
    Matrix *matrix = &packed.matrix;
    size_t codes = matrix_codes_bytes(level, rows, matrix->padded_columns);
    size_t scales = matrix_scales_bytes(level, rows, matrix->padded_columns, group);
    uint8_t *memory = aligned_alloc(64, num_round_up(codes, 64));
    uint16_t *scale_memory = aligned_alloc(64, num_round_up(scales + 1, 64));
    memset(memory, 0xee, codes); // padding must be written, not inherited
    memset(scale_memory, 0xee, scales);
    matrix->codes = memory;
    matrix->scales = level >= LEVEL_INT8 ? scale_memory : NULL;
    packed.original = malloc((size_t)rows * columns * sizeof(float));
    for (size_t i = 0; i < (size_t)rows * columns; i++) {
        packed.original[i] = sample(i);
    }
    const MatrixPart part = {ELEMENT_F32, packed.original, rows, NULL};
    const MatrixParts whole = {&part, 1, ORDER_STACKED};
    Matrix writable = *matrix;
    writable.scales = scale_memory;
    cr_assert_eq(matrix_pack(&writable, &whole, 2, NULL, NULL), OK);
    if (level < LEVEL_INT8) {
        free(scale_memory);
    }
    return packed;
}

static void packed_close(Packed *packed) {
    free((void *)packed->matrix.codes);
    free((void *)packed->matrix.scales);
    free(packed->original);
}

// The formulas of the head comment of matrix.h, taken literally.
static float value_by_formula(const Matrix *m, size_t row, size_t k) {
    size_t p = row / 16, c = row % 16, C = m->padded_columns;
    const uint8_t *bytes = m->codes;
    if (m->level == LEVEL_F32) {
        return ((const float *)m->codes)[(p * C + k) * 16 + c];
    }
    if (m->level == LEVEL_BF16) {
        return bf16_to_f32(
            ((const uint16_t *)m->codes)[((p * (C / 2) + k / 2) * 16 + c) * 2 + k % 2]);
    }
    float scale = f16_to_f32(m->scales[(p * (C / m->group) + k / m->group) * 16 + c]);
    if (m->level == LEVEL_INT8) {
        return (float)(bytes[((p * (C / 4) + k / 4) * 16 + c) * 4 + k % 4] - 128) * scale;
    }
    uint8_t byte = bytes[((p * (C / 8) + k / 8) * 16 + c) * 4 + k % 4];
    return (float)(((k / 4) % 2 == 0 ? byte & 15 : byte >> 4) - 8) * scale;
}

static void each_shape(void (*check)(const Packed *packed)) {
    static const uint32_t groups[] = {32, 64, 128};
    for (size_t s = 0; s < sizeof SHAPES / sizeof *SHAPES; s++) {
        for (int level = 0; level < LEVEL_COUNT; level++) {
            for (size_t g = 0; g < (level >= LEVEL_INT8 ? 3 : 1); g++) {
                Packed packed =
                    packed_open((WeightLevel)level, SHAPES[s][0], SHAPES[s][1], groups[g]);
                check(&packed);
                packed_close(&packed);
            }
        }
    }
}

static void check_addresses(const Packed *packed) {
    const Matrix *m = &packed->matrix;
    for (uint32_t row = 0; row < matrix_padded_rows(m->rows); row++) {
        for (uint32_t k = 0; k < m->padded_columns; k++) {
            cr_assert_eq(matrix_value(m, row, k), value_by_formula(m, row, k));
        }
    }
}

Test(matrix, lies_where_the_formulas_say) {
    each_shape(check_addresses);
}

static void check_padding(const Packed *packed) {
    const Matrix *m = &packed->matrix;
    for (uint32_t row = 0; row < matrix_padded_rows(m->rows); row++) {
        for (uint32_t k = row < m->rows ? m->columns : 0; k < m->padded_columns; k++) {
            cr_assert_eq(matrix_value(m, row, k), 0.0f, "%s row %u column %u",
                         weight_level_name(m->level), row, k);
        }
    }
}

Test(matrix, is_zero_in_its_padding) {
    each_shape(check_padding);
}

static void check_rows(const Packed *packed) {
    const Matrix *m = &packed->matrix;
    float row[300];
    for (uint32_t i = 0; i < m->rows; i++) {
        matrix_row(m, i, row);
        for (uint32_t k = 0; k < m->columns; k++) {
            cr_assert_eq(row[k], matrix_value(m, i, k));
        }
    }
}

Test(matrix, gives_whole_rows_as_it_gives_values) {
    each_shape(check_rows);
}

static void check_values(const Packed *packed) {
    const Matrix *m = &packed->matrix;
    for (uint32_t i = 0; i < m->rows; i++) {
        for (uint32_t k = 0; k < m->columns; k++) {
            float w = packed->original[(size_t)i * m->columns + k];
            float stored = matrix_value(m, i, k);
            if (m->level == LEVEL_F32) {
                cr_assert_eq(stored, w);
            } else if (m->level == LEVEL_BF16) {
                cr_assert_eq(stored, bf16_to_f32(bf16_from_f32(w)));
            } else {
                // 4 standard deviations over 7 steps is a step of 0.03, half of it the error;
                // clipping may leave one whole step.
                cr_assert(fabsf(stored - w) < 0.035f);
            }
        }
    }
}

Test(matrix, holds_the_values_it_was_made_of) {
    each_shape(check_values);
}

Test(matrix, stacks_parts_of_different_types_in_order) {
    float a[3][5];
    uint16_t b[18][5], c[2][5];
    for (size_t i = 0; i < 15; i++) {
        (&a[0][0])[i] = sample(i);
    }
    for (size_t i = 0; i < 90; i++) {
        (&b[0][0])[i] = bf16_from_f32(sample(100 + i));
    }
    for (size_t i = 0; i < 10; i++) {
        (&c[0][0])[i] = f16_from_f32(sample(300 + i));
    }
    const MatrixPart parts[] = {
        {ELEMENT_F32, a, 3, NULL}, {ELEMENT_BF16, b, 18, NULL}, {ELEMENT_F16, c, 2, NULL}};
    const MatrixParts stacked = {parts, 3, ORDER_STACKED};
    Matrix m = matrix_shape(LEVEL_F32, 23, 5, 0);
    void *memory = aligned_alloc(64, matrix_codes_bytes(LEVEL_F32, 23, m.padded_columns));
    m.codes = memory;
    cr_assert_eq(matrix_pack(&m, &stacked, 1, NULL, NULL), OK);
    for (uint32_t k = 0; k < 5; k++) {
        cr_expect_eq(matrix_value(&m, 2, k), a[2][k]);
        cr_expect_eq(matrix_value(&m, 3, k), bf16_to_f32(b[0][k]));
        cr_expect_eq(matrix_value(&m, 20, k), bf16_to_f32(b[17][k]));
        cr_expect_eq(matrix_value(&m, 22, k), f16_to_f32(c[1][k]));
    }
    free(memory);
}

Test(matrix, alternates_panels_of_two_parts) {
    enum { ROWS = 20, COLUMNS = 3 };
    float gate[ROWS][COLUMNS], up[ROWS][COLUMNS];
    for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++) {
        (&gate[0][0])[i] = sample(i);
        (&up[0][0])[i] = sample(1000 + i);
    }
    const MatrixPart parts[] = {{ELEMENT_F32, gate, ROWS, NULL}, {ELEMENT_F32, up, ROWS, NULL}};
    const MatrixParts alternating = {parts, 2, ORDER_ALTERNATING};
    uint32_t rows = matrix_alternating_rows(ROWS, 2);
    cr_assert_eq(rows, 64);
    Matrix m = matrix_shape(LEVEL_F32, rows, COLUMNS, 0);
    void *memory = aligned_alloc(64, matrix_codes_bytes(LEVEL_F32, rows, m.padded_columns));
    m.codes = memory;
    cr_assert_eq(matrix_pack(&m, &alternating, 1, NULL, NULL), OK);
    for (uint32_t i = 0; i < 32; i++) {
        uint32_t row = i / 16 * 32 + i % 16;
        for (uint32_t k = 0; k < COLUMNS; k++) {
            cr_expect_eq(matrix_value(&m, row, k), i < ROWS ? gate[i][k] : 0.0f);
            cr_expect_eq(matrix_value(&m, row + 16, k), i < ROWS ? up[i][k] : 0.0f);
        }
    }
    free(memory);
}

Test(matrix, reads_sources_at_any_alignment) {
    uint8_t bytes[4 * 6 + 3];
    float values[6] = {1, -2, 3.5f, 0, 1e-20f, -7};
    for (size_t shift = 0; shift < 4; shift++) {
        float out[6];
        memcpy(bytes + shift, values, sizeof values);
        element_to_f32(ELEMENT_F32, bytes + shift, 6, 1, out);
        cr_expect_eq(memcmp(out, values, sizeof out), 0);
    }
}
