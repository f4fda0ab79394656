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

// Opens what was chosen. `cpu` is for the CPU.
Status device_open(DeviceChoice choice, const CpuOptions *cpu, Backend *out, Error *error);

#endif
