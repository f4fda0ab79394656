// SPDX-License-Identifier: Apache-2.0
// linear of bf16 by cuBLASLt, against the cpu's reference: its stand-in under the emulator
// (tests/cuda/stand_in), on a GPU the real one where it is installed.
#include "cuda/kernels/linear_library.h"
#include "cuda/linear_case.h"
#include "cuda/scan_case.h"
#include "tests/cuda/open.h"

#include <algorithm>
#include <math.h>

static CudaContext context;

// False: a GPU without the library.
static bool open_library(void) {
    context = open_context();
    Error error = {};
    Status status = linear_library_open(&context, linear_library_files, &error);
    if (status == E_NOT_FOUND && MACHINE_IS_GPU) {
        close_context(&context);
        return false;
    }
    cr_assert_eq(status, OK, "%s", error.text);
    return true;
}

static void close_library(void) {
    linear_library_close(&context);
    close_context(&context);
}

// As linear_on_device, the matrix in plain rows and known to the library.
static LinearOnDevice in_rows(const LinearCase *c) {
    LinearOnDevice d = linear_on_device(c);
    std::vector<uint16_t> rows(cuda_weight_bytes(&c->weight) / sizeof(uint16_t));
    cuda_weight_rows(&c->weight, 0, cuda_weight_panels(&c->weight), rows.data());
    cudaMemcpyAsync((void *)d.op.weight.codes, rows.data(), rows.size() * sizeof rows[0],
                    cudaMemcpyHostToDevice, NULL);
    cudaDeviceSynchronize();
    cr_assert_eq(linear_library_prepare(&context, &d.op.weight), OK, "%s", context.failure.text);
    return d;
}

static void check(LinearShape shape, uint32_t out_stride, float softcap) {
    LinearCase c = linear_case_open(shape);
    c.op.out_stride = out_stride != 0 ? out_stride : c.op.out_stride;
    c.op.softcap = softcap;
    LinearOnDevice d = in_rows(&c);
    cr_assert_eq(cuda_linear(&context, &d.op), OK, "%s: %s %s", linear_shape_name(&shape),
                 context.failure.text, simt_fault());
    linear_case_assert(&c, linear_result(&d));
    linear_off_device(&d);
    linear_case_close(&c);
}

Test(linear_library, every_epilogue_agrees_with_the_reference) {
    if (!open_library()) {
        cr_skip_test("no libcublasLt here");
    }
    for (uint32_t m : {1u, 5u, 16u, 17u}) {
        // Ragged outputs and columns: by way of the sums.
        check({LEVEL_BF16, ACTIVATION_BF16, 0, 70, 97, m, LINEAR_PLAIN, false}, 0, 0.0f);
        check({LEVEL_BF16, ACTIVATION_BF16, 0, 70, 97, m, LINEAR_PLAIN, true}, 0, 0.0f);
        check({LEVEL_BF16, ACTIVATION_BF16, 0, 23, 64, m, LINEAR_GELU_MUL, false}, 0, 0.0f);
        check({LEVEL_BF16, ACTIVATION_BF16, 0, 160, 192, m, LINEAR_GELU_MUL, false}, 160, 0.0f);
        // Whole panels: straight to the outputs, and an epilogue there.
        check({LEVEL_BF16, ACTIVATION_BF16, 0, 272, 96, m, LINEAR_PLAIN, false}, 276, 0.0f);
        check({LEVEL_BF16, ACTIVATION_BF16, 0, 272, 96, m, LINEAR_PLAIN, true}, 272, 0.0f);
        // The slope of a soft cap is at most 1.
        check({LEVEL_BF16, ACTIVATION_BF16, 0, 272, 96, m, LINEAR_PLAIN, false}, 272, 30.0f);
        check({LEVEL_BF16, ACTIVATION_BF16, 0, 70, 96, m, LINEAR_PLAIN, true}, 0, 30.0f);
    }
    close_library();
}

// More rows than the largest bucket has.
Test(linear_library, many_rows_are_multiplied_some_at_a_time) {
    if (!open_library()) {
        cr_skip_test("no libcublasLt here");
    }
    check({LEVEL_BF16, ACTIVATION_BF16, 0, 16, 32, 4099, LINEAR_PLAIN, false}, 16, 0.0f);
    check({LEVEL_BF16, ACTIVATION_BF16, 0, 5, 32, 4099, LINEAR_PLAIN, true}, 8, 0.0f);
    close_library();
}

