// SPDX-License-Identifier: Apache-2.0
// linear_run: tasks, blocks and scratch of a product (linear.h).
#include "cpu/linear.h"

#include "base/check.h"
#include "cpu/activation.h"

#include <string.h>

// Where things lie in a worker's scratch. A block has at most 1024 columns.
enum {
    X_BYTES = LINEAR_ROW_BLOCK * LINEAR_PITCH,
    SUM_BYTES = LINEAR_ROW_BLOCK * LINEAR_STRIP_MAX * MATRIX_PANEL * 4,
    START_STRIDE = LINEAR_BLOCK_BYTES / 32,
    START_BYTES = LINEAR_ROW_BLOCK * START_STRIDE * 4,
    PANEL_AT = X_BYTES + SUM_BYTES + START_BYTES,
    PANEL_BYTES = LINEAR_BLOCK_BYTES * MATRIX_PANEL * 4,
};
_Static_assert(PANEL_AT + PANEL_BYTES <= CPU_SCRATCH_BYTES, "a task fits the scratch");

typedef struct LinearWork {
    CpuContext *context;
    const OpLinear *op;
    const LinearFamily *family;
    LinearFinish *finish;
    uint32_t parts; // rows that make one of the op: activation_parts
    uint32_t row_count;
    uint32_t panel_count;
    uint32_t strip;       // panels of a task
    uint32_t row_block;   // rows of a task
    uint32_t strip_count; // strips of the matrix
} LinearWork;

// What integer sums of the groups in [k, k + count) start from: -offset * (sum of activations).
static void group_starts(const LinearFamily *family, const OpLinear *op, uint32_t row, uint32_t k,
                         uint32_t count, int32_t *out) {
    const int32_t *block_sums = activation_block_sums(&op->in, row);
    uint32_t per_group = op->weight.group / ACTIVATION_BLOCK;
    for (uint32_t g = 0; g < count / op->weight.group; g++) {
        int32_t sum = 0;
        for (uint32_t i = 0; i < per_group; i++) {
            sum += block_sums[k / ACTIVATION_BLOCK + g * per_group + i];
        }
        out[g] = -family->code_offset * sum;
    }
}

// One block of one panel times all prepared rows. `x` and `starts` are those of the block.
static void multiply_block(const LinearWork *work, uint32_t panel, uint32_t k, LinearTile tile,
                           unsigned char *expanded) {
    const Matrix *weight = &work->op->weight;
    const LinearFamily *family = work->family;
    size_t first = (size_t)panel * weight->padded_columns + k;
    tile.group = weight->group;
    if (weight->scales != NULL) {
        tile.scales = weight->scales + first / weight->group * MATRIX_PANEL;
    }
    if (tile.row_count <= family->direct_rows) {
        tile.weights = (const unsigned char *)weight->codes +
                       matrix_codes_bytes(weight->level, MATRIX_PANEL, 8) * (first / 8);
        family->direct(&tile);
    } else {
        family->expand(weight, panel, k, tile.k_count, expanded);
        tile.weights = expanded;
        family->multiply(&tile);
    }
}

// 128 high is exact, so the sum is rounded once.
static void join_parts(float *high, const float *low, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        high[i] = 128.0f * high[i] + low[i];
    }
}

static void strip_task(void *argument, uint32_t task, uint32_t worker) {
    const LinearWork *work = argument;
    const OpLinear *op = work->op;
    const LinearFamily *family = work->family;
    uint32_t columns = op->weight.padded_columns;
    uint32_t row_first = task / work->strip_count * work->row_block;
    uint32_t rows = (uint32_t)num_min(work->row_block, work->row_count - row_first);
    uint32_t panel_first = task % work->strip_count * work->strip;
    uint32_t panels = (uint32_t)num_min(work->strip, work->panel_count - panel_first);
    uint32_t block = LINEAR_BLOCK_BYTES / family->x_bytes;
    uint32_t pass = LINEAR_ROW_BLOCK / rows * block;

    unsigned char *x = work->context->scratch[worker];
    float *sums = (float *)(x + X_BYTES);
    int32_t *starts = (int32_t *)(x + X_BYTES + SUM_BYTES);
    uint32_t sum_stride = panels * MATRIX_PANEL;
    memset(sums, 0, (size_t)rows * sum_stride * sizeof *sums);

    for (uint32_t pass_k = 0; pass_k < columns; pass_k += pass) {
        uint32_t end = (uint32_t)num_min((size_t)pass_k + pass, columns);
        for (uint32_t k = pass_k; k < end; k += block) {
            uint32_t count = (uint32_t)num_min(block, end - k);
            for (uint32_t r = 0; r < rows; r++) {
                size_t at = (size_t)(k - pass_k) / block * rows + r;
                family->prepare(&op->in, row_first + r, k, count, x + at * LINEAR_PITCH);
                if (family->integer) {
                    group_starts(family, op, row_first + r, k, count, starts + at * START_STRIDE);
                }
            }
        }
        for (uint32_t p = 0; p < panels; p++) {
            for (uint32_t k = pass_k; k < end; k += block) {
                size_t at = (size_t)(k - pass_k) / block * rows;
                LinearTile tile = {.k_count = (uint32_t)num_min(block, end - k),
                                   .row_count = rows,
                                   .x = x + at * LINEAR_PITCH,
                                   .starts = starts + at * START_STRIDE,
                                   .start_stride = START_STRIDE,
                                   .sums = sums + p * MATRIX_PANEL,
                                   .sum_stride = sum_stride};
                multiply_block(work, panel_first + p, k, tile, x + PANEL_AT);
            }
        }
    }
    for (uint32_t r = 0; r < rows; r += work->parts) {
        uint32_t row = (row_first + r) / work->parts;
        float *mine = sums + (size_t)r * sum_stride;
        if (work->parts == 2) {
            join_parts(mine, mine + sum_stride, sum_stride);
        }
        float scale = activation_is_integer(op->in.kind) ? op->in.scales[row] : 1.0f;
        work->finish(op, row, panel_first, panels, mine, scale);
    }
}

void linear_run(CpuContext *context, const OpLinear *op, LinearChoose *choose,
                LinearFinish *finish) {
    REQUIRE(op->in.columns == op->weight.columns);
    REQUIRE(op->epilogue == LINEAR_PLAIN || (op->bias == NULL && op->softcap == 0.0f));
    if (op->row_count == 0) {
        return;
    }
    uint32_t parts = activation_parts(op->in.kind);
    ActivationKind kind = parts == 2 ? ACTIVATION_INT8 : op->in.kind;
    LinearWork work = {.context = context, .op = op, .finish = finish, .parts = parts};
    work.family = choose(op->weight.level, kind);
    work.row_count = op->row_count * parts;
    work.panel_count = matrix_padded_rows(op->weight.rows) / MATRIX_PANEL;
    uint32_t row_blocks = (uint32_t)num_ceil_div(work.row_count, LINEAR_ROW_BLOCK);
    work.row_block = (uint32_t)num_ceil_div(op->row_count, row_blocks) * parts;
    // Eight tasks per thread even out their ends; a strip holds whole pairs of gate and up.
    size_t share = (size_t)work.panel_count * row_blocks / (8 * context->thread_count);
    work.strip = (uint32_t)num_max(2, num_min(LINEAR_STRIP_MAX, share / 2 * 2));
    work.strip_count = (uint32_t)num_ceil_div(work.panel_count, work.strip);
    pool_run(context->pool, work.strip_count * row_blocks, strip_task, &work);
}
