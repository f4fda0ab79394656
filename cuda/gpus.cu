// SPDX-License-Identifier: Apache-2.0
#include "cuda/gpus.h"

#include <cuda_runtime.h>
#include <string.h>

static void gpus_describe(const cudaDeviceProp *from, GpuInfo *to) {
    memset(to, 0, sizeof *to);
    size_t length = strnlen(from->name, sizeof to->name - 1);
    memcpy(to->name, from->name, length);
    to->compute_major = from->major;
    to->compute_minor = from->minor;
    to->multiprocessors = from->multiProcessorCount;
    to->bytes_total = from->totalGlobalMem;
}

Status gpus_list(GpuInfo *gpus, uint32_t max, uint32_t *count, Error *error) {
    int found = 0;
    *count = 0;
    cudaError_t status = cudaGetDeviceCount(&found);
    if (status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver) {
        return OK; // a machine without a GPU, or without a driver
    }
    if (status != cudaSuccess) {
        return error_set(error, E_DEVICE, "the NVIDIA driver does not list its GPUs: %s",
                         cudaGetErrorString(status));
    }
    for (int i = 0; i < found && *count < max; i++) {
        cudaDeviceProp properties;
        status = cudaGetDeviceProperties(&properties, i);
        if (status != cudaSuccess) {
            return error_set(error, E_DEVICE, "GPU %d cannot be examined: %s", i,
                             cudaGetErrorString(status));
        }
        gpus_describe(&properties, &gpus[(*count)++]);
    }
    return OK;
}
