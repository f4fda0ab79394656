// SPDX-License-Identifier: Apache-2.0
// A stand-in for libcublasLt under the emulator, whose device memory is host memory. It multiplies
// in f32, one product after the other, exactly what its descriptors say, and is as strict as the
// real library's documentation allows an implementation to be, so that a wrong parameter is a
// failure here: attributes have their size, layouts fit each other, an algorithm is used for the
// shape, alignment and workspace it was asked for. Of the two algorithms it offers the first one
// serves a full bucket only.
#include "cuda/prim/prim.cuh"
#include "tests/simt/state.h"

#include "tests/simt/cublaslt.h"

#include <math.h>
#include <stdlib.h>

struct cublasLtContext {
    int nothing;
};
struct cublasLtLayout {
    cudaDataType_t type;
    uint64_t rows, columns;
    int64_t stride;
};
struct cublasLtDescription {
    int32_t transposed[2];
};
struct cublasLtPreference {
    uint64_t workspace_bytes;
    uint32_t align[4]; // of a, b, c, d
};

enum { ALIGN = 16, WORKSPACE_BYTES = 1 << 20, THREADS = 32 };

// What data[] of an algorithm says.
enum { ALGO_MAGIC, ALGO_ANY_TOKENS, ALGO_M, ALGO_N, ALGO_K };
static const uint64_t MAGIC = 0x7e55e7a;

