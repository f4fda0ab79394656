// SPDX-License-Identifier: Apache-2.0
#include "cuda/context.h"

static Status context_take(CudaContext *context, Error *error) {
    cudaDeviceProp properties;
    CU(cudaSetDevice(context->device));
    CU(cudaGetDeviceProperties(&properties, context->device));
    context->compute = properties.major * 10 + properties.minor;
    context->multiprocessors = properties.multiProcessorCount;
    CU(cudaStreamCreate(&context->stream));
    CU(cudaMalloc((void **)&context->scratch, CUDA_SCRATCH_BYTES));
    CU(cudaMallocHost((void **)&context->staging, CUDA_STAGING_BYTES));
    CU(cudaMemsetAsync(context->scratch, 0, CUDA_SCRATCH_BYTES, context->stream));
    return OK;
}

Status cuda_context_open(int device, CudaContext *out, Error *error) {
    memset(out, 0, sizeof *out);
    out->device = device;
    Status status = context_take(out, error);
    if (status != OK) {
        cuda_context_close(out);
    }
    return status;
}

void cuda_context_close(CudaContext *context) {
    if (context->scratch != NULL) {
        cudaFree(context->scratch);
    }
    if (context->staging != NULL) {
        cudaFreeHost(context->staging);
    }
    if (context->stream != NULL) {
        cudaStreamDestroy(context->stream);
    }
    memset(context, 0, sizeof *context);
}

Status cuda_launched(CudaContext *context, const char *kernel, cudaError_t status) {
    if (status != cudaSuccess && context->failed == OK) {
        context->failed = error_set(&context->failure, E_DEVICE, "The kernel %s failed: %s.",
                                    kernel, cudaGetErrorString(status));
    }
    return context->failed;
}
