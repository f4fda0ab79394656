// SPDX-License-Identifier: Apache-2.0
// linear, shared by its variants: how the work is cut into tasks and blocks. A variant brings a
// family (how weights and activations are turned into one form, and the kernel that multiplies
// them) and a finish; linear_run does the rest.
//
//   task    one strip of panels x one block of rows; tasks are drawn by the threads of the pool
//   block   LINEAR_BLOCK_BYTES of every prepared row and the same columns of a panel
//   pass    as many blocks as fit the prepared rows' share of L2: first the rows are prepared
//           (copied or converted), then every panel of the strip is walked block by block: expanded
//           once (or read in place) and multiplied with all rows
//   sums    f32 [rows][strip], carried from block to block in memory
//
// Cache: a block of one panel stays in L1 (16 to 32 KiB), the prepared rows in L2, the weights come
// from memory once per block of rows, in order. Batch invariance: every element is one chain of
// additions over ascending k, so no cut changes a bit of it (docs/adr/0004-batch-invariance.md).
//
// A row of int8x2 is two rows of int8 to everything above; their sums become one, 128 high + low,
// before the finish. So a family knows f32, bf16 and int8 only.
#ifndef CPU_LINEAR_H
#define CPU_LINEAR_H

#include "cpu/context.h"

enum {
    LINEAR_ROW_BLOCK = 256,                 // rows of a task at most, even
    LINEAR_BLOCK_BYTES = 1024,              // of a prepared row
    LINEAR_PITCH = LINEAR_BLOCK_BYTES + 64, // between prepared rows: 12 of them share no cache set
    LINEAR_STRIP_MAX = 16,                  // panels of a task at most
    LINEAR_STREAM_ROWS = 12,                // up to so many rows a weight is used in one tile only
};

// One block of one panel times all rows of a task.
typedef struct LinearTile {
    const unsigned char *weights; // expanded, or the codes in place
    const uint16_t *scales;       // f16 [k_count / group][16], for families that scale groups
    uint32_t k_count, group;
    uint32_t row_count;
    const unsigned char *x; // [rows] at LINEAR_PITCH
    const int32_t *starts;  // [rows][start_stride]: what an integer group sum starts from
    uint32_t start_stride;
    float *sums; // [rows][sum_stride], 16 lanes; continued
    uint32_t sum_stride;
} LinearTile;

typedef struct LinearFamily {
    uint32_t x_bytes;     // of one prepared column
    uint32_t panel_bytes; // of one column of an expanded panel
    uint32_t direct_rows; // up to so many rows `direct` reads the stored panel
    int32_t code_offset;  // an integer code is q + this; 0 for families without integer sums
    bool integer;         // starts are needed
    // Columns [k, k + count) of row `row` into out.
    void (*prepare)(const Activation *in, uint32_t row, uint32_t k, uint32_t count, void *out);
    // Columns [k, k + count) of a panel into out.
    void (*expand)(const Matrix *weight, uint32_t panel, uint32_t k, uint32_t count, void *out);
    void (*multiply)(const LinearTile *tile);
    void (*direct)(const LinearTile *tile);
} LinearFamily;

// Where row `row` of the op goes.
static inline float *linear_out(const OpLinear *op, uint32_t row) {
    return op->out + (size_t)(op->out_rows != NULL ? op->out_rows[row] : row) * op->out_stride;
}

// The finish of one row: `sums` of panel_count panels, times scale, to the columns of the strip
// that begins at panel_first.
typedef void LinearFinish(const OpLinear *op, uint32_t row, uint32_t panel_first,
                          uint32_t panel_count, const float *sums, float scale);

// The family for weights of a level and inputs of a kind, which is never int8x2.
typedef const LinearFamily *LinearChoose(WeightLevel level, ActivationKind kind);

void linear_run(CpuContext *context, const OpLinear *op, LinearChoose *choose,
                LinearFinish *finish);

#endif
