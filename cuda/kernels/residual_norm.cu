// SPDX-License-Identifier: Apache-2.0
// residual_norm: h = (h + norm(x)) * scalar, then the next norm of h and its rounding to what the
// next linear reads, in one kernel.
//
// Tile: a block of 256 threads takes a row; x, then h lie in shared memory (15 KB for 3840
// columns). Bytes: 8 a column read (h, x), 4 written (h) and 4, 2 or 1 for the activation, the
// minimum; the two norms' weights come from L2. About 20 operations a column.
// promise: spills 0, calls 0
#include "cuda/kernels/row.cuh"

typedef struct ResidualNormArgs {
    uint32_t columns;
    float *h;
    const float *x, *post_norm, *next_norm; // next_norm may be NULL
    float scalar, eps;
    Activation out;
} ResidualNormArgs;

KERNEL void KERNEL_BOUNDS(ROW_THREADS, 4) residual_norm_rows(const ResidualNormArgs args) {
    RowShared s = row_shared(args.columns);
    uint32_t columns = args.columns, row = block_x();
    const float *x = args.x + (size_t)row * columns;
    float *h = args.h + (size_t)row * columns;
    for (uint32_t i = thread_index(); i < columns; i += ROW_THREADS) {
        shared_store(s.row + i, global_load(x + i));
    }
    float factor = row_factor(row_sum_squares(s, columns), columns, args.eps);
    for (uint32_t i = thread_index(); i < columns; i += ROW_THREADS) {
        float branch = shared_load(s.row + i) * factor * global_load(args.post_norm + i);
        float sum = (global_load(h + i) + branch) * args.scalar;
        global_store(h + i, sum);
        shared_store(s.row + i, sum);
    }
    if (args.next_norm == NULL) {
        return;
    }
    factor = row_factor(row_sum_squares(s, columns), columns, args.eps);
    for (uint32_t i = thread_index(); i < columns; i += ROW_THREADS) {
        shared_store(s.row + i, shared_load(s.row + i) * factor * global_load(args.next_norm + i));
    }
    activation_store(args.out, row, s.warps, [=](uint32_t i) { return shared_load(s.row + i); });
}

Status cuda_residual_norm(void *context, const OpResidualNorm *op) {
    CudaContext *cuda = (CudaContext *)context;
    if (op->row_count == 0 || cuda->failed != OK) {
        return cuda->failed;
    }
    ResidualNormArgs args = {op->columns,   op->h,      op->x,   op->post_norm,
                             op->next_norm, op->scalar, op->eps, op->out};
    return cuda_launched(cuda, "residual_norm_rows",
                         LAUNCH(residual_norm_rows, dim3(op->row_count), ROW_THREADS,
                                row_shared_bytes(op->columns), cuda->stream, args));
}
