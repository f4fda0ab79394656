// SPDX-License-Identifier: Apache-2.0
// Products by cuBLASLt and the end of those that have one. cuBLAS counts columns first: our
// out[tokens][outputs] is its D of outputs x tokens, our rows of weights are its A transposed, our
// activations its B as they lie.
//
// The finish: a warp takes 32 sums of a token, 128 bytes; 8 warps a block, no shared memory. Bytes:
// 4 read and 4 written a sum (2 for gelu); the product before it has moved more.
// promise: spills 0, calls 0
#include "cuda/kernels/linear_library.h"

#include "base/check.h"
#include "cuda/kernels/linear_finish.cuh"
#include "cuda/ktable.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef TESSERA_SIMT
#include "tests/simt/cublaslt.h"
#else
#include <cublasLt.h>
#define CUBLASLT_FILES "libcublasLt.so.13", "libcublasLt.so.12"
#endif

const char *const linear_library_files[] = {CUBLASLT_FILES, NULL};

enum { SHAPES_MAX = 64, ALGORITHMS_ASKED = 16, OPERAND_ALIGN = 16 };

#define LIBRARY_FUNCTIONS(F)                                                                       \
    F(cublasLtCreate)                                                                              \
    F(cublasLtDestroy)                                                                             \
    F(cublasLtGetStatusString)                                                                     \
    F(cublasLtMatrixLayoutCreate)                                                                  \
    F(cublasLtMatrixLayoutDestroy)                                                                 \
    F(cublasLtMatrixLayoutSetAttribute)                                                            \
    F(cublasLtMatmulDescCreate)                                                                    \
    F(cublasLtMatmulDescDestroy)                                                                   \
    F(cublasLtMatmulDescSetAttribute)                                                              \
    F(cublasLtMatmulPreferenceCreate)                                                              \
    F(cublasLtMatmulPreferenceDestroy)                                                             \
    F(cublasLtMatmulPreferenceSetAttribute)                                                        \
    F(cublasLtMatmulAlgoGetHeuristic)                                                              \
    F(cublasLtMatmulAlgoCheck)                                                                     \
    F(cublasLtMatmul)

// Matrices of one shape and what multiplies them.
typedef struct LibraryShape {
    uint32_t outputs, columns; // of the device form
    cublasLtMatmulAlgo_t algorithms[KTABLE_BUCKETS];
} LibraryShape;

struct LinearLibrary {
    void *file;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t product;
    cublasLtMatmulPreference_t preference;
    cublasLtMatrixLayout_t weights, inputs, outputs; // of the product at hand
    unsigned char *workspace;                        // device, CUDA_LIBRARY_WORKSPACE_BYTES
    float *sums;                                     // device, CUDA_LIBRARY_SUMS_BYTES
    uint32_t shape_count;
    LibraryShape shapes[SHAPES_MAX];
#define F(name) decltype(&::name) name;
    LIBRARY_FUNCTIONS(F)
#undef F
};

#define TRY_LIBRARY(call)                                                                          \
    do {                                                                                           \
        cublasStatus_t library_status_ = (call);                                                   \
        if (library_status_ != CUBLAS_STATUS_SUCCESS) {                                            \
            return library_status_;                                                                \
        }                                                                                          \
    } while (0)

// ---- Open and close -----------------------------------------------------------------------------

