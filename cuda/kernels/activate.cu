// SPDX-License-Identifier: Apache-2.0
// activate: f32 rows into linear-ready activations. A block of 256 threads takes a row; it reads
// 4 bytes a column (twice for int8, the second time from L1 or L2) and writes 4, 2 or 1.
// promise: spills 0, calls 0
#include "cuda/kernels/activation.cuh"

enum { ACTIVATE_THREADS = 256 };

typedef struct ActivateArgs {
    const float *in;
    uint32_t in_stride;
    Activation out;
} ActivateArgs;

KERNEL void activate_rows(ActivateArgs args) {
    const float *x = args.in + (size_t)block_x() * args.in_stride;
    activation_store(args.out, block_x(), (float *)shared_base(),
                     [=](uint32_t i) { return global_load(x + i); });
}

Status cuda_activate(void *context, const OpActivate *op) {
    CudaContext *cuda = (CudaContext *)context;
    if (op->row_count == 0 || cuda->failed != OK) {
        return cuda->failed;
    }
    ActivateArgs args = {op->in, op->in_stride, op->out};
    return cuda_launched(cuda, "activate_rows",
                         LAUNCH(activate_rows, dim3(op->row_count), ACTIVATE_THREADS,
                                ACTIVATION_SHARED_BYTES, cuda->stream, args));
}
