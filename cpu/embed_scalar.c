// SPDX-License-Identifier: Apache-2.0
// embed on all threads; a task is a row. It reads a few kilobytes per token, so no variant is
// needed.
#include "cpu/context.h"

static void embed_row(void *argument, uint32_t row, uint32_t worker) {
    (void)worker;
    const OpEmbed *op = argument;
    int32_t token = embed_token(op->tokens[row], op->drawn);
    if (token < 0) {
        return;
    }
    uint32_t hidden = op->table.columns;
    float *out = op->out + (size_t)row * hidden;
    matrix_row(&op->table, (uint32_t)token, out);
    for (uint32_t c = 0; c < hidden; c++) {
        out[c] *= op->scale;
    }
}

Status embed_scalar(void *context, const OpEmbed *op) {
    OpEmbed copy = *op;
    pool_run(((CpuContext *)context)->pool, op->row_count, embed_row, &copy);
    return OK;
}