static cublasStatus_t done(bool good) {
    return good ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    *handle = new cublasLtContext();
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasLtGetStatusString(cublasStatus_t status) {
    return status == CUBLAS_STATUS_SUCCESS         ? "success"
           : status == CUBLAS_STATUS_INVALID_VALUE ? "an unsupported value or parameter was passed"
                                                   : "the functionality is not supported";
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType_t type,
                                          uint64_t rows, uint64_t columns, int64_t stride) {
    *layout = new cublasLtLayout{type, rows, columns, stride};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t bytes) {
    void *to = attribute == CUBLASLT_MATRIX_LAYOUT_ROWS   ? (void *)&layout->rows
               : attribute == CUBLASLT_MATRIX_LAYOUT_COLS ? (void *)&layout->columns
               : attribute == CUBLASLT_MATRIX_LAYOUT_LD   ? (void *)&layout->stride
                                                          : NULL;
    if (to != NULL && bytes == sizeof(uint64_t)) {
        memcpy(to, value, bytes);
    }
    return done(to != NULL && bytes == sizeof(uint64_t));
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *product, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    *product = new cublasLtDescription{{CUBLAS_OP_N, CUBLAS_OP_N}};
    return done(compute == CUBLAS_COMPUTE_32F && scale == CUDA_R_32F);
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product) {
    delete product;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes) {
    int which = (int)attribute - CUBLASLT_MATMUL_DESC_TRANSA;
    if (which < 0 || which > 1 || bytes != sizeof(int32_t)) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    memcpy(&product->transposed[which], value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

// Its defaults are the documented ones: no workspace, buffers aligned to 256 bytes.
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    *preference = new cublasLtPreference{0, {256, 256, 256, 256}};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes) {
    int which = (int)attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES && bytes == sizeof(uint64_t)) {
        memcpy(&preference->workspace_bytes, value, bytes);
    } else if (which >= 0 && which < 4 && bytes == sizeof(uint32_t)) {
        memcpy(&preference->align[which], value, bytes);
    } else {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    return CUBLAS_STATUS_SUCCESS;
}

// ---- Products -----------------------------------------------------------------------------------

// A product as its descriptors have it: d[m][n] = alpha a[m][k] b[k][n] + beta c[m][n], where an
// operand's element (row, column) lies at row * row_step + column * column_step.
typedef struct Product {
    uint64_t m, n, k;
    uint64_t a_step[2], b_step[2];
    uint64_t d_stride;
    size_t a_bytes, b_bytes, d_bytes; // that the buffers reach
    const uint16_t *a, *b;
    float *d;
    float alpha, beta;
} Product;

static bool same(const cublasLtLayout *x, const cublasLtLayout *y) {
    return x->type == y->type && x->rows == y->rows && x->columns == y->columns &&
           x->stride == y->stride;
}

static size_t reach(const cublasLtLayout *x, size_t value_bytes) {
    return ((x->columns - 1) * (uint64_t)x->stride + x->rows) * value_bytes;
}

static void steps(const cublasLtLayout *x, int32_t transposed, uint64_t step[2]) {
    step[transposed == CUBLAS_OP_T] = 1;
    step[transposed != CUBLAS_OP_T] = (uint64_t)x->stride;
}

// The product without its pointers. Layouts are column after column; leading dimensions must be
// whole 16 bytes for the algorithms offered here.
static cublasStatus_t describe(const cublasLtDescription *product, const cublasLtLayout *a,
                               const cublasLtLayout *b, const cublasLtLayout *c,
                               const cublasLtLayout *d, Product *out) {
    const cublasLtLayout *all[] = {a, b, c, d};
    for (const cublasLtLayout *x : all) {
        if (x->rows == 0 || x->columns == 0 || x->stride < (int64_t)x->rows) {
            return CUBLAS_STATUS_INVALID_VALUE;
        }
        if ((uint64_t)x->stride * (x->type == CUDA_R_32F ? 4 : 2) % ALIGN != 0) {
            return CUBLAS_STATUS_NOT_SUPPORTED;
        }
    }
    bool turned_a = product->transposed[0] == CUBLAS_OP_T;
    bool turned_b = product->transposed[1] == CUBLAS_OP_T;
    *out = {};
    out->m = turned_a ? a->columns : a->rows;
    out->k = turned_a ? a->rows : a->columns;
    out->n = turned_b ? b->rows : b->columns;
    if (out->k != (turned_b ? b->columns : b->rows) || d->rows != out->m || d->columns != out->n ||
        !same(c, d)) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    steps(a, product->transposed[0], out->a_step);
    steps(b, product->transposed[1], out->b_step);
    out->d_stride = (uint64_t)d->stride;
    out->a_bytes = reach(a, sizeof *out->a);
    out->b_bytes = reach(b, sizeof *out->b);
    out->d_bytes = reach(d, sizeof *out->d);
    bool types = a->type == CUDA_R_16BF && b->type == CUDA_R_16BF && d->type == CUDA_R_32F;
    return types ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

static float number(uint16_t bf16) {
    uint32_t bits = (uint32_t)bf16 << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void multiply(const void *arguments) {
    const Product *p = (const Product *)arguments;
    for (uint64_t j = 0; j < p->n; j++) {
        for (uint64_t i = thread_index(); i < p->m; i += THREADS) {
            float sum = 0.0f, *to = p->d + j * p->d_stride + i;
            for (uint64_t k = 0; k < p->k; k++) {
                sum += number(p->a[i * p->a_step[0] + k * p->a_step[1]]) *
                       number(p->b[k * p->b_step[0] + j * p->b_step[1]]);
            }
            *to = p->alpha * sum + (p->beta != 0.0f ? p->beta * *to : 0.0f);
        }
    }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int *found) {
    Product p;
    *found = 0;
    cublasStatus_t status = describe(product, a, b, c, d, &p);
    if (handle == NULL || wanted < 1 || status != CUBLAS_STATUS_SUCCESS) {
        return handle == NULL || wanted < 1 ? CUBLAS_STATUS_INVALID_VALUE : status;
    }
    for (uint32_t align : preference->align) {
        if (align < ALIGN) {
            return CUBLAS_STATUS_NOT_SUPPORTED;
        }
    }
    for (uint64_t any = 0; any < 2 && *found < wanted; any++) {
        cublasLtMatmulHeuristicResult_t result = {};
        result.algo = {{MAGIC, any, p.m, p.n, p.k}};
        result.workspaceSize = any ? WORKSPACE_BYTES : 0;
        result.state = result.workspaceSize <= preference->workspace_bytes
                           ? CUBLAS_STATUS_SUCCESS
                           : CUBLAS_STATUS_NOT_SUPPORTED;
        results[(*found)++] = result;
    }
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check(const cublasLtMatmulAlgo_t *algorithm, const Product *p) {
    const uint64_t *algo = algorithm->data;
    if (algo[ALGO_MAGIC] != MAGIC || algo[ALGO_M] != p->m || algo[ALGO_K] != p->k) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    bool serves = algo[ALGO_ANY_TOKENS] ? p->n <= algo[ALGO_N] : p->n == algo[ALGO_N];
    return serves ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t *algorithm,
                                       cublasLtMatmulHeuristicResult_t *result) {
    Product p;
    cublasStatus_t status = describe(product, a, b, c, d, &p);
    result->workspaceSize = algorithm->data[ALGO_ANY_TOKENS] ? WORKSPACE_BYTES : 0;
    return handle == NULL                    ? CUBLAS_STATUS_INVALID_VALUE
           : status == CUBLAS_STATUS_SUCCESS ? check(algorithm, &p)
                                             : status;
}

static bool is_there(const void *buffer, size_t bytes) {
    return (uintptr_t)buffer % ALIGN == 0 && simt_memory.contains(buffer, bytes);
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                              const void *alpha, const void *a, cublasLtMatrixLayout_t a_layout,
                              const void *b, cublasLtMatrixLayout_t b_layout, const void *beta,
                              const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t *algorithm, void *workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
    Product p;
    cublasStatus_t status = describe(product, a_layout, b_layout, c_layout, d_layout, &p);
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = check(algorithm, &p);
    }
    if (status != CUBLAS_STATUS_SUCCESS) {
        return status;
    }
    size_t needed = algorithm->data[ALGO_ANY_TOKENS] ? WORKSPACE_BYTES : 0;
    if (handle == NULL || c != d || !is_there(a, p.a_bytes) || !is_there(b, p.b_bytes) ||
        !is_there(d, p.d_bytes) || workspace_bytes < needed || !is_there(workspace, needed)) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    p.a = (const uint16_t *)a;
    p.b = (const uint16_t *)b;
    p.d = (float *)d;
    p.alpha = *(const float *)alpha;
    p.beta = *(const float *)beta;
    // As a kernel of the emulator: in the order of the stream, and into its recordings.
    cudaError_t launched = simt_launch("cublasLtMatmul", (const void *)multiply, dim3(1), THREADS,
                                       0, stream, multiply, &p, sizeof p);
    return done(launched == cudaSuccess);
}
