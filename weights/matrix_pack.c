// SPDX-License-Identifier: Apache-2.0
// One tile at a time: up to 128 columns of the 16 rows of a panel are brought to f32 as
// [column][16], a few KiB that stay in the first-level cache, and then encoded. Panels are
// independent, so they are the unit of the fan-out. Of coded rows those that pass as they are never
// become f32, unless a row beside them in the tile must.
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
    const MatrixParts *parts;
    atomic_bool not_finite;
    atomic_uint_fast64_t runs[PASS_NONE + 1]; // of coded parts, by how they passed
} PackJob;

// Where a row of the matrix comes from; no part for padding.
typedef struct PackRow {
    const MatrixPart *part;
    uint64_t row; // of the part
} PackRow;

typedef struct Panel {
    PackRow rows[MATRIX_PANEL];
    bool coded; // a row is
    CodeCounts counts;
} Panel;

// Up to 128 columns of the 16 rows of a panel.
typedef struct Tile {
    size_t begin, count; // columns that are there
    size_t step;         // columns with padding
    size_t before;       // codes of the matrix before: whole panels and the columns to the left
} Tile;

// The codes of a tile that pass as they are, row by row.
typedef struct TileCodes {
    CodePass pass[MATRIX_PANEL];
    int8_t q[MATRIX_PANEL][QUANT_GROUP_MAX];
    uint16_t scales[MATRIX_PANEL];
} TileCodes;

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