static Status load(LinearLibrary *library, const char *const *files, Error *error) {
    const char *name = NULL;
    char tried[256] = "";
    for (; *files != NULL && library->file == NULL; files++) {
        size_t length = strlen(tried);
        name = *files;
        snprintf(tried + length, sizeof tried - length, "%s%s", length > 0 ? " or " : "", name);
        library->file = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    }
    if (library->file == NULL) {
        return error_set(error, E_NOT_FOUND,
                         "bf16 products by cuBLASLt need %s, which is not where the system looks "
                         "for libraries; install libcublas of the CUDA toolkit, add its folder to "
                         "LD_LIBRARY_PATH, or leave out --bf16-products",
                         tried);
    }
#define F(function)                                                                                \
    *(void **)&library->function = dlsym(library->file, #function);                                \
    if (library->function == NULL) {                                                               \
        return error_set(error, E_DEVICE, "%s is no cuBLASLt that can be used: it has no %s",      \
                         name, #function);                                                         \
    }
    LIBRARY_FUNCTIONS(F)
#undef F
    return OK;
}

static cublasStatus_t set_preference(LinearLibrary *library) {
    const cublasLtMatmulPreferenceAttributes_t aligned[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const uint64_t workspace_bytes = CUDA_LIBRARY_WORKSPACE_BYTES;
    const uint32_t align = OPERAND_ALIGN;
    TRY_LIBRARY(library->cublasLtMatmulPreferenceCreate(&library->preference));
    TRY_LIBRARY(library->cublasLtMatmulPreferenceSetAttribute(
        library->preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes,
        sizeof workspace_bytes));
    for (cublasLtMatmulPreferenceAttributes_t attribute : aligned) {
        TRY_LIBRARY(library->cublasLtMatmulPreferenceSetAttribute(library->preference, attribute,
                                                                  &align, sizeof align));
    }
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t start(LinearLibrary *library) {
    const int32_t transposed = CUBLAS_OP_T;
    TRY_LIBRARY(library->cublasLtCreate(&library->handle));
    TRY_LIBRARY(
        library->cublasLtMatmulDescCreate(&library->product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    TRY_LIBRARY(library->cublasLtMatmulDescSetAttribute(
        library->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed));
    TRY_LIBRARY(library->cublasLtMatrixLayoutCreate(&library->weights, CUDA_R_16BF, 1, 1, 1));
    TRY_LIBRARY(library->cublasLtMatrixLayoutCreate(&library->inputs, CUDA_R_16BF, 1, 1, 1));
    TRY_LIBRARY(library->cublasLtMatrixLayoutCreate(&library->outputs, CUDA_R_32F, 1, 1, 1));
    return set_preference(library);
}

static Status open_library(LinearLibrary *library, const char *const *files, Error *error) {
    TRY(load(library, files, error));
    cublasStatus_t status = start(library);
    if (status != CUBLAS_STATUS_SUCCESS) {
        return error_set(error, E_DEVICE,
                         "cuBLASLt does not start: %s; it must belong to a CUDA version that the "
                         "driver has, or leave out --bf16-products",
                         library->cublasLtGetStatusString(status));
    }
    CU(cudaMalloc((void **)&library->workspace, CUDA_LIBRARY_WORKSPACE_BYTES));
    CU(cudaMalloc((void **)&library->sums, CUDA_LIBRARY_SUMS_BYTES));
    return OK;
}

Status linear_library_open(CudaContext *context, const char *const *files, Error *error) {
    context->library = (LinearLibrary *)calloc(1, sizeof *context->library);
    if (context->library == NULL) {
        return error_set(error, E_MEMORY, "no memory for bf16 products by cuBLASLt");
    }
    Status status = open_library(context->library, files, error);
    if (status != OK) {
        linear_library_close(context);
    }
    return status;
}

void linear_library_close(CudaContext *context) {
    LinearLibrary *library = context->library;
    context->library = NULL;
    if (library == NULL) {
        return;
    }
    cudaFree(library->workspace);
    cudaFree(library->sums);
    cublasLtMatrixLayout_t layouts[] = {library->weights, library->inputs, library->outputs};
    for (cublasLtMatrixLayout_t layout : layouts) {
        if (layout != NULL) {
            library->cublasLtMatrixLayoutDestroy(layout);
        }
    }
    if (library->preference != NULL) {
        library->cublasLtMatmulPreferenceDestroy(library->preference);
    }
    if (library->product != NULL) {
        library->cublasLtMatmulDescDestroy(library->product);
    }
    if (library->handle != NULL) {
        library->cublasLtDestroy(library->handle);
    }
    if (library->file != NULL) {
        dlclose(library->file);
    }
    free(library);
}

// ---- Products -----------------------------------------------------------------------------------

static Status library_kept(CudaContext *context, const char *what, cublasStatus_t status) {
    if (status != CUBLAS_STATUS_SUCCESS && context->failed == OK) {
        context->failed = error_set(&context->failure, E_DEVICE, "cuBLASLt refused %s: %s", what,
                                    context->library->cublasLtGetStatusString(status));
    }
    return context->failed;
}

static cublasStatus_t set_layout(LinearLibrary *library, cublasLtMatrixLayout_t layout,
                                 uint64_t rows, uint64_t columns, int64_t stride) {
    TRY_LIBRARY(library->cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_ROWS,
                                                          &rows, sizeof rows));
    TRY_LIBRARY(library->cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_COLS,
                                                          &columns, sizeof columns));
    return library->cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_LD, &stride,
                                                     sizeof stride);
}

static cublasStatus_t set_layouts(LinearLibrary *library, const LibraryShape *shape,
                                  uint32_t tokens, uint32_t in_stride, uint32_t out_stride) {
    TRY_LIBRARY(
        set_layout(library, library->weights, shape->columns, shape->outputs, shape->columns));
    TRY_LIBRARY(set_layout(library, library->inputs, shape->columns, tokens, in_stride));
    return set_layout(library, library->outputs, shape->outputs, tokens, out_stride);
}

// Does the algorithm also compute `tokens` tokens?
static bool serves(LinearLibrary *library, const LibraryShape *shape, uint32_t tokens,
                   uint32_t in_stride, const cublasLtMatmulAlgo_t *algorithm) {
    cublasLtMatmulHeuristicResult_t result = {};
    return set_layouts(library, shape, tokens, in_stride, shape->outputs) ==
               CUBLAS_STATUS_SUCCESS &&
           library->cublasLtMatmulAlgoCheck(library->handle, library->product, library->weights,
                                            library->inputs, library->outputs, library->outputs,
                                            algorithm, &result) == CUBLAS_STATUS_SUCCESS &&
           result.workspaceSize <= CUDA_LIBRARY_WORKSPACE_BYTES;
}

// The one the library thinks fastest for the most tokens of a bucket, of those that also serve its
// fewest.
static cublasStatus_t choose(LinearLibrary *library, LibraryShape *shape, uint32_t bucket) {
    uint32_t most = ktable_buckets[bucket],
             fewest = bucket > 0 ? ktable_buckets[bucket - 1] + 1 : 1;
    uint32_t in_stride = (uint32_t)num_round_up(shape->columns, ACTIVATION_COLUMN_ALIGN);
    cublasLtMatmulHeuristicResult_t results[ALGORITHMS_ASKED] = {};
    int found = 0;
    TRY_LIBRARY(set_layouts(library, shape, most, in_stride, shape->outputs));
    TRY_LIBRARY(library->cublasLtMatmulAlgoGetHeuristic(
        library->handle, library->product, library->weights, library->inputs, library->outputs,
        library->outputs, library->preference, ALGORITHMS_ASKED, results, &found));
    for (int i = 0; i < found; i++) {
        if (results[i].state == CUBLAS_STATUS_SUCCESS &&
            serves(library, shape, fewest, in_stride, &results[i].algo)) {
            shape->algorithms[bucket] = results[i].algo;
            return CUBLAS_STATUS_SUCCESS;
        }
    }
    return CUBLAS_STATUS_NOT_SUPPORTED;
}

static const LibraryShape *shape_of(const LinearLibrary *library, uint32_t outputs,
                                    uint32_t columns) {
    for (uint32_t i = 0; i < library->shape_count; i++) {
        const LibraryShape *shape = &library->shapes[i];
        if (shape->outputs == outputs && shape->columns == columns) {
            return shape;
        }
    }
    return NULL;
}

Status linear_library_prepare(CudaContext *context, const Matrix *placed) {
    LinearLibrary *library = context->library;
    uint32_t outputs = cuda_weight_panels(placed) * MATRIX_PANEL;
    uint32_t columns = cuda_weight_columns(placed);
    if (shape_of(library, outputs, columns) != NULL) {
        return OK;
    }
    if (library->shape_count == SHAPES_MAX) {
        return library_kept(context, "so many shapes of matrices", CUBLAS_STATUS_NOT_SUPPORTED);
    }
    LibraryShape *shape = &library->shapes[library->shape_count];
    *shape = {};
    shape->outputs = outputs;
    shape->columns = columns;
    for (uint32_t bucket = 0; bucket < KTABLE_BUCKETS; bucket++) {
        char what[64];
        snprintf(what, sizeof what, "a matrix of [%u][%u]", outputs, columns);
        TRY(library_kept(context, what, choose(library, shape, bucket)));
    }
    library->shape_count++;
    return OK;
}

// Tokens that are multiplied at once, and where their sums go.
typedef struct Share {
    uint32_t first, tokens;
    float *sums; // [tokens][stride]
    uint32_t stride;
} Share;

// sums = x W^T.
static cublasStatus_t multiply(CudaContext *context, const LinearArgs *args,
                               const LibraryShape *shape, const Share *share) {
    LinearLibrary *library = context->library;
    const float one = 1.0f, zero = 0.0f;
    const uint16_t *x = (const uint16_t *)args->x + (size_t)share->first * args->stride;
    TRY_LIBRARY(set_layouts(library, shape, share->tokens, args->stride, share->stride));
    return library->cublasLtMatmul(
        library->handle, library->product, &one, args->weight.codes, library->weights, x,
        library->inputs, &zero, share->sums, library->outputs, share->sums, library->outputs,
        &shape->algorithms[ktable_bucket_index(share->tokens)], library->workspace,
        CUDA_LIBRARY_WORKSPACE_BYTES, context->stream);
}

// ---- The epilogue -------------------------------------------------------------------------------

enum { FINISH_THREADS = 256, FINISH_PANELS = FINISH_THREADS / 16 };

typedef struct FinishArgs {
    LinearArgs linear;
    const float *sums; // [block_y][stride], of tokens from `first` on
    uint32_t stride, first;
} FinishArgs;

KERNEL void KERNEL_BOUNDS(FINISH_THREADS, 4) linear_library_finish(const FinishArgs args) {
    uint32_t panel = block_x() * FINISH_PANELS + 2 * thread_warp();
    uint32_t column = panel * 16 + thread_lane(), columns = args.linear.weight.panels * 16;
    if (panel >= args.linear.weight.panels) {
        return; // the whole warp
    }
    const float *sums = args.sums + (size_t)block_y() * args.stride;
    float sum = column < columns ? global_load(sums + column) : 0.0f;
    uint32_t token = args.first + block_y();
    linear_finish<true>(args.linear, panel, linear_suppressed<true>(args.linear, panel), token,
                        linear_row<true>(args.linear, token), sum);
}

static cudaError_t finish(const CudaContext *context, const LinearArgs *args, const Share *share) {
    FinishArgs finishing = {*args, share->sums, share->stride, share->first};
    dim3 grid((unsigned)num_ceil_div(args->weight.panels, FINISH_PANELS), share->tokens);
    return LAUNCH(linear_library_finish, grid, FINISH_THREADS, 0, context->stream, finishing);
}

// May the product be written where the outputs go?
static bool has_place(const LinearArgs *args, const LibraryShape *shape) {
    return !args->gelu && args->out_rows == NULL && args->out_columns == shape->outputs &&
           args->out_stride * sizeof(float) % OPERAND_ALIGN == 0 &&
           (uintptr_t)args->out % OPERAND_ALIGN == 0;
}

Status linear_library_run(CudaContext *context, const LinearArgs *args) {
    const LibraryShape *shape =
        shape_of(context->library, args->weight.panels * MATRIX_PANEL, args->weight.columns);
    REQUIRE_MESSAGE(shape != NULL && args->kind == ACTIVATION_BF16,
                    "a product of cuBLASLt's with activations of kind %d, or never prepared",
                    (int)args->kind);
    bool in_place = has_place(args, shape);
    bool finished =
        in_place && args->bias == NULL && args->softcap == 0.0f && args->scan.chunks == NULL;
    uint32_t stride = in_place ? args->out_stride : shape->outputs;
    size_t most = ktable_buckets[KTABLE_BUCKETS - 1];
    most = in_place ? most : num_min(most, CUDA_LIBRARY_SUMS_BYTES / (stride * sizeof(float)));
    REQUIRE_MESSAGE(most > 0, "%u outputs", shape->outputs);
    for (uint32_t first = 0; first < args->rows; first += (uint32_t)most) {
        float *sums = in_place ? args->out + (size_t)first * stride : context->library->sums;
        Share share = {first, (uint32_t)num_min(most, args->rows - first), sums, stride};
        TRY(library_kept(context, "a product", multiply(context, args, shape, &share)));
        if (!finished) {
            TRY(cuda_launched(context, "linear_library_finish", finish(context, args, &share)));
        }
    }
    return OK;
}
