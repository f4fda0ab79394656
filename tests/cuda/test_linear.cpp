// SPDX-License-Identifier: Apache-2.0
// linear and activate on the emulator, against the cpu's reference.
#include "cuda/ktable.h"
#include "cuda/linear_case.h"

#include <math.h>

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

// ---- Every kernel -------------------------------------------------------------------------------

static void launch(const LinearVariant *variant, const LinearOnDevice *d) {
    LinearArgs args = linear_args(&d->op);
    cr_assert_eq(variant->launch(&context, &args), cudaSuccess, "%s: %s", variant->name,
                 simt_fault());
    cr_assert_str_empty(simt_fault(), "%s", simt_fault());
}

// The chain of linear.h for int8 activations and integer weights: exact sums of groups, one fmaf
// per group, ascending.
static float integer_chain(const LinearCase *c, uint32_t token, uint32_t row) {
    const Matrix *w = &c->weight;
    const int8_t *x = activation_int8(&c->in, token);
    size_t groups = w->padded_columns / w->group;
    float chain = 0.0f;
    for (uint32_t g = 0; g < groups; g++) {
        float scale = f16_to_f32(w->scales[(row / 16 * groups + g) * 16 + row % 16]);
        int32_t sum = 0;
        for (uint32_t k = g * w->group; k < (g + 1) * w->group && k < w->columns; k++) {
            float code = scale == 0.0f ? 0.0f : matrix_value(w, row, k) / scale;
            sum += x[k] * (int32_t)rintf(code);
        }
        chain = fmaf((float)sum, scale, chain);
    }
    return chain;
}

// A matrix two tiles wide but for a ragged end, a few stages deep, tokens beyond one tile.
static LinearShape shape_of(const LinearVariant *v, uint32_t m) {
    uint32_t group = v->group != 0 ? v->group : 32;
    uint32_t columns = v->split ? 2 * 512 + 96 : 5 * 128 + 96;
    return {v->level, v->kind, group, v->outputs + 21, columns, m, LINEAR_PLAIN, true};
}

static void assert_integer_bits(const LinearCase *c, const std::vector<float> &got,
                                const char *name) {
    for (uint32_t m = 0; m < c->shape.m; m++) {
        for (uint32_t row = 0; row < c->shape.rows; row++) {
            float wanted = integer_chain(c, m, row) * c->in.scales[m];
            wanted = c->op.bias != NULL ? wanted + c->bias[row] : wanted;
            float value = got[(size_t)m * c->op.out_stride + row];
            cr_assert_eq(value, wanted, "%s: (%u, %u) is %.9g, the chain says %.9g", name, m, row,
                         (double)value, (double)wanted);
        }
    }
}

// Integers: the bits of the chain. bf16: within the tolerance of the reference (an mma sums in an
// order of its own), and the same bits from every kernel of the matrix.
static void check_variants(ActivationKind kind, WeightLevel level, uint32_t group) {
    for (uint32_t i = 0; i < linear_variant_count; i++) {
        const LinearVariant *v = &linear_variants[i];
        if (v->kind != kind || v->level != level || v->group != group) {
            continue;
        }
        LinearCase c = linear_case_open(shape_of(v, v->tokens + 1));
        LinearOnDevice d = linear_on_device(&c);
        launch(v, &d);
        std::vector<float> got = linear_result(&d);
        if (kind == ACTIVATION_INT8) {
            assert_integer_bits(&c, got, v->name);
        } else {
            assert_as_reference(&c, got);
        }
        for (uint32_t j = 0; j < linear_variant_count; j++) {
            const LinearVariant *other = &linear_variants[j];
            if (other != v && other->kind == kind && other->level == level &&
                other->group == group && other->tokens < v->tokens && other->split) {
                linear_clear(&d);
                launch(other, &d);
                cr_assert(linear_result(&d) == got, "%s and %s differ", v->name, other->name);
            }
        }
        linear_off_device(&d);
        linear_case_close(&c);
    }
}

static void check_level(ActivationKind kind, WeightLevel level) {
    open_context(3, false);
    for (uint32_t group = 32; group <= 128; group *= 2) {
        check_variants(kind, level, group);
    }
    close_context();
}

Test(linear, every_w4a8_kernel_gives_the_bits_of_the_chain) {
    check_level(ACTIVATION_INT8, LEVEL_INT4);
}

Test(linear, every_w8a8_kernel_gives_the_bits_of_the_chain) {
    check_level(ACTIVATION_INT8, LEVEL_INT8);
}

Test(linear, every_w4a16_kernel_agrees_with_the_reference) {
    check_level(ACTIVATION_BF16, LEVEL_INT4);
}

Test(linear, every_w8a16_kernel_agrees_with_the_reference) {
    check_level(ACTIVATION_BF16, LEVEL_INT8);
}

Test(linear, every_bf16_kernel_agrees_with_the_reference) {
    open_context(3, false);
    check_variants(ACTIVATION_BF16, LEVEL_BF16, 0);
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
