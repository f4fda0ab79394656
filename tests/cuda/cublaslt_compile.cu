// SPDX-License-Identifier: Apache-2.0
// What tests/simt/cublaslt.h says of cuBLASLt, held against NVIDIA's header by nvcc (preset cuda):
// numbers, sizes, and that a call written against the one has a meaning in the other.
#include <cublasLt.h>

#include <stddef.h>
#include <stdint.h>

#define CUBLASLT_LINKAGE inline namespace functions
namespace stand_in {
#include "tests/simt/cublaslt.h"
}

#define SAME(name) static_assert((int)stand_in::name == (int)::name, #name)
SAME(CUBLAS_STATUS_SUCCESS);
SAME(CUBLAS_STATUS_INVALID_VALUE);
SAME(CUBLAS_STATUS_NOT_SUPPORTED);
SAME(CUBLAS_OP_N);
SAME(CUBLAS_OP_T);
SAME(CUBLAS_COMPUTE_32F);
SAME(CUDA_R_32F);
SAME(CUDA_R_16BF);
SAME(CUBLASLT_MATRIX_LAYOUT_ROWS);
SAME(CUBLASLT_MATRIX_LAYOUT_COLS);
SAME(CUBLASLT_MATRIX_LAYOUT_LD);
SAME(CUBLASLT_MATMUL_DESC_TRANSA);
SAME(CUBLASLT_MATMUL_DESC_TRANSB);
SAME(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
SAME(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
SAME(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
SAME(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
SAME(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);

#define SAME_SIZE(name) static_assert(sizeof(stand_in::name) == sizeof(::name), #name)
SAME_SIZE(cublasStatus_t);
SAME_SIZE(cublasLtMatrixLayoutAttribute_t);
SAME_SIZE(cublasLtMatmulDescAttributes_t);
SAME_SIZE(cublasLtMatmulPreferenceAttributes_t);
SAME_SIZE(cublasLtMatmulAlgo_t);
SAME_SIZE(cublasLtMatmulHeuristicResult_t);
static_assert(offsetof(stand_in::cublasLtMatmulHeuristicResult_t, workspaceSize) ==
                  offsetof(::cublasLtMatmulHeuristicResult_t, workspaceSize),
              "workspaceSize");
static_assert(offsetof(stand_in::cublasLtMatmulHeuristicResult_t, state) ==
                  offsetof(::cublasLtMatmulHeuristicResult_t, state),
              "state");

// The same number of arguments, each as large.
template <typename Result, typename... A, typename OtherResult, typename... B>
constexpr bool alike(Result (*)(A...), OtherResult (*)(B...)) {
    return sizeof...(A) == sizeof...(B) && ((sizeof(A) == sizeof(B)) && ...);
}
#define ALIKE(name)                                                                                \
    static_assert(alike((decltype(&stand_in::name))nullptr, (decltype(&::name))nullptr), #name)
ALIKE(cublasLtCreate);
ALIKE(cublasLtDestroy);
ALIKE(cublasLtGetStatusString);
ALIKE(cublasLtMatrixLayoutCreate);
ALIKE(cublasLtMatrixLayoutDestroy);
ALIKE(cublasLtMatrixLayoutSetAttribute);
ALIKE(cublasLtMatmulDescCreate);
ALIKE(cublasLtMatmulDescDestroy);
ALIKE(cublasLtMatmulDescSetAttribute);
ALIKE(cublasLtMatmulPreferenceCreate);
ALIKE(cublasLtMatmulPreferenceDestroy);
ALIKE(cublasLtMatmulPreferenceSetAttribute);
ALIKE(cublasLtMatmulAlgoGetHeuristic);
ALIKE(cublasLtMatmulAlgoCheck);
ALIKE(cublasLtMatmul);
