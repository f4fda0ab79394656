// SPDX-License-Identifier: Apache-2.0
#include "bench/gpu/peer.h"

uint32_t peer_rows(PeerKind kind, uint32_t rows) {
    return kind == PEER_INT8 ? (uint32_t)num_round_up(rows, 4) : rows;
}

#ifdef TESSERA_SIMT

GpuPeer *peer_open(const GpuBench *, int *version) {
    *version = 0;
    return NULL;
}

void peer_close(GpuPeer *) {
}

Status peer_run(GpuPeer *, const PeerProduct *) {
    return E_UNSUPPORTED;
}

#else

#include <cublas_v2.h>
#include <dlfcn.h>
#include <stdlib.h>

// cublasGemmEx as C has it; in C++ its name is overloaded.
typedef cublasStatus_t (*PeerGemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int,
                                   int, const void *, const void *, cudaDataType, int, const void *,
                                   cudaDataType, int, const void *, void *, cudaDataType, int,
                                   cublasComputeType_t, cublasGemmAlgo_t);

struct GpuPeer {
    void *library;
    cublasHandle_t handle;
    decltype(&cublasCreate_v2) create;
    decltype(&cublasDestroy_v2) destroy;
    decltype(&cublasSetStream_v2) set_stream;
    decltype(&cublasGetVersion_v2) get_version;
    PeerGemm gemm;
};

static bool peer_load(GpuPeer *peer) {
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12"};
    for (const char *name : names) {
        peer->library = peer->library != NULL ? peer->library : dlopen(name, RTLD_NOW | RTLD_LOCAL);
    }
    if (peer->library == NULL) {
        return false;
    }
    *(void **)&peer->create = dlsym(peer->library, "cublasCreate_v2");
    *(void **)&peer->destroy = dlsym(peer->library, "cublasDestroy_v2");
    *(void **)&peer->set_stream = dlsym(peer->library, "cublasSetStream_v2");
    *(void **)&peer->get_version = dlsym(peer->library, "cublasGetVersion_v2");
    *(void **)&peer->gemm = dlsym(peer->library, "cublasGemmEx");
    return peer->create != NULL && peer->destroy != NULL && peer->set_stream != NULL &&
           peer->get_version != NULL && peer->gemm != NULL;
}

GpuPeer *peer_open(const GpuBench *bench, int *version) {
    *version = 0;
    GpuPeer *peer = (GpuPeer *)calloc(1, sizeof *peer);
    if (peer != NULL && peer_load(peer) && peer->create(&peer->handle) == CUBLAS_STATUS_SUCCESS &&
        peer->set_stream(peer->handle, bench->context->stream) == CUBLAS_STATUS_SUCCESS &&
        peer->get_version(peer->handle, version) == CUBLAS_STATUS_SUCCESS) {
        return peer;
    }
    peer_close(peer);
    return NULL;
}

void peer_close(GpuPeer *peer) {
    if (peer == NULL) {
        return;
    }
    if (peer->handle != NULL) {
        peer->destroy(peer->handle);
    }
    if (peer->library != NULL) {
        dlclose(peer->library);
    }
    free(peer);
}

// Column-major: out^T [outputs][rows] = w^T's transpose times x^T.
Status peer_run(GpuPeer *peer, const PeerProduct *p) {
    bool bf16 = p->kind == PEER_BF16;
    float one = 1.0f, zero = 0.0f;
    int32_t one_int = 1, zero_int = 0;
    cublasStatus_t status = peer->gemm(
        peer->handle, CUBLAS_OP_T, CUBLAS_OP_N, (int)p->outputs, (int)p->rows, (int)p->columns,
        bf16 ? (void *)&one : (void *)&one_int, p->w, bf16 ? CUDA_R_16BF : CUDA_R_8I,
        (int)p->columns, p->x, bf16 ? CUDA_R_16BF : CUDA_R_8I, (int)p->columns,
        bf16 ? (void *)&zero : (void *)&zero_int, p->out, bf16 ? CUDA_R_32F : CUDA_R_32I,
        (int)p->outputs, bf16 ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32I, CUBLAS_GEMM_DEFAULT);
    return status == CUBLAS_STATUS_SUCCESS ? OK : E_UNSUPPORTED;
}

#endif
