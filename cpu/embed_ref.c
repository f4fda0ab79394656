// SPDX-License-Identifier: Apache-2.0
// embed: row of the table times embed_scale, in f32 (model.md 1.2). Rows of images and sound have
// token -1 and are written by their own embedders.
#include "cpu/context.h"

Status embed_ref(void *context, const OpEmbed *op) {
    (void)context;
    uint32_t hidden = op->table.columns;
    for (uint32_t r = 0; r < op->row_count; r++) {
        int32_t token = embed_token(op->tokens[r], op->drawn);
        if (token < 0) {
            continue;
        }
        float *out = op->out + (size_t)r * hidden;
        matrix_row(&op->table, (uint32_t)token, out);
        for (uint32_t c = 0; c < hidden; c++) {
            out[c] *= op->scale;
        }
    }
    return OK;
}
