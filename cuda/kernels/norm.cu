// SPDX-License-Identifier: Apache-2.0
// norm: RMS norm of rows into linear-ready activations; input rows may be gathered.
//
// Tile: a block of 256 threads takes a row and keeps it in shared memory (15 KB for 3840 columns)
// from the load to the activation. Bytes: 4 a column read and 4, 2 or 1 written, the minimum; the
// weights come from L2. About 8 operations a column.
// promise: spills 0, calls 0
#include "cuda/kernels/row.cuh"

typedef struct NormArgs {
    const uint32_t *rows; // or NULL
    const float *in;
    uint32_t columns;
    const float *weight; // or NULL
    float eps;
    Activation out;
} NormArgs;

KERNEL void KERNEL_BOUNDS(ROW_THREADS, 4) norm_rows(const NormArgs args) {
    RowShared s = row_shared(args.columns);
    uint32_t columns = args.columns, row = block_x();
    size_t from = args.rows != NULL ? global_load(args.rows + row) : row;
    const float *x = args.in + from * columns;
    for (uint32_t i = thread_index(); i < columns; i += ROW_THREADS) {
        shared_store(s.row + i, global_load(x + i));
    }
    float factor = row_factor(row_sum_squares(s, columns), columns, args.eps);
    for (uint32_t i = thread_index(); i < columns; i += ROW_THREADS) {
        float normed = shared_load(s.row + i) * factor;
        bool weighted = args.weight != NULL;
        shared_store(s.row + i, weighted ? normed * global_load(args.weight + i) : normed);
    }
    activation_store(args.out, row, s.warps, [=](uint32_t i) { return shared_load(s.row + i); });
}

Status cuda_norm(void *context, const OpNorm *op) {
    CudaContext *cuda = (CudaContext *)context;
    if (op->row_count == 0 || cuda->failed != OK) {
        return cuda->failed;
    }
    NormArgs args = {op->rows, op->in, op->columns, op->weight, op->eps, op->out};
    return cuda_launched(cuda, "norm_rows",
                         LAUNCH(norm_rows, dim3(op->row_count), ROW_THREADS,
                                row_shared_bytes(op->columns), cuda->stream, args));
}
