// SPDX-License-Identifier: Apache-2.0
// linear of bf16 by bf16 through NVIDIA's cuBLASLt, where the backend was opened to do so: the best
// products of bf16 that a card has to offer, to hold the others against in the same program
// (docs/adr/0007-cublaslt-when-asked.md). A row's bits may then depend on the rows beside it.
//
// Matrices lie in plain rows (cuda_weight_rows), which embed reads as well. The library multiplies
// with f32 sums; those that need an epilogue then go through linear_finish, in place where a sum
// has the place of its output, else by way of CUDA_LIBRARY_SUMS_BYTES, some rows at a time. Its
// algorithm for every bucket of tokens (cuda/ktable.h) is chosen when a matrix is placed. A step
// takes no memory and waits for nothing, so it can be recorded.
//
// libcublasLt is looked for when the backend opens and not linked: the rest of the program needs
// none.
#ifndef CUDA_KERNELS_LINEAR_LIBRARY_H
#define CUDA_KERNELS_LINEAR_LIBRARY_H

#include "cuda/kernels/linear.h"

typedef struct LinearLibrary LinearLibrary;

// The names the library goes by, tried in this order; ends with NULL.
extern const char *const linear_library_files[];

// Opens the first of `files` that is there into context->library. E_NOT_FOUND: none is; E_DEVICE:
// it is not what it should be or does not start; E_MEMORY.
Status linear_library_open(CudaContext *context, const char *const *files, Error *error);
void linear_library_close(CudaContext *context); // one without a library is fine

// Is this a matrix that lies in plain rows?
static inline bool linear_library_takes(const CudaContext *context, const Matrix *matrix) {
    return context->library != NULL && matrix->level == LEVEL_BF16;
}

// Chooses algorithms for a matrix's shape. E_DEVICE, kept as an op's failure: there is none, or too
// many shapes.
Status linear_library_prepare(CudaContext *context, const Matrix *placed);

// The op, with activations of bf16 and a matrix that was prepared.
Status linear_library_run(CudaContext *context, const LinearArgs *args);

#endif
