// SPDX-License-Identifier: Apache-2.0
// What every op of the CUDA backend is handed as `context`, and the names of the ops. One file
// under cuda/kernels/ holds an op: its kernels and the host function cuda_NAME that launches them
// on context->stream. The same files are compiled by nvcc and, against tests/simt, by the C++
// compiler.
//
// An op returns as soon as its work is queued. A launch that the driver refuses, and whatever goes
// wrong later on the device, is kept here: the first failure stays, every later op returns it, and
// device->wait reports its text.
#ifndef CUDA_CONTEXT_H
#define CUDA_CONTEXT_H

#include "cuda/launch.h"

extern "C" {
#include "cuda/plan.h"
}

// Pinned host memory through which weights and the arguments of a draw go to the card, in two
// halves that are used in turn: while one is copied, the other is filled.
enum { CUDA_STAGING_BYTES = 16 * 1024 * 1024, CUDA_STAGING_HALF = CUDA_STAGING_BYTES / 2 };

typedef struct CudaContext {
    int device;
    int compute; // 86 for sm_86
    int multiprocessors;
    cudaStream_t stream;
    unsigned char *scratch;            // device, CUDA_SCRATCH_BYTES
    unsigned char *staging;            // host, CUDA_STAGING_BYTES
    cudaEvent_t half_free[2];          // what was queued to be copied out of a half has been
    uint32_t half;                     // the one to fill next
    const struct KernelTable *kernels; // cuda/ktable.h; NULL: the rule
    // cuda/kernels/linear_library.h: matrices of bf16 lie in plain rows; NULL: in panels as others.
    struct LinearLibrary *library;
    Status failed; // OK, or the first failure
    Error failure;
} CudaContext;

// Takes the device, a stream and the scratch. E_DEVICE, E_MEMORY.
Status cuda_context_open(int device, CudaContext *out, Error *error);
void cuda_context_close(CudaContext *context);

// What an op returns after a launch: OK, or the first failure, which is kept.
Status cuda_launched(CudaContext *context, const char *kernel, cudaError_t status);

// The half to fill next, once it is free; then what is in it is queued to be copied, then it is
// sent.
cudaError_t cuda_staging_take(CudaContext *context, unsigned char **half);
cudaError_t cuda_staging_sent(CudaContext *context);

// One function for every row of ops.def.
#define OP(name, arguments, text) Status cuda_##name(void *context, const arguments *op);
#include "model/ops.def"
#undef OP

#endif
