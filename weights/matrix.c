// SPDX-License-Identifier: Apache-2.0
#include "weights/matrix.h"

#include "base/check.h"
#include "base/f16.h"

// Index of the first code of 16 rows at column k of a panel, in units of one code of `per` columns.
static inline size_t matrix_slot(const Matrix *matrix, uint32_t row, size_t column, size_t per) {
    size_t panel = row / MATRIX_PANEL;
    return (panel * (matrix->padded_columns / per) + column / per) * MATRIX_PANEL +
           row % MATRIX_PANEL;
}

static inline float matrix_scale(const Matrix *matrix, uint32_t row, size_t column) {
    return f16_to_f32(matrix->scales[matrix_slot(matrix, row, column, matrix->group)]);
}

static inline int matrix_code(const Matrix *matrix, uint32_t row, size_t column) {
    const uint8_t *codes = matrix->codes;
    if (matrix->level == LEVEL_INT8) {
        return codes[matrix_slot(matrix, row, column, 4) * 4 + column % 4] - 128;
    }
    uint8_t pair = codes[matrix_slot(matrix, row, column, 8) * 4 + column % 4];
    return ((column / 4) % 2 == 0 ? pair & 15 : pair >> 4) - 8;
}

float matrix_value(const Matrix *matrix, uint32_t row, uint32_t column) {
    REQUIRE(row < matrix_padded_rows(matrix->rows) && column < matrix->padded_columns);
    switch (matrix->level) {
    case LEVEL_F32:
        return ((const float *)matrix->codes)[matrix_slot(matrix, row, column, 1)];
    case LEVEL_BF16:
        return bf16_to_f32((
            (const uint16_t *)matrix->codes)[matrix_slot(matrix, row, column, 2) * 2 + column % 2]);
    default:
        return (float)matrix_code(matrix, row, column) * matrix_scale(matrix, row, column);
    }
}

void matrix_row(const Matrix *matrix, uint32_t row, float *out) {
    REQUIRE(row < matrix->rows);
    size_t columns = matrix->columns;
    if (matrix->level == LEVEL_F32) {
        const float *from = (const float *)matrix->codes + matrix_slot(matrix, row, 0, 1);
        for (size_t k = 0; k < columns; k++) {
            out[k] = from[k * MATRIX_PANEL];
        }
    } else if (matrix->level == LEVEL_BF16) {
        const uint16_t *from = (const uint16_t *)matrix->codes + matrix_slot(matrix, row, 0, 2) * 2;
        for (size_t k = 0; k < columns; k++) {
            out[k] = bf16_to_f32(from[k / 2 * MATRIX_PANEL * 2 + k % 2]);
        }
    } else {
        for (size_t begin = 0; begin < columns; begin += matrix->group) {
            float scale = matrix_scale(matrix, row, begin);
            size_t end = num_min(begin + matrix->group, columns);
            for (size_t k = begin; k < end; k++) {
                out[k] = (float)matrix_code(matrix, row, k) * scale;
            }
        }
    }
}

const char *weight_level_name(WeightLevel level) {
    static const char *const names[LEVEL_COUNT] = {"f32", "bf16", "int8", "int4"};
    return level < LEVEL_COUNT ? names[level] : "unknown";
}
