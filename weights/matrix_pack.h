// SPDX-License-Identifier: Apache-2.0
// From row-major tensors of a checkpoint, dense or coded, to the panels of matrix.h at any level.
// Several tensors may become one matrix: stacked (q, k, v) or alternating panel by panel (gate and
// up).
#ifndef WEIGHTS_MATRIX_PACK_H
#define WEIGHTS_MATRIX_PACK_H

#include "base/status.h"
#include "weights/element.h"
#include "weights/group_codes.h"
#include "weights/matrix.h"

typedef struct MatrixPart {
    ElementType type; // f32, bf16 or f16 of dense numbers
    const void *data; // [rows][matrix columns], row-major, any alignment
    uint32_t rows;
    const GroupCodes *codes; // of coded numbers, in the place of type and data; NULL: dense
} MatrixPart;

typedef enum MatrixOrder {
    ORDER_STACKED,     // the rows of part 0, then those of part 1, ...
    ORDER_ALTERNATING, // panel i holds rows 16 * (i / parts) .. of part i % parts, padded with 0
} MatrixOrder;

typedef struct MatrixParts {
    const MatrixPart *parts;
    uint32_t count;
    MatrixOrder order;
} MatrixParts;

// The shape of a matrix without its bytes. `group` is 32, 64 or 128 for int8 and int4, else
// ignored.
Matrix matrix_shape(WeightLevel level, uint32_t rows, uint32_t columns, uint32_t group);

// Rows of a matrix that alternates `parts` tensors of `rows` rows each.
static inline uint32_t matrix_alternating_rows(uint32_t rows, uint32_t parts) {
    return matrix_padded_rows(rows) * parts;
}

// Fills the codes and scales of `matrix`, whose memory must be writable and of matrix_codes_bytes
// and matrix_scales_bytes, padding included. Parts must make exactly the matrix' rows. Threads: see
// fanout.h. The result does not depend on the number of threads. E_TENSOR when a value is not
// finite, or is not once it is rounded to bf16.
//
// Coded parts pass into int8 and int4 code for code and scale for scale where group_codes_pass says
// so, group of the matrix by group; what does not pass is decoded and rounded as dense numbers are.
// `counts` (NULL: nobody asks) gains how they passed. At f32 all are exact, at bf16 none is.
Status matrix_pack(const Matrix *matrix, const MatrixParts *parts, uint32_t threads,
                   CodeCounts *counts, Error *error);

#endif
