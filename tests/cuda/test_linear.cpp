// SPDX-License-Identifier: Apache-2.0
// linear and activate on the emulator, against the cpu's reference.
#include "cuda/ktable.h"
#include "cuda/linear_case.h"
#include "cuda/paged_case.h"
#include "tests/cuda/open.h"

#include <math.h>

static CudaContext context;

static void run(const LinearOnDevice *d, const LinearShape *shape) {
    cr_assert_eq(cuda_linear(&context, &d->op), OK, "%s: %s", linear_shape_name(shape),
                 simt_fault());
    cr_assert_str_empty(simt_fault());
}

static void check(LinearShape shape) {
    LinearCase c = linear_case_open(shape);
    LinearOnDevice d = linear_on_device(&c);
    run(&d, &shape);
    linear_case_assert(&c, linear_result(&d));
    linear_off_device(&d);
    linear_case_close(&c);
}

Test(linear, every_level_and_activation_agrees_with_the_reference) {
    context = open_context(simt_seeded(1));
    const ActivationKind kinds[] = {ACTIVATION_F32, ACTIVATION_BF16, ACTIVATION_INT8,
                                    ACTIVATION_INT8X2};
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
    close_context(&context);
}

// ---- Every kernel -------------------------------------------------------------------------------

static void launch(const LinearVariant *variant, const LinearOnDevice *d) {
    LinearArgs args = linear_args(&d->op);
    cr_assert_eq(variant->launch(&context, &args), cudaSuccess, "%s: %s", variant->name,
                 simt_fault());
    cr_assert_str_empty(simt_fault(), "%s", simt_fault());
}

