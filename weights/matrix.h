// SPDX-License-Identifier: Apache-2.0
// A weight matrix as every backend is given it, and its panel layout.
//
// A Matrix [rows][columns] (rows = outputs, columns = inputs, as in a checkpoint) is stored in
// panels of 16 rows, so that one vector register holds the same columns of 16 outputs. Rows are
// padded to 16 and columns to 32 (to the group for int8 and int4); padding has the value 0.
// With p = row / 16, c = row % 16 and C the padded columns, the address of (row, k) is
//   f32   float  [(p * C + k) * 16 + c]
//   bf16  uint16 [((p * C/2 + k/2) * 16 + c) * 2 + k % 2]
//   int8  byte   [((p * C/4 + k/4) * 16 + c) * 4 + k % 4]          stored q + 128, q in [-127, 127]
//   int4  byte   [((p * C/8 + k/8) * 16 + c) * 4 + k % 4]          stored q + 8, q in [-8, 7],
//                                 low nibble when (k / 4) % 2 == 0, high nibble when it is 1
//   scale f16    [(p * C/group + k/group) * 16 + c]                weight = q * scale
// The offset codes let the unsigned-by-signed dot product of AVX-512 VNNI run on them directly; the
// offset times the sum of the activations is taken off once per group. One int4 vector of 64 bytes
// is columns 8i .. 8i+3 of 16 rows in the low nibbles and 8i+4 .. 8i+7 in the high ones. A GPU
// backend permutes 4-byte quads (4 columns of one row) into its own order on upload.
#ifndef WEIGHTS_MATRIX_H
#define WEIGHTS_MATRIX_H

#include "base/num.h"

#include <stddef.h>
#include <stdint.h>

typedef enum WeightLevel { LEVEL_F32, LEVEL_BF16, LEVEL_INT8, LEVEL_INT4, LEVEL_COUNT } WeightLevel;

enum { MATRIX_PANEL = 16, MATRIX_COLUMN_ALIGN = 32, MATRIX_BYTES_ALIGN = 64 };

typedef struct Matrix {
    WeightLevel level;
    uint32_t rows;           // outputs
    uint32_t columns;        // inputs
    uint32_t padded_columns; // C above
    uint32_t group;          // 32, 64 or 128 for int8 and int4, else 0
    const void *codes;       // 64-byte aligned panels; never owned by the Matrix
    const uint16_t *scales;  // f16, 64-byte aligned; NULL for f32 and bf16
} Matrix;

static inline uint32_t matrix_padded_columns(WeightLevel level, uint32_t columns, uint32_t group) {
    uint32_t align = level >= LEVEL_INT8 ? group : (uint32_t)MATRIX_COLUMN_ALIGN;
    return (uint32_t)num_round_up(columns, align);
}

static inline uint32_t matrix_padded_rows(uint32_t rows) {
    return (uint32_t)num_round_up(rows, MATRIX_PANEL);
}

// Bytes of the codes and of the scales, for 32-bit shapes never overflowing 64 bits.
static inline size_t matrix_codes_bytes(WeightLevel level, uint32_t rows, uint32_t padded_columns) {
    static const uint32_t bits[LEVEL_COUNT] = {32, 16, 8, 4};
    return (size_t)matrix_padded_rows(rows) * padded_columns * bits[level] / 8;
}

static inline size_t matrix_scales_bytes(WeightLevel level, uint32_t rows, uint32_t padded_columns,
                                         uint32_t group) {
    return level >= LEVEL_INT8 ? (size_t)matrix_padded_rows(rows) * (padded_columns / group) * 2
                               : 0;
}

// The value at (row, column) in f32: the definition of the layout, for tests and row gathers.
float matrix_value(const Matrix *matrix, uint32_t row, uint32_t column);

// Row `row` as f32 into out[columns]: embedding lookup.
void matrix_row(const Matrix *matrix, uint32_t row, float *out);

const char *weight_level_name(WeightLevel level); // "f32", "bf16", "int8", "int4"

#endif
