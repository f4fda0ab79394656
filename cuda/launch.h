// SPDX-License-Identifier: Apache-2.0
// The one way a kernel is launched and a runtime call is checked, on the GPU and in the emulator.
//
//   LAUNCH(kernel, grid, block_threads, shared_bytes, stream, args)   args: one struct, by value
//   CU(call)   a runtime call as a Status: OK, E_MEMORY or E_DEVICE with file, line and the text of
//              the runtime in `error`
#ifndef CUDA_LAUNCH_H
#define CUDA_LAUNCH_H

#include "base/status.h"

#ifdef TESSERA_SIMT
#include "tests/simt/simt.h"
#define LAUNCH(kernel, grid, block_threads, shared_bytes, stream, args)                            \
    simt_launch(                                                                                   \
        #kernel, (const void *)(kernel), (grid), (block_threads), (shared_bytes), (stream),        \
        [](const void *launch_args) {                                                              \
            (kernel)(*(const std::remove_reference_t<decltype(args)> *)launch_args);               \
        },                                                                                         \
        &(args), sizeof(args))
#else
#include <cuda_runtime.h>
#define LAUNCH(kernel, grid, block_threads, shared_bytes, stream, args)                            \
    launch_kernel((const void *)(kernel), (grid), (block_threads), (shared_bytes), (stream),       \
                  &(args))

// A block may use 99 KB of shared memory on every GPU we serve when the kernel says so first.
static inline cudaError_t launch_kernel(const void *kernel, dim3 grid, unsigned block_threads,
                                        size_t shared_bytes, cudaStream_t stream,
                                        const void *args) {
    if (shared_bytes > 48 * 1024) {
        cudaError_t status = cudaFuncSetAttribute(
            kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
        if (status != cudaSuccess) {
            return status;
        }
    }
    void *pointers[] = {(void *)args};
    return cudaLaunchKernel(kernel, grid, dim3(block_threads), pointers, shared_bytes, stream);
}
#endif

#define CU(call)                                                                                   \
    do {                                                                                           \
        cudaError_t cu_status_ = (call);                                                           \
        if (cu_status_ != cudaSuccess) {                                                           \
            return error_set(error, cu_status_ == cudaErrorMemoryAllocation ? E_MEMORY : E_DEVICE, \
                             "%s:%d: %s: %s", __FILE__, __LINE__, #call,                           \
                             cudaGetErrorString(cu_status_));                                      \
        }                                                                                          \
    } while (0)

#endif