Test(linear_library, rows_go_where_they_are_sent) {
    enum { M = 6, ROWS = 48, COLUMNS = 64 };
    if (!open_library()) {
        cr_skip_test("no libcublasLt here");
    }
    LinearCase c =
        linear_case_open({LEVEL_BF16, ACTIVATION_BF16, 0, ROWS, COLUMNS, M, LINEAR_PLAIN, false});
    c.op.out_stride = ROWS;
    LinearOnDevice d = in_rows(&c);
    const uint32_t places[M] = {3, 5, 0, 1, 4, 2};
    uint32_t *on_device = NULL;
    cr_assert_eq(cudaMalloc((void **)&on_device, sizeof places), cudaSuccess);
    cudaMemcpyAsync(on_device, places, sizeof places, cudaMemcpyHostToDevice, NULL);
    cudaDeviceSynchronize();
    d.op.out_rows = on_device;
    cr_assert_eq(cuda_linear(&context, &d.op), OK, "%s %s", context.failure.text, simt_fault());
    std::vector<float> got = linear_result(&d), sorted(got.size());
    for (uint32_t m = 0; m < M; m++) {
        std::copy_n(&got[(size_t)places[m] * ROWS], ROWS, &sorted[(size_t)m * ROWS]);
    }
    linear_case_assert(&c, sorted);
    cudaFree(on_device);
    linear_off_device(&d);
    linear_case_close(&c);
    close_library();
}

Test(linear_library, a_recording_computes_anew) {
    if (!open_library()) {
        cr_skip_test("no libcublasLt here");
    }
    LinearCase c =
        linear_case_open({LEVEL_BF16, ACTIVATION_BF16, 0, 70, 96, 3, LINEAR_GELU_MUL, false});
    LinearOnDevice d = in_rows(&c);
    cudaGraph_t graph;
    cudaGraphExec_t recorded;
    cr_assert_eq(cudaStreamBeginCapture(context.stream, cudaStreamCaptureModeThreadLocal),
                 cudaSuccess);
    cr_assert_eq(cuda_linear(&context, &d.op), OK, "%s", context.failure.text);
    cr_assert_eq(cudaStreamEndCapture(context.stream, &graph), cudaSuccess);
    cr_assert_eq(cudaGraphInstantiate(&recorded, graph, 0), cudaSuccess);
    for (int i = 0; i < 2; i++) {
        linear_clear(&d);
        cr_assert_eq(cudaGraphLaunch(recorded, context.stream), cudaSuccess);
        linear_case_assert(&c, linear_result(&d));
    }
    cudaGraphDestroy(graph);
    cudaGraphExecDestroy(recorded);
    linear_off_device(&d);
    linear_case_close(&c);
    close_library();
}

// As lm_head: the logits of a run without, but for suppressed ones, and the plain scan of them.
Test(linear_library, logits_are_scanned) {
    enum { M = 3, ROWS = 112 };
    if (!open_library()) {
        cr_skip_test("no libcublasLt here");
    }
    LinearCase c =
        linear_case_open({LEVEL_BF16, ACTIVATION_BF16, 0, ROWS, 64, M, LINEAR_PLAIN, false});
    c.op.out_stride = ROWS;
    c.op.softcap = 30.0f;
    LinearOnDevice d = in_rows(&c);
    cr_assert_eq(cuda_linear(&context, &d.op), OK, "%s", context.failure.text);
    std::vector<float> wanted = linear_result(&d);
    const int32_t suppress[] = {0, 40, ROWS - 1};
    ScanCase scan = scan_case(ROWS, {1.0f, 2.0f, 0.5f}, suppress, 3);
    scan_case_fill(&scan, wanted.data(), c.op.out_stride);
    d.op.scan = scan_on_device(&scan, true, &d.memory);
    cr_assert_eq(cuda_linear(&context, &d.op), OK, "%s", context.failure.text);
    std::vector<float> got = linear_result(&d);
    cr_assert_eq(memcmp(got.data(), wanted.data(), got.size() * sizeof got[0]), 0);
    assert_scanned(&scan, &d.op.scan, "cublaslt");
    linear_off_device(&d);
    linear_case_close(&c);
    close_library();
}

