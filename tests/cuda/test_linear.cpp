// SPDX-License-Identifier: Apache-2.0
// linear and activate on the emulator, against the cpu's reference.
#include "cuda/linear_case.h"

static CudaContext context;

static void open_context(uint64_t seed, bool profile) {
    SimtOptions options = {};
    options.seed = seed;
    options.profile = profile;
    simt_reset(&options);
    Error error = {};
    cr_assert_eq(cuda_context_open(0, &context, &error), OK, "%s", error.text);
}

static void close_context(void) {
    cuda_context_close(&context);
    cr_assert_eq(simt_memory_used(), 0);
}

static void run(const LinearOnDevice *d, const LinearShape *shape) {
    cr_assert_eq(cuda_linear(&context, &d->op), OK, "%s: %s", linear_shape_name(shape),
                 simt_fault());
    cr_assert_str_empty(simt_fault());
}

static void assert_as_reference(const LinearCase *c, const std::vector<float> &got) {
    std::vector<float> wanted = linear_case_reference(c);
    for (uint32_t m = 0; m < c->shape.m; m++) {
        for (uint32_t j = 0; j < c->op.out_stride; j++) {
            size_t at = (size_t)m * c->op.out_stride + j;
            // What lies beyond the columns stays as it was.
            double allowed = j < c->shape.rows ? linear_case_tolerance(c, m, j) : 0.0;
            double error = fabs((double)got[at] - (double)wanted[at]);
            cr_assert(error <= allowed, "%s: (%u, %u) is %.9g, the reference says %.9g, off by %g",
                      linear_shape_name(&c->shape), m, j, (double)got[at], (double)wanted[at],
                      error);
        }
    }
}

static void check(LinearShape shape) {
    LinearCase c = linear_case_open(shape);
    LinearOnDevice d = linear_on_device(&c);
    run(&d, &shape);
    assert_as_reference(&c, linear_result(&d));
    linear_off_device(&d);
    linear_case_close(&c);
}

Test(linear, every_level_and_activation_agrees_with_the_reference) {
    open_context(1, false);
    const ActivationKind kinds[] = {ACTIVATION_F32, ACTIVATION_BF16, ACTIVATION_INT8};
    for (ActivationKind kind : kinds) {
        check({LEVEL_F32, kind, 0, 70, 96, 5, LINEAR_PLAIN, true});
        check({LEVEL_BF16, kind, 0, 70, 96, 5, LINEAR_PLAIN, true});
        for (uint32_t group = 32; group <= 128; group *= 2) {
            check({LEVEL_INT8, kind, group, 70, 224, 5, LINEAR_PLAIN, true});
            check({LEVEL_INT4, kind, group, 70, 224, 5, LINEAR_PLAIN, false});
        }
        check({LEVEL_INT4, kind, 32, 70, 96, 5, LINEAR_GELU_MUL, false});
        check({LEVEL_BF16, kind, 0, 70, 96, 5, LINEAR_GELU_MUL, false});
    }
    close_context();
}

// ---- activate -----------------------------------------------------------------------------------

static const size_t value_bytes[] = {4, 2, 1};

static void check_activate(ActivationKind kind, uint32_t m, uint32_t columns) {
    uint32_t in_stride = columns + 1;
    float *x = floats_random((size_t)m * in_stride, 9);
    for (uint32_t i = 0; i < columns; i++) {
        x[(m / 2) * in_stride + i] = 0.0f; // a row of zeros
    }
    Activation wanted = activation_alloc(kind, m, columns);
    OpActivate op = {m, x, in_stride, wanted};
    cr_assert_eq(activate_ref(NULL, &op), OK);

    std::vector<void *> memory;
    void *in = NULL;
    cr_assert_eq(cudaMalloc(&in, (size_t)m * in_stride * 4), cudaSuccess);
    memory.push_back(in);
    cudaMemcpyAsync(in, x, (size_t)m * in_stride * 4, cudaMemcpyHostToDevice, NULL);
    Activation host = activation_alloc(kind, m, columns);
    op.in = (const float *)in;
    op.out = activation_on_device(&host, m, &memory);
    cr_assert_eq(cuda_activate(&context, &op), OK, "%s", simt_fault());
    size_t bytes = (size_t)m * wanted.stride * value_bytes[kind];
    cudaMemcpyAsync(host.values, op.out.values, bytes, cudaMemcpyDeviceToHost, NULL);
    cr_assert_arr_eq((char *)host.values, (char *)wanted.values, bytes, "kind %d, %u columns", kind,
                     columns);
    if (kind == ACTIVATION_INT8) {
        cudaMemcpyAsync(host.scales, op.out.scales, m * sizeof(float), cudaMemcpyDeviceToHost,
                        NULL);
        cr_assert_arr_eq(host.scales, wanted.scales, m * sizeof(float));
    }
    for (void *block : memory) {
        cudaFree(block);
    }
    activation_free(&host);
    activation_free(&wanted);
    free(x);
}

Test(activate, writes_the_reference_bits) {
    open_context(2, false);
    const ActivationKind kinds[] = {ACTIVATION_F32, ACTIVATION_BF16, ACTIVATION_INT8};
    for (ActivationKind kind : kinds) {
        check_activate(kind, 3, 1);
        check_activate(kind, 3, 127);
        check_activate(kind, 3, 128);
        check_activate(kind, 2, 3840);
    }
    close_context();
}
