// SPDX-License-Identifier: Apache-2.0
// The CUDA backend: every op as hand-written kernels, for NVIDIA GPUs from sm_80 on; products of
// bf16 by NVIDIA's library where asked. Only boot code, tests and benches include this.
//
// A failure of the device is sticky, as CUDA's own are: the first one stays, every later op returns
// it and wait has its text. To start anew, close the backend and open it again.
#ifndef CUDA_CUDA_H
#define CUDA_CUDA_H

#ifdef __cplusplus
extern "C" {
#endif

#include "model/ops.h"

typedef struct CudaOptions {
    int device;          // index among the GPUs of the machine
    const char *kernels; // file of measured kernel choices (cuda/ktable.h); NULL: by rule
    bool cublaslt;       // matrices of bf16 are multiplied by cuBLASLt; they then read bf16 only
} CudaOptions;

// E_UNSUPPORTED: older than sm_80; E_MEMORY; E_DEVICE with the driver's text, also when there is no
// such GPU; E_NOT_FOUND, E_CONFIG: the file of kernel choices is not there, of another card or
// version, or damaged. With cublaslt also what linear_library_open says (E_NOT_FOUND: no library).
Status cuda_open(const CudaOptions *options, Backend *out, Error *error);

#ifdef __cplusplus
}
#endif

#endif