// What embed reads is the matrix that is multiplied.
Test(linear_library, embed_reads_plain_rows) {
    enum { ROWS = 33, COLUMNS = 96, TOKENS = 4 };
    if (!open_library()) {
        cr_skip_test("no libcublasLt here");
    }
    LinearCase c = linear_case_open(
        {LEVEL_BF16, ACTIVATION_BF16, 0, ROWS, COLUMNS, TOKENS, LINEAR_PLAIN, false});
    LinearOnDevice d = in_rows(&c);
    const int32_t tokens[TOKENS] = {32, 0, BATCH_TOKEN_MEDIA, 17};
    int32_t *on_device = NULL;
    float *out = NULL;
    std::vector<float> got(TOKENS * COLUMNS, LINEAR_GUARD);
    size_t bytes = got.size() * sizeof got[0];
    cudaMalloc((void **)&on_device, sizeof tokens);
    cudaMalloc((void **)&out, bytes);
    cudaMemcpyAsync(on_device, tokens, sizeof tokens, cudaMemcpyHostToDevice, NULL);
    cudaMemcpyAsync(out, got.data(), bytes, cudaMemcpyHostToDevice, NULL);
    cudaDeviceSynchronize();
    OpEmbed embed = {TOKENS, on_device, NULL, d.op.weight, 3.0f, out};
    cr_assert_eq(cuda_embed(&context, &embed), OK, "%s", simt_fault());
    cudaDeviceSynchronize();
    cudaMemcpyAsync(got.data(), out, bytes, cudaMemcpyDeviceToHost, NULL);
    cudaDeviceSynchronize();
    for (uint32_t t = 0; t < TOKENS; t++) {
        for (uint32_t k = 0; k < COLUMNS; k++) {
            float wanted = tokens[t] < 0 ? LINEAR_GUARD
                                         : 3.0f * matrix_value(&c.weight, (uint32_t)tokens[t], k);
            cr_assert_eq(got[t * COLUMNS + k], wanted, "token %u, column %u", t, k);
        }
    }
    cudaFree(on_device);
    cudaFree(out);
    linear_off_device(&d);
    linear_case_close(&c);
    close_library();
}

#ifdef TESSERA_SIMT // a GPU may take it
// That the stand-in tells a wrong parameter from a right one, and what becomes of it.
Test(linear_library, a_refused_product_is_a_failure_that_stays) {
    open_library();
    LinearCase c =
        linear_case_open({LEVEL_BF16, ACTIVATION_BF16, 0, 70, 96, 3, LINEAR_PLAIN, false});
    LinearOnDevice d = in_rows(&c);
    OpLinear op = d.op;
    op.in.values = (uint16_t *)d.op.in.values + 1; // aligned to 2 bytes
    cr_assert_eq(cuda_linear(&context, &op), E_DEVICE);
    cr_assert(strstr(context.failure.text, "cuBLASLt refused a product: ") != NULL, "%s",
              context.failure.text);
    cr_assert_eq(cuda_linear(&context, &d.op), E_DEVICE, "every later op refuses");
    linear_off_device(&d);
    linear_case_close(&c);
    close_library();
}
#endif

static Status open_files(const char *const *files, Error *error) {
    context = open_context();
    Status status = linear_library_open(&context, files, error);
    close_library();
    return status;
}

Test(linear_library, what_is_missing_is_named) {
    Error error = {};
    const char *const nowhere[] = {"libnowhere.so.13", "libnowhere.so.12", NULL};
    cr_assert_eq(open_files(nowhere, &error), E_NOT_FOUND);
    cr_assert(strstr(error.text, "libnowhere.so.13 or libnowhere.so.12") != NULL, "%s", error.text);
    cr_assert(strstr(error.text, "LD_LIBRARY_PATH") != NULL, "%s", error.text);
    const char *const another[] = {"libnowhere.so.13", "libm.so.6", NULL};
    cr_assert_eq(open_files(another, &error), E_DEVICE);
    cr_assert(strstr(error.text, "libm.so.6 is no cuBLASLt") != NULL, "%s", error.text);
}

// The real library, where it is: without a GPU it does not start, and that is said.
Test(linear_library, the_real_one_has_every_function) {
    Error error = {};
    const char *const real[] = {"libcublasLt.so.13", "libcublasLt.so.12", NULL};
    Status status = open_files(real, &error);
    if (status == E_NOT_FOUND) {
        cr_skip_test("no libcublasLt here");
    }
    cr_assert(status == OK || strstr(error.text, "cuBLASLt does not start: ") != NULL, "%s",
              error.text);
}
