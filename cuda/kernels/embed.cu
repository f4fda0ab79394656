// SPDX-License-Identifier: Apache-2.0
// embed: the table's row of every token, times embed_scale. Rows of images are left alone. A
// token that was drawn by the step before is looked up where sample left it.
//
// Tile: a block of 256 threads takes a row, a thread every 256th column; no shared memory. Bytes: a
// row of the table, which a linear's order scatters over half sectors (twice 3840 for int8) and
// plain rows do not, and 4 a column written. 2 operations a column.
// promise: spills 0, calls 0
#include "cuda/kernels/drawn.cuh"
#include "cuda/kernels/linear_library.h"

enum { THREADS = 256 };

typedef struct EmbedArgs {
    const int32_t *tokens, *drawn;
    WeightView table;
    uint32_t columns;
    float scale;
    float *out;
} EmbedArgs;

KERNEL void KERNEL_BOUNDS(THREADS, 4) embed_rows(const EmbedArgs args) {
    int32_t token = drawn_token(global_load(args.tokens + block_x()), args.drawn);
    if (token < 0) {
        return;
    }
    float *out = args.out + (size_t)block_x() * args.columns;
    for (uint32_t i = thread_index(); i < args.columns; i += THREADS) {
        global_store(out + i, weight_value(args.table, (uint32_t)token, i) * args.scale);
    }
}

// The table is bf16 in plain rows (cuda/kernels/linear_library.h).
KERNEL void KERNEL_BOUNDS(THREADS, 4) embed_plain_rows(const EmbedArgs args) {
    int32_t token = drawn_token(global_load(args.tokens + block_x()), args.drawn);
    if (token < 0) {
        return;
    }
    const uint16_t *row = (const uint16_t *)args.table.codes + (size_t)token * args.table.columns;
    float *out = args.out + (size_t)block_x() * args.columns;
    for (uint32_t i = thread_index(); i < args.columns; i += THREADS) {
        global_store(out + i, bf16_to_float(global_load(row + i)) * args.scale);
    }
}

Status cuda_embed(void *context, const OpEmbed *op) {
    CudaContext *cuda = (CudaContext *)context;
    if (op->row_count == 0 || cuda->failed != OK) {
        return cuda->failed;
    }
    EmbedArgs args = {op->tokens,        op->drawn, weight_view(&op->table),
                      op->table.columns, op->scale, op->out};
    dim3 grid(op->row_count);
    if (linear_library_takes(cuda, &op->table)) {
        return cuda_launched(cuda, "embed_plain_rows",
                             LAUNCH(embed_plain_rows, grid, THREADS, 0, cuda->stream, args));
    }
    return cuda_launched(cuda, "embed_rows",
                         LAUNCH(embed_rows, grid, THREADS, 0, cuda->stream, args));
}
