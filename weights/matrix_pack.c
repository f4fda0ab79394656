// SPDX-License-Identifier: Apache-2.0
// One tile at a time: up to 128 columns of the 16 rows of a panel are brought to f32 as
// [column][16], a few KiB that stay in the first-level cache, and then encoded. Panels are
// independent, so they are the unit of the fan-out.
#include "weights/matrix_pack.h"

#include "base/check.h"
#include "base/f16.h"
#include "weights/fanout.h"
#include "weights/finite.h"
#include "weights/quant.h"

#include <stdatomic.h>
#include <string.h>

typedef struct PackJob {
    const Matrix *matrix;
    const MatrixPart *parts;
    uint32_t part_count;
    MatrixOrder order;
    atomic_bool not_finite;
} PackJob;

Matrix matrix_shape(WeightLevel level, uint32_t rows, uint32_t columns, uint32_t group) {
    bool grouped = level >= LEVEL_INT8;
    REQUIRE(level < LEVEL_COUNT);
    REQUIRE(!grouped || group == 32 || group == 64 || group == 128);
    return (Matrix){
        .level = level,
        .rows = rows,
        .columns = columns,
        .padded_columns = matrix_padded_columns(level, columns, group),
        .group = grouped ? group : 0,
    };
}

// The part and the row of it that lie at row `row` of the matrix; NULL for padding.
static const uint8_t *pack_source_row(const PackJob *job, uint32_t row, ElementType *type) {
    const MatrixPart *part = job->parts;
    if (job->order == ORDER_ALTERNATING) {
        uint32_t panel = row / MATRIX_PANEL;
        part = &job->parts[panel % job->part_count];
        row = panel / job->part_count * MATRIX_PANEL + row % MATRIX_PANEL;
        if (row >= part->rows) {
            return NULL;
        }
    } else {
        const MatrixPart *end = job->parts + job->part_count;
        while (part < end && row >= part->rows) {
            row -= part->rows;
            part++;
        }
        if (part == end) {
            return NULL;
        }
    }
    *type = part->type;
    return (const uint8_t *)part->data +
           (size_t)row * job->matrix->columns * element_bytes(part->type);
}

static void pack_bf16_tile(const float *tile, size_t columns, uint16_t *out) {
    for (size_t k = 0; k < columns; k += 2) {
        for (size_t c = 0; c < MATRIX_PANEL; c++) {
            out[(k / 2 * MATRIX_PANEL + c) * 2] = bf16_from_f32(tile[k * MATRIX_PANEL + c]);
            out[(k / 2 * MATRIX_PANEL + c) * 2 + 1] =
                bf16_from_f32(tile[(k + 1) * MATRIX_PANEL + c]);
        }
    }
}

static void pack_panel(void *context, size_t panel) {
    PackJob *job = context;
    const Matrix *matrix = job->matrix;
    const uint8_t *rows[MATRIX_PANEL];
    ElementType types[MATRIX_PANEL] = {0};
    for (uint32_t c = 0; c < MATRIX_PANEL; c++) {
        rows[c] = pack_source_row(job, (uint32_t)panel * MATRIX_PANEL + c, &types[c]);
    }
    float tile[QUANT_GROUP_MAX * MATRIX_PANEL];
    size_t step = matrix->group != 0 ? matrix->group : MATRIX_COLUMN_ALIGN;
    for (size_t begin = 0; begin < matrix->padded_columns; begin += step) {
        size_t count = num_min(step, matrix->columns > begin ? matrix->columns - begin : 0);
        if (count < step) {
            memset(tile, 0, sizeof tile);
        }
        for (size_t c = 0; c < MATRIX_PANEL; c++) {
            if (rows[c] == NULL) {
                for (size_t k = 0; k < step; k++) {
                    tile[k * MATRIX_PANEL + c] = 0;
                }
            } else {
                element_to_f32(types[c], rows[c] + begin * element_bytes(types[c]), count,
                               MATRIX_PANEL, tile + c);
            }
        }
        // Codes before this tile: whole panels and the columns to the left.
        size_t before = (panel * matrix->padded_columns + begin) * MATRIX_PANEL;
        bool finite = true;
        switch (matrix->level) {
        case LEVEL_F32:
            memcpy((float *)matrix->codes + before, tile, step * MATRIX_PANEL * sizeof(float));
            finite = finite_all(ELEMENT_F32, tile, step * MATRIX_PANEL);
            break;
        case LEVEL_BF16:
            pack_bf16_tile(tile, step, (uint16_t *)matrix->codes + before);
            finite =
                finite_all(ELEMENT_BF16, (uint16_t *)matrix->codes + before, step * MATRIX_PANEL);
            break;
        case LEVEL_INT8:
            finite = quant_tile_int8(tile, step, (uint8_t *)matrix->codes + before,
                                     (uint16_t *)matrix->scales + before / step);
            break;
        default:
            finite = quant_tile_int4(tile, step, (uint8_t *)matrix->codes + before / 2,
                                     (uint16_t *)matrix->scales + before / step);
            break;
        }
        if (!finite) {
            atomic_store_explicit(&job->not_finite, true, memory_order_relaxed);
        }
    }
}

Status matrix_pack(const Matrix *matrix, const MatrixPart *parts, uint32_t part_count,
                   MatrixOrder order, uint32_t threads, Error *error) {
    uint64_t rows = 0;
    for (uint32_t i = 0; i < part_count; i++) {
        rows += order == ORDER_ALTERNATING ? matrix_padded_rows(parts[i].rows) : parts[i].rows;
    }
    REQUIRE(rows == matrix->rows);
    PackJob job = {.matrix = matrix, .parts = parts, .part_count = part_count, .order = order};
    fanout_run(threads, matrix_padded_rows(matrix->rows) / MATRIX_PANEL, pack_panel, &job);
    if (atomic_load(&job.not_finite)) {
        return error_set(error, E_TENSOR, "it holds a value that is not finite");
    }
    return OK;
}