// The chain of linear.h for a row of int8 and integer weights: exact sums of groups, one fmaf per
// group, ascending.
static float int8_chain(const LinearCase *c, uint32_t int8_row, uint32_t row) {
    const Matrix *w = &c->weight;
    const int8_t *x = activation_int8(&c->in, int8_row);
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

// int8x2: the chains of both parts, joined before anything else.
static float integer_chain(const LinearCase *c, uint32_t token, uint32_t row) {
    if (c->shape.kind == ACTIVATION_INT8) {
        return int8_chain(c, token, row);
    }
    return 128.0f * int8_chain(c, 2 * token, row) + int8_chain(c, 2 * token + 1, row);
}

// A matrix two tiles wide but for a ragged end, a few stages deep, tokens beyond one tile.
static LinearShape shape_of(const LinearVariant *v, ActivationKind kind, uint32_t m) {
    uint32_t group = v->group != 0 ? v->group : 32;
    uint32_t columns = v->split ? 2 * 512 + 96 : 5 * 128 + 96;
    return {v->level, kind, group, v->outputs + 21, columns, m, LINEAR_PLAIN, true};
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
        uint32_t parts = activation_parts(kind);
        if (v->kind != (parts == 2 ? ACTIVATION_INT8 : kind) || v->level != level ||
            v->group != group) {
            continue;
        }
        LinearCase c = linear_case_open(shape_of(v, kind, v->tokens / parts + 1));
        LinearOnDevice d = linear_on_device(&c);
        launch(v, &d);
        std::vector<float> got = linear_result(&d);
        if (activation_is_integer(kind)) {
            assert_integer_bits(&c, got, v->name);
        } else {
            linear_case_assert(&c, got);
        }
        for (uint32_t j = 0; j < linear_variant_count; j++) {
            const LinearVariant *other = &linear_variants[j];
            if (other != v && other->kind == v->kind && other->level == level &&
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
    context = open_context(simt_seeded(3));
    for (uint32_t group = 32; group <= 128; group *= 2) {
        check_variants(kind, level, group);
    }
    close_context(&context);
}

Test(linear, every_w4a8_kernel_gives_the_bits_of_the_chain) {
    check_level(ACTIVATION_INT8, LEVEL_INT4);
}

Test(linear, every_w8a8_kernel_gives_the_bits_of_the_chain) {
    check_level(ACTIVATION_INT8, LEVEL_INT8);
}

// Pairs of int8 rows through the same kernels.
Test(linear, every_int8_kernel_gives_the_bits_of_both_chains_of_int8x2) {
    check_level(ACTIVATION_INT8X2, LEVEL_INT4);
    check_level(ACTIVATION_INT8X2, LEVEL_INT8);
}

Test(linear, every_w4a16_kernel_agrees_with_the_reference) {
    check_level(ACTIVATION_BF16, LEVEL_INT4);
}

Test(linear, every_w8a16_kernel_agrees_with_the_reference) {
    check_level(ACTIVATION_BF16, LEVEL_INT8);
}

Test(linear, every_bf16_kernel_agrees_with_the_reference) {
    context = open_context(simt_seeded(3));
    check_variants(ACTIVATION_BF16, LEVEL_BF16, 0);
    close_context(&context);
}

// The columns of Gemma 4 12B's matrices; outputs and tokens cut down to what the emulator does in a
// second.
Test(linear, columns_of_the_model_give_the_bits_of_the_chain) {
    context = open_context(simt_seeded(6));
    const LinearShape shapes[] = {
        {LEVEL_INT4, ACTIVATION_INT8, 32, 40, 15360, 1, LINEAR_PLAIN, false},   // down
        {LEVEL_INT4, ACTIVATION_INT8, 128, 40, 8192, 9, LINEAR_PLAIN, false},   // o, full layers
        {LEVEL_INT4, ACTIVATION_INT8X2, 32, 32, 4096, 32, LINEAR_PLAIN, false}, // o, sliding
        {LEVEL_INT4, ACTIVATION_INT8X2, 32, 48, 3840, 50, LINEAR_PLAIN, false}, // q, k, v
        {LEVEL_INT8, ACTIVATION_INT8, 32, 40, 3840, 4, LINEAR_PLAIN, false},    // lm_head
    };
    for (const LinearShape &shape : shapes) {
        LinearCase c = linear_case_open(shape);
        LinearOnDevice d = linear_on_device(&c);
        run(&d, &shape);
        assert_integer_bits(&c, linear_result(&d), linear_shape_name(&shape));
        linear_off_device(&d);
        linear_case_close(&c);
    }
    close_context(&context);
}

// ---- What must not change a bit -----------------------------------------------------------------

static std::vector<float> run_rows(const LinearOnDevice *d, uint32_t rows) {
    LinearOnDevice some = *d;
    some.op.row_count = rows;
    linear_clear(&some);
    cr_assert_eq(cuda_linear(&context, &some.op), OK, "%s", simt_fault());
    return linear_result(&some);
}

Test(linear, a_row_is_the_same_alone_and_in_any_crowd) {
    context = open_context(simt_seeded(4));
    const LinearShape shapes[] = {
        {LEVEL_INT4, ACTIVATION_INT8, 32, 40, 608, 70, LINEAR_PLAIN, true},
        {LEVEL_INT8, ACTIVATION_INT8X2, 64, 40, 608, 70, LINEAR_PLAIN, true},
        {LEVEL_INT4, ACTIVATION_BF16, 32, 40, 608, 70, LINEAR_GELU_MUL, false},
        {LEVEL_BF16, ACTIVATION_BF16, 0, 40, 608, 70, LINEAR_PLAIN, true},
    };
    for (const LinearShape &shape : shapes) {
        LinearCase c = linear_case_open(shape);
        LinearOnDevice d = linear_on_device(&c);
        std::vector<float> all = run_rows(&d, shape.m);
        const uint32_t crowds[] = {1, 7, 8, 9, 15, 16, 17, 32, 33, 64, 65};
        for (uint32_t rows : crowds) {
            std::vector<float> some = run_rows(&d, rows);
            size_t count = (size_t)rows * d.op.out_stride;
            cr_assert(memcmp(some.data(), all.data(), count * sizeof(float)) == 0,
                      "%s: %u rows give other bits", linear_shape_name(&shape), rows);
            cr_assert(count == some.size() || some[count] == LINEAR_GUARD);
        }
        linear_off_device(&d);
        linear_case_close(&c);
    }
    close_context(&context);
}

// Rows in another order with gaps: by the plain, the split and a tile kernel.
Test(linear, rows_go_where_they_are_sent) {
    context = open_context(simt_seeded(8));
    const LinearShape shapes[] = {
        {LEVEL_F32, ACTIVATION_F32, 0, 40, 96, 9, LINEAR_PLAIN, true},
        {LEVEL_INT4, ACTIVATION_INT8X2, 32, 40, 96, 5, LINEAR_PLAIN, true},
        {LEVEL_BF16, ACTIVATION_BF16, 0, 40, 96, 20, LINEAR_PLAIN, true},
        {LEVEL_INT4, ACTIVATION_INT8X2, 32, 40, 96, 20, LINEAR_GELU_MUL, false},
    };
    for (const LinearShape &shape : shapes) {
        LinearCase c = linear_case_open(shape);
        LinearOnDevice d = linear_on_device(&c);
        run(&d, &shape);
        std::vector<float> plain = linear_result(&d);
        std::vector<uint32_t> rows(shape.m);
        for (uint32_t r = 0; r < shape.m; r++) {
            rows[r] = 2 * (shape.m - 1 - r);
        }
        LinearOnDevice sent = d;
        sent.op.out_rows = (const uint32_t *)device_copy(rows.data(), shape.m * 4, 0, &d.memory);
        sent.out_count = 2 * d.out_count;
        sent.op.out = (float *)device_copy(NULL, sent.out_count * sizeof(float), 0, &d.memory);
        linear_clear(&sent);
        run(&sent, &shape);
        std::vector<float> got = linear_result(&sent);
        size_t stride = d.op.out_stride;
        for (uint32_t r = 0; r < shape.m; r++) {
            const float *at = got.data() + rows[r] * stride;
            cr_assert_eq(memcmp(at, plain.data() + r * stride, stride * sizeof(float)), 0, "%s",
                         linear_shape_name(&shape));
            cr_assert_eq(at[stride], LINEAR_GUARD, "a row between was written");
        }
        linear_off_device(&d);
        linear_case_close(&c);
    }
    close_context(&context);
}

// The cpu's fused variants keep the same chain and the same finish.
Test(linear, integers_give_the_bits_of_the_cpu_backend) {
    Backend cpu;
    CpuIsa isa = cpu_isa_available(CPU_ISA_AVX512) ? CPU_ISA_AVX512 : CPU_ISA_AVX2;
    if (!variant_open(isa, 1, &cpu)) {
        return;
    }
    context = open_context(simt_seeded(5));
    for (uint32_t group = 32; group <= 128; group *= 2) {
        const LinearShape shapes[] = {
            {LEVEL_INT4, ACTIVATION_INT8, group, 70, 480, 19, LINEAR_PLAIN, true},
            {LEVEL_INT4, ACTIVATION_INT8, group, 70, 480, 5, LINEAR_GELU_MUL, false},
            {LEVEL_INT4, ACTIVATION_INT8, group, 70, 480, 66, LINEAR_GELU_MUL, false},
            {LEVEL_INT4, ACTIVATION_INT8X2, group, 70, 480, 2, LINEAR_GELU_MUL, false},
            {LEVEL_INT4, ACTIVATION_INT8X2, group, 70, 480, 21, LINEAR_GELU_MUL, false},
            {LEVEL_INT8, ACTIVATION_INT8X2, group, 70, 480, 9, LINEAR_PLAIN, true},
            {LEVEL_INT8, ACTIVATION_INT8, group, 70, 480, 19, LINEAR_PLAIN, true},
            {LEVEL_INT8, ACTIVATION_INT8, group, 70, 480, 33, LINEAR_GELU_MUL, false},
        };
        for (const LinearShape &shape : shapes) {
            LinearCase c = linear_case_open(shape);
            LinearOnDevice d = linear_on_device(&c);
            run(&d, &shape);
            std::vector<float> wanted(d.out_count, LINEAR_GUARD);
            c.op.out = wanted.data();
            cr_assert_eq(cpu.ops->linear(cpu.context, &c.op), OK);
            cr_assert(linear_result(&d) == wanted, "%s", linear_shape_name(&shape));
            linear_off_device(&d);
            linear_case_close(&c);
        }
    }
    close_context(&context);
    cpu.close(cpu.context);
}

// One column of weights that are the logits of two rows: a soft cap of every size of logit.
Test(linear, the_soft_cap_has_the_variants_bits) {
    enum { COUNT = 2011 };
    Backend variant;
    if (!variant_open(CPU_ISA_AVX2, 1, &variant)) {
        return;
    }
    context = open_context(simt_seeded(7));
    LinearShape shape = {LEVEL_F32, ACTIVATION_F32, 0, COUNT, 1, 2, LINEAR_PLAIN, false};
    LinearCase c = linear_case_open(shape);
    float *x = (float *)c.weight.codes; // [panel][padded columns][16]
    for (uint32_t i = 0; i < COUNT; i++) {
        float *at = x + (size_t)(i / 16) * c.weight.padded_columns * 16 + i % 16;
        *at = ldexpf(*at, (int)(i % 40) - 25); // 2^-25 .. 2^14
        *at = i == 7 ? 0.0f : i == 8 ? INFINITY : i == 9 ? -INFINITY : i == 10 ? NAN : *at;
    }
    activation_f32(&c.in, 0)[0] = activation_f32(&c.in, 1)[0] = 1.0f;
    c.op.softcap = 30.0f;
    LinearOnDevice d = linear_on_device(&c);
    run(&d, &shape);
    std::vector<float> got = linear_result(&d), wanted(d.out_count, LINEAR_GUARD);
    c.op.out = wanted.data();
    cr_assert_eq(variant.ops->linear(variant.context, &c.op), OK);
    for (size_t i = 0; i < got.size(); i++) {
        bool same = std::isnan(wanted[i]) ? std::isnan(got[i]) : got[i] == wanted[i];
        cr_assert(same, "value %zu is %g, not %g", i, (double)got[i], (double)wanted[i]);
    }
    linear_off_device(&d);
    linear_case_close(&c);
    close_context(&context);
    variant.close(variant.context);
}

static const LinearVariant *variant_named(const char *name) {
    for (uint32_t i = 0; i < linear_variant_count; i++) {
        if (strcmp(linear_variants[i].name, name) == 0) {
            return &linear_variants[i];
        }
    }
    cr_assert_fail("there is no kernel %s", name);
    return NULL;
}

// A missing barrier or wait shows as another result under some order of threads and blocks.
Test(linear, the_order_of_threads_changes_nothing) {
    const char *names[] = {"linear_w4a8_g32_128x64", "linear_w4a8_g128_32x64",
                           "linear_w8a8_g32_32x16", "linear_bf16_32x64", "linear_w4a16_g64_32x8"};
    for (const char *name : names) {
        const LinearVariant *v = variant_named(name);
        std::vector<float> first;
        for (uint64_t seed = 0; seed < 3; seed++) {
            context = open_context(simt_seeded(seed));
            LinearCase c = linear_case_open(shape_of(v, v->kind, 9));
            LinearOnDevice d = linear_on_device(&c);
            launch(v, &d);
            std::vector<float> got = linear_result(&d);
            first = seed == 0 ? got : first;
            cr_assert(got == first, "%s: seed %llu", name, (unsigned long long)seed);
            linear_off_device(&d);
            linear_case_close(&c);
            close_context(&context);
        }
    }
}

// ---- What the hardware would count --------------------------------------------------------------

// No bank conflict anywhere, and from global memory no more than 1.05 times what the tiles need:
// weights once per block of tokens, activations once per block of outputs.
static void check_counts(const LinearVariant *v) {
    LinearShape shape = shape_of(v, v->kind, v->tokens);
    shape.rows = 2 * v->outputs;
    shape.columns = 1024;
    shape.bias = false;
    LinearCase c = linear_case_open(shape);
    LinearOnDevice d = linear_on_device(&c);
    launch(v, &d);
    const SimtReport *report = simt_report();
    size_t weights = cuda_weight_bytes(&c.weight);
    size_t inputs = (size_t)v->tokens * 1024 * activation_value_bytes(v->kind);
    double bytes = (double)report->load_sectors * 32, least = (double)(weights + 2 * inputs);
    cr_assert_eq(report->bank_conflicts, 0, "%s: %llu conflicts", v->name,
                 (unsigned long long)report->bank_conflicts);
    cr_assert(bytes <= 1.05 * least, "%s reads %.0f bytes, %.0f are needed", v->name, bytes, least);
    linear_off_device(&d);
    linear_case_close(&c);
}

Test(linear, kernels_have_no_bank_conflicts_and_read_no_more_than_they_need) {
    context = open_context(simt_profiled());
    for (uint32_t i = 0; i < linear_variant_count; i++) {
        const LinearVariant *v = &linear_variants[i];
        if (v->tokens <= 64 && v->outputs == 32) { // the larger tiles share their addresses
            check_counts(v);
        }
    }
    check_counts(variant_named("linear_w4a8_g32_128x128"));
    check_counts(variant_named("linear_bf16_128x64"));
    close_context(&context);
}

// ---- activate -----------------------------------------------------------------------------------

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
    size_t bytes = (size_t)m * wanted.stride * activation_value_bytes(kind);
    cudaMemcpyAsync(host.values, op.out.values, bytes, cudaMemcpyDeviceToHost, NULL);
    cr_assert_arr_eq((char *)host.values, (char *)wanted.values, bytes, "kind %d, %u columns", kind,
                     columns);
    if (activation_is_integer(kind)) {
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
    context = open_context(simt_seeded(2));
    const ActivationKind kinds[] = {ACTIVATION_F32, ACTIVATION_BF16, ACTIVATION_INT8,
                                    ACTIVATION_INT8X2};
    for (ActivationKind kind : kinds) {
        check_activate(kind, 3, 1);
        check_activate(kind, 3, 127);
        check_activate(kind, 3, 128);
        check_activate(kind, 2, 3840);
    }
    close_context(&context);
}
