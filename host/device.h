// SPDX-License-Identifier: Apache-2.0
// Which backend computes: --device auto|cpu|cuda. auto is the first NVIDIA GPU that the kernels run
// on, where this build has the CUDA part and such a GPU is seen; else the CPU.
#ifndef HOST_DEVICE_H
#define HOST_DEVICE_H

#include "cpu/cpu.h"

typedef enum DeviceChoice { DEVICE_CPU, DEVICE_CUDA } DeviceChoice;

// What "auto", "cpu" or "cuda" means here. E_UNSUPPORTED: a build without CUDA, or a
// GPU that is too old; E_NOT_FOUND: no GPU; E_DEVICE: the driver fails.
Status device_choose(const char *name, DeviceChoice *out, Error *error);

// What computes on the GPU.
typedef struct GpuKernels {
    const char *file; // of kernel choices (cuda/ktable.h); NULL: the one kept for the card, if
                      // there is one
    bool cublaslt;    // bf16 products by cuBLASLt
} GpuKernels;

// Opens what was chosen, with what is for it.
Status device_open(DeviceChoice choice, const CpuOptions *cpu, const GpuKernels *kernels,
                   Backend *out, Error *error);

enum { DEVICE_PATH_MAX = 1024 };

// Where this version keeps the kernel choices of a card, by its name: kernels-CARD-VERSION.txt in
// $XDG_CACHE_HOME/tessera or $HOME/.cache/tessera. False: there is no such folder to be named.
bool device_kernels_path(const char *card, char out[DEVICE_PATH_MAX]);

#endif
