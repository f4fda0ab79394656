// SPDX-License-Identifier: Apache-2.0
// Which NVIDIA GPUs this machine has, without a CUDA type, so that the host can say what it sees.
#ifndef CUDA_GPUS_H
#define CUDA_GPUS_H

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct GpuInfo {
    char name[128];
    int compute_major, compute_minor; // 8, 9 for sm_89
    int multiprocessors;
    uint64_t bytes_total;
} GpuInfo;

// Fills at most `max` entries and *count. No driver or no GPU is OK with *count 0; E_DEVICE for a
// driver that is there and fails.
Status gpus_list(GpuInfo *gpus, uint32_t max, uint32_t *count, Error *error);

#ifdef __cplusplus
}
#endif

#endif
