// SPDX-License-Identifier: Apache-2.0
// The part of cuBLASLt's interface that cuda/kernels/linear_library.cu calls, declared for the
// emulator, where tests/cuda/stand_in/cublaslt.cpp takes its place: the emulator's memory must
// never reach the real library. Numbers and structs are those of NVIDIA's cublasLt.h
// (https://docs.nvidia.com/cuda/cublas/#using-the-cublaslt-api), which
// tests/cuda/cublaslt_compile.cu compares where nvcc is; call sites are compiled against that
// header there too.
#ifndef TESTS_SIMT_CUBLASLT_H
#define TESTS_SIMT_CUBLASLT_H

#define CUBLASLT_FILES "libcublasLt_stand_in.so"
#ifndef CUBLASLT_LINKAGE // where both headers meet, these functions have another
#define CUBLASLT_LINKAGE extern "C"
#endif

typedef enum {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_INVALID_VALUE = 7,
    CUBLAS_STATUS_NOT_SUPPORTED = 15,
} cublasStatus_t;
typedef enum { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 } cublasOperation_t;
typedef enum { CUBLAS_COMPUTE_32F = 68 } cublasComputeType_t;
typedef enum { CUDA_R_32F = 0, CUDA_R_16BF = 14 } cudaDataType_t;

typedef enum {
    CUBLASLT_MATRIX_LAYOUT_ROWS = 2, // uint64_t
    CUBLASLT_MATRIX_LAYOUT_COLS = 3, // uint64_t
    CUBLASLT_MATRIX_LAYOUT_LD = 4,   // int64_t
} cublasLtMatrixLayoutAttribute_t;
typedef enum {
    CUBLASLT_MATMUL_DESC_TRANSA = 3, // int32_t
    CUBLASLT_MATMUL_DESC_TRANSB = 4, // int32_t
} cublasLtMatmulDescAttributes_t;
typedef enum {
    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,   // uint64_t
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5, // uint32_t, as the next three
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8,
} cublasLtMatmulPreferenceAttributes_t;

typedef struct cublasLtContext *cublasLtHandle_t;
typedef struct cublasLtLayout *cublasLtMatrixLayout_t;
typedef struct cublasLtDescription *cublasLtMatmulDesc_t;
typedef struct cublasLtPreference *cublasLtMatmulPreference_t;
typedef struct {
    uint64_t data[8];
} cublasLtMatmulAlgo_t;
typedef struct {
    cublasLtMatmulAlgo_t algo;
    size_t workspaceSize;
    cublasStatus_t state;
    float wavesCount;
    int reserved[4];
} cublasLtMatmulHeuristicResult_t;

CUBLASLT_LINKAGE {
    cublasStatus_t cublasLtCreate(cublasLtHandle_t * handle);
    cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle);
    const char *cublasLtGetStatusString(cublasStatus_t status);
    cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t * layout, cudaDataType_t type,
                                              uint64_t rows, uint64_t columns, int64_t stride);
    cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout);
    cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                    cublasLtMatrixLayoutAttribute_t attribute,
                                                    const void *value, size_t bytes);
    cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t * product,
                                            cublasComputeType_t compute, cudaDataType_t scale);
    cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product);
    cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product,
                                                  cublasLtMatmulDescAttributes_t attribute,
                                                  const void *value, size_t bytes);
    cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t * preference);
    cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference);
    cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
        cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
        const void *value, size_t bytes);
    cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
        cublasLtHandle_t handle, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a,
        cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
        cublasLtMatmulPreference_t preference, int wanted,
        cublasLtMatmulHeuristicResult_t results[], int *found);
    cublasStatus_t cublasLtMatmulAlgoCheck(
        cublasLtHandle_t handle, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a,
        cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
        const cublasLtMatmulAlgo_t *algorithm, cublasLtMatmulHeuristicResult_t *result);
    cublasStatus_t cublasLtMatmul(
        cublasLtHandle_t handle, cublasLtMatmulDesc_t product, const void *alpha, const void *a,
        cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
        const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
        cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algorithm, void *workspace,
        size_t workspace_bytes, cudaStream_t stream);
}

#endif
