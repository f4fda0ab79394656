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
    for (cudaEvent_t &half_free : context->half_free) {
        CU(cudaEventCreate(&half_free));
        CU(cudaEventRecord(half_free, context->stream));
    }
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
    for (cudaEvent_t half_free : context->half_free) {
        if (half_free != NULL) {
            cudaEventDestroy(half_free);
        }
    }
    if (context->stream != NULL) {
        cudaStreamDestroy(context->stream);
    }
    memset(context, 0, sizeof *context);
}

cudaError_t cuda_staging_take(CudaContext *context, unsigned char **half) {
    *half = context->staging + context->half * CUDA_STAGING_HALF;
    return cudaEventSynchronize(context->half_free[context->half]);
}

cudaError_t cuda_staging_sent(CudaContext *context) {
    uint32_t half = context->half;
    context->half = 1 - half;
    return cudaEventRecord(context->half_free[half], context->stream);
}

Status cuda_launched(CudaContext *context, const char *kernel, cudaError_t status) {
    if (status != cudaSuccess && context->failed == OK) {
        context->failed = error_set(&context->failure, E_DEVICE, "the kernel %s failed: %s", kernel,
                                    cudaGetErrorString(status));
    }
    return context->failed;
}