static PackRow pack_row(const MatrixParts *parts, uint32_t row) {
    const MatrixPart *part = parts->parts, *end = part + parts->count;
    if (parts->order == ORDER_ALTERNATING) {
        uint32_t panel = row / MATRIX_PANEL;
        part += panel % parts->count;
        row = panel / parts->count * MATRIX_PANEL + row % MATRIX_PANEL;
        return row < part->rows ? (PackRow){part, row} : (PackRow){0};
    }
    while (part < end && row >= part->rows) {
        row -= part->rows;
        part++;
    }
    return part < end ? (PackRow){part, row} : (PackRow){0};
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

static void row_decode(const Matrix *matrix, const PackRow *from, const Tile *tile, float *out) {
    const MatrixPart *part = from->part;
    if (part == NULL) {
        for (size_t k = 0; k < tile->step; k++) {
            out[k * MATRIX_PANEL] = 0;
        }
    } else if (part->codes != NULL) {
        const CodeRun run = {from->row, tile->begin, tile->count};
        group_codes_to_f32(part->codes, &run, MATRIX_PANEL, out);
    } else {
        const uint8_t *data = part->data;
        size_t at = from->row * matrix->columns + tile->begin;
        element_to_f32(part->type, data + at * element_bytes(part->type), tile->count, MATRIX_PANEL,
                       out);
    }
}

static void tile_decode(const Matrix *matrix, const Panel *panel, const Tile *tile, float *out) {
    if (tile->count < tile->step) {
        memset(out, 0, tile->step * MATRIX_PANEL * sizeof *out);
    }
    for (size_t c = 0; c < MATRIX_PANEL; c++) {
        row_decode(matrix, &panel->rows[c], tile, out + c);
    }
}

// Codes and scales of a tile where they lie in the matrix.
static uint8_t *tile_codes(const Matrix *matrix, const Tile *tile) {
    size_t bytes = matrix->level == LEVEL_INT4 ? tile->before / 2 : tile->before;
    return (uint8_t *)matrix->codes + bytes;
}

static uint16_t *tile_scales(const Matrix *matrix, const Tile *tile) {
    return (uint16_t *)matrix->scales + tile->before / tile->step;
}

// False when a value is not finite at the matrix' level.
static bool tile_encode(const Matrix *matrix, const Tile *tile, const float *values) {
    size_t count = tile->step * MATRIX_PANEL;
    float *f32 = (float *)matrix->codes;
    uint16_t *bf16 = (uint16_t *)matrix->codes;
    switch (matrix->level) {
    case LEVEL_F32:
        memcpy(f32 + tile->before, values, count * sizeof *f32);
        return finite_all(ELEMENT_F32, values, count);
    case LEVEL_BF16:
        pack_bf16_tile(values, tile->step, bf16 + tile->before);
        return finite_all(ELEMENT_BF16, bf16 + tile->before, count);
    case LEVEL_INT8:
        return quant_tile_int8(values, tile->step, tile_codes(matrix, tile),
                               tile_scales(matrix, tile));
    default:
        return quant_tile_int4(values, tile->step, tile_codes(matrix, tile),
                               tile_scales(matrix, tile));
    }
}

// What passes of a tile, which is counted. True when that is the whole of it.
static bool tile_pass(const Matrix *matrix, Panel *panel, const Tile *tile, TileCodes *out) {
    bool whole = true;
    memset(out, 0, sizeof *out); // padding is 0 times 0
    for (size_t c = 0; c < MATRIX_PANEL; c++) {
        const PackRow *from = &panel->rows[c];
        const CodeRun run = {from->row, tile->begin, tile->count};
        if (from->part != NULL && from->part->codes != NULL) {
            out->pass[c] = group_codes_pass(from->part->codes, &run, matrix->level, out->q[c],
                                            &out->scales[c]);
            panel->counts.runs[out->pass[c]]++;
        } else if (from->part != NULL) {
            out->pass[c] = PASS_NONE;
        }
        whole = whole && out->pass[c] != PASS_NONE;
    }
    return whole;
}

// Writes a row's codes where quant.h writes those of its tiles: 4 bytes, then 60 of other rows.
static void row_put(const Matrix *matrix, const Tile *tile, size_t c, const int8_t *q) {
    uint8_t *out = tile_codes(matrix, tile) + c * 4;
    size_t step = matrix->level == LEVEL_INT8 ? 4 : 8; // columns of 4 bytes
    for (size_t k = 0; k < tile->step; k += step, out += 4 * MATRIX_PANEL) {
        for (size_t i = 0; i < 4; i++) {
            out[i] =
                (uint8_t)(step == 4 ? q[k + i] + 128 : (q[k + i] + 8) | (q[k + 4 + i] + 8) << 4);
        }
    }
}

// A tile with coded rows, at int8 or int4. Rows that do not pass are rounded as dense ones are.
static bool coded_tile(const Matrix *matrix, Panel *panel, const Tile *tile, float *values) {
    TileCodes codes;
    bool finite = true;
    if (!tile_pass(matrix, panel, tile, &codes)) {
        tile_decode(matrix, panel, tile, values);
        finite = tile_encode(matrix, tile, values);
    }
    for (size_t c = 0; c < MATRIX_PANEL; c++) {
        if (codes.pass[c] != PASS_NONE) {
            row_put(matrix, tile, c, codes.q[c]);
            tile_scales(matrix, tile)[c] = codes.scales[c];
        }
    }
    return finite;
}

// The same at a level without codes: f32 holds every value.
static bool dense_tile(const Matrix *matrix, Panel *panel, const Tile *tile, float *values) {
    for (size_t c = 0; c < MATRIX_PANEL && panel->coded; c++) {
        const MatrixPart *part = panel->rows[c].part;
        bool coded = part != NULL && part->codes != NULL;
        panel->counts.runs[matrix->level == LEVEL_F32 ? PASS_EXACT : PASS_NONE] += coded;
    }
    tile_decode(matrix, panel, tile, values);
    return tile_encode(matrix, tile, values);
}

static Panel panel_open(const MatrixParts *parts, size_t index) {
    Panel panel = {0};
    for (uint32_t c = 0; c < MATRIX_PANEL; c++) {
        PackRow from = pack_row(parts, (uint32_t)index * MATRIX_PANEL + c);
        panel.rows[c] = from;
        panel.coded = panel.coded || (from.part != NULL && from.part->codes != NULL);
    }
    return panel;
}

static void pack_panel(void *context, size_t index) {
    PackJob *job = context;
    const Matrix *matrix = job->matrix;
    Panel panel = panel_open(job->parts, index);
    bool codes = panel.coded && matrix->level >= LEVEL_INT8;
    float values[QUANT_GROUP_MAX * MATRIX_PANEL];
    size_t step = matrix->group != 0 ? matrix->group : MATRIX_COLUMN_ALIGN;
    for (size_t begin = 0; begin < matrix->padded_columns; begin += step) {
        const Tile tile = {
            .begin = begin,
            .count = num_min(step, matrix->columns > begin ? matrix->columns - begin : 0),
            .step = step,
            .before = (index * matrix->padded_columns + begin) * MATRIX_PANEL,
        };
        bool finite = codes ? coded_tile(matrix, &panel, &tile, values)
                            : dense_tile(matrix, &panel, &tile, values);
        if (!finite) {
            atomic_store_explicit(&job->not_finite, true, memory_order_relaxed);
        }
    }
    for (int pass = 0; pass <= PASS_NONE && panel.coded; pass++) {
        atomic_fetch_add_explicit(&job->runs[pass], panel.counts.runs[pass], memory_order_relaxed);
    }
}

Status matrix_pack(const Matrix *matrix, const MatrixParts *parts, uint32_t threads,
                   CodeCounts *counts, Error *error) {
    uint64_t rows = 0;
    for (uint32_t i = 0; i < parts->count; i++) {
        uint32_t part = parts->parts[i].rows;
        rows += parts->order == ORDER_ALTERNATING ? matrix_padded_rows(part) : part;
    }
    REQUIRE(rows == matrix->rows);
    PackJob job = {.matrix = matrix, .parts = parts};
    fanout_run(threads, matrix_padded_rows(matrix->rows) / MATRIX_PANEL, pack_panel, &job);
    for (int pass = 0; pass <= PASS_NONE && counts != NULL; pass++) {
        counts->runs[pass] += atomic_load(&job.runs[pass]);
    }
    if (atomic_load(&job.not_finite)) {
        return error_set(error, E_TENSOR, "it holds a value that is not finite");
    }
    return OK;
}
