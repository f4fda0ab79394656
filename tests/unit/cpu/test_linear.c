// SPDX-License-Identifier: Apache-2.0
// linear: every variant against the reference on every weight level and activation kind.
//
// Tolerance. A variant adds n products in one f32 chain, the reference in double. Rounding errors
// of a chain behave like a random walk, so |error| <= (8 + 2 sqrt(n)) 2^-24 sum |x w|; with
// integers the products of a group are exact and n is the number of groups.
#include "base/f16.h"
#include "cpu/activation.h"
#include "random_operands.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float GUARD = 12345.0f;

typedef struct LinearCase {
    WeightLevel level;
    ActivationKind kind;
    uint32_t group, rows, columns, m;
    LinearEpilogue epilogue;
    bool bias;
} LinearCase;

typedef struct LinearFixture {
    LinearCase of;
    Matrix weight;
    Activation in;
    float *bias;
    OpLinear op;
    float *wanted, *got; // [m][out_stride]
    size_t out_count;
} LinearFixture;

static LinearFixture fixture_open(LinearCase of) {
    LinearFixture f = {.of = of};
    uint32_t rows = of.rows, out_columns = of.rows;
    if (of.epilogue == LINEAR_GELU_MUL) {
        rows = 2 * matrix_padded_rows(of.rows);
    }
    f.weight = matrix_random(of.level, rows, of.columns, of.group, 77);
    f.in = activation_random(of.kind, of.m, of.columns, 78);
    f.bias = floats_random(out_columns, 79);
    uint32_t out_stride = out_columns + 3;
    f.out_count = (size_t)of.m * out_stride;
    f.wanted = malloc(f.out_count * sizeof *f.wanted);
    f.got = malloc(f.out_count * sizeof *f.got);
    f.op = (OpLinear){.row_count = of.m,
                      .in = f.in,
                      .weight = f.weight,
                      .epilogue = of.epilogue,
                      .bias = of.bias ? f.bias : NULL,
                      .out_stride = out_stride,
                      .out_columns = out_columns};
    for (size_t i = 0; i < f.out_count; i++) {
        f.wanted[i] = GUARD;
    }
    f.op.out = f.wanted;
    cr_assert_eq(linear_ref(NULL, &f.op), OK);
    f.op.out = f.got;
    return f;
}

static void fixture_close(LinearFixture *f) {
    matrix_free(&f->weight);
    activation_free(&f->in);
    free(f->bias);
    free(f->wanted);
    free(f->got);
}

static double input_size(const Activation *in, uint32_t m, uint32_t k) {
    if (in->kind == ACTIVATION_F32) {
        return fabs((double)activation_f32(in, m)[k]);
    }
    if (in->kind == ACTIVATION_BF16) {
        return fabs((double)bf16_to_f32(activation_bf16(in, m)[k]));
    }
    return fabs((double)activation_integer(in, m, k) * (double)in->scales[m]);
}

// The bound above for one dot product.
static double dot_tolerance(const LinearFixture *f, uint32_t m, uint32_t row) {
    double size = 0.0;
    for (uint32_t k = 0; k < f->of.columns; k++) {
        size += input_size(&f->in, m, k) * fabs((double)matrix_value(&f->weight, row, k));
    }
    double n = (double)f->of.columns;
    return (8.0 + 2.0 * sqrt(n)) * 0x1p-24 * size;
}

static void assert_as_reference(const LinearFixture *f, CpuIsa isa) {
    const LinearCase *c = &f->of;
    for (uint32_t m = 0; m < c->m; m++) {
        for (uint32_t j = 0; j < f->op.out_stride; j++) {
            size_t at = (size_t)m * f->op.out_stride + j;
            double tolerance = 0.0; // what lies beyond the columns stays as it was
            if (j < c->rows && c->epilogue == LINEAR_PLAIN) {
                tolerance = dot_tolerance(f, m, j) + 0x1p-23 * fabs((double)f->wanted[at]);
            } else if (j < c->rows) {
                // gelu' <= 1.13 and |gelu(x)| <= |x|: both factors' errors, the other's size.
                uint32_t gate = j / 16 * 32 + j % 16;
                double up = dot_tolerance(f, m, gate + 16) * 4.0;
                double size = dot_tolerance(f, m, gate) * 4.0;
                tolerance = up * 8.0 + size * 8.0 + 0x1p-20 * fabs((double)f->wanted[at]);
            }
            double error = fabs((double)f->got[at] - (double)f->wanted[at]);
            cr_assert(error <= tolerance,
                      "%s, level %s, activation %d, group %u, [%u][%u], m %u, epilogue %d: "
                      "(%u, %u) is %.9g, the reference says %.9g, allowed %.3g",
                      cpu_isa_name(isa), weight_level_name(c->level), c->kind, c->group, c->rows,
                      c->columns, c->m, c->epilogue, m, j, (double)f->got[at],
                      (double)f->wanted[at], tolerance);
        }
    }
}

static void check_case(LinearCase of) {
    LinearFixture f = fixture_open(of);
    for (CpuIsa isa = CPU_ISA_SCALAR; isa <= CPU_ISA_AVX512; isa++) {
        Backend backend;
        if (!variant_open(isa, 2, &backend)) {
            continue;
        }
        for (size_t i = 0; i < f.out_count; i++) {
            f.got[i] = GUARD;
        }
        cr_assert_eq(backend.ops->linear(backend.context, &f.op), OK);
        assert_as_reference(&f, isa);
        backend.close(backend.context);
    }
    fixture_close(&f);
}

static void check_levels(LinearCase of) {
    static const uint32_t groups[] = {32, 64, 128};
    for (WeightLevel level = LEVEL_F32; level < LEVEL_COUNT; level++) {
        for (size_t g = 0; g < (level >= LEVEL_INT8 ? 3 : 1); g++) {
            for (ActivationKind kind = 0; kind < ACTIVATION_KIND_COUNT; kind++) {
                of.level = level;
                of.group = groups[g];
                of.kind = kind;
                check_case(of);
            }
        }
    }
}

Test(linear, every_variant_equals_the_reference_at_the_edges_of_tiles_and_panels) {
    static const uint32_t rows[] = {1, 15, 16, 17, 40};
    static const uint32_t columns[] = {1, 31, 33, 100, 256, 33};
    static const uint32_t ms[] = {1, 2, 5, 11, 12, 13};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++) {
            check_levels((LinearCase){
                .rows = rows[r], .columns = columns[(r + i) % 6], .m = ms[i], .bias = i % 2 == 1});
        }
    }
}

Test(linear, every_variant_equals_the_reference_for_every_number_of_rows_of_a_tile) {
    for (uint32_t m = 1; m <= 25; m++) {
        check_levels((LinearCase){.rows = 33, .columns = 70, .m = m});
    }
}

Test(linear, every_variant_equals_the_reference_across_blocks_of_columns_and_rows) {
    check_levels((LinearCase){.rows = 20, .columns = 4230, .m = 3, .bias = true});
    check_levels((LinearCase){.rows = 70, .columns = 1100, .m = 40});
    check_levels((LinearCase){.rows = 17, .columns = 96, .m = 130});
    check_levels((LinearCase){.rows = 17, .columns = 40, .m = 300, .bias = true});
}

Test(linear, gelu_mul_pairs_panels_of_gate_and_up) {
    static const uint32_t ms[] = {1, 7, 13, 40};
    for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++) {
        check_levels(
            (LinearCase){.rows = 16, .columns = 64, .m = ms[i], .epilogue = LINEAR_GELU_MUL});
        check_levels(
            (LinearCase){.rows = 41, .columns = 130, .m = ms[i], .epilogue = LINEAR_GELU_MUL});
    }
}

static const ActivationKind integer_kinds[] = {ACTIVATION_INT8, ACTIVATION_INT8X2};

// Every variant within `relative` of the reference, on the operands as they are now.
static void assert_variants(LinearFixture *f, double relative) {
    f->op.out = f->wanted;
    cr_assert_eq(linear_ref(NULL, &f->op), OK);
    f->op.out = f->got;
    for (CpuIsa isa = CPU_ISA_SCALAR; isa <= CPU_ISA_AVX512; isa++) {
        Backend backend;
        if (!variant_open(isa, 1, &backend)) {
            continue;
        }
        cr_assert_eq(backend.ops->linear(backend.context, &f->op), OK);
        for (uint32_t r = 0; r < f->of.m; r++) {
            for (uint32_t j = 0; j < f->of.rows; j++) {
                double got = (double)f->got[(size_t)r * f->op.out_stride + j];
                double wanted = (double)f->wanted[(size_t)r * f->op.out_stride + j];
                cr_assert(fabs(got - wanted) <= relative * fabs(wanted),
                          "%s, level %s, activation %d: (%u, %u) is %.9g, wanted %.9g",
                          cpu_isa_name(isa), weight_level_name(f->of.level), f->of.kind, r, j, got,
                          wanted);
            }
        }
        backend.close(backend.context);
    }
}

// With scales that are powers of two every f32 step is exact but the last, so integers must agree
// to the bit.
Test(linear, integer_sums_are_exact) {
    for (int i = 0; i < 2 * 2 * 2; i++) {
        LinearFixture f = fixture_open((LinearCase){.level = i % 2 ? LEVEL_INT8 : LEVEL_INT4,
                                                    .kind = integer_kinds[i / 2 % 2],
                                                    .group = 32,
                                                    .rows = 48,
                                                    .columns = 320,
                                                    .m = i / 4 ? 30 : 1});
        uint16_t *scales = (uint16_t *)f.weight.scales;
        for (size_t s = 0; s < 48 * 320 / 32; s++) {
            scales[s] = f16_from_f32(s % 3 == 0 ? -0.5f : 1.0f);
        }
        for (uint32_t r = 0; r < f.of.m; r++) {
            f.in.scales[r] = 0.25f;
        }
        assert_variants(&f, 0.0);
        fixture_close(&f);
    }
}

// The largest integer a row may hold, or its negative, in every column.
static void fill_extreme(const Activation *in, uint32_t row, int32_t value) {
    uint32_t parts = activation_parts(in->kind);
    for (uint32_t p = 0; p < parts; p++) {
        int32_t high = activation_high(value);
        int32_t part = parts == 1 ? value : p == 0 ? high : value - 128 * high;
        memset(activation_int8(in, row * parts + p), part, in->columns);
        activation_sum_blocks(in, row * parts + p);
    }
}

// Extremes: the largest codes and activations everywhere must not saturate any intermediate. Two
// groups of one size: a chain of two links and its finish are off by three roundings at most.
Test(linear, the_largest_codes_do_not_saturate) {
    for (int i = 0; i < 2 * 2; i++) {
        LinearFixture f = fixture_open((LinearCase){.level = i % 2 ? LEVEL_INT8 : LEVEL_INT4,
                                                    .kind = integer_kinds[i / 2],
                                                    .group = 128,
                                                    .rows = 32,
                                                    .columns = 256,
                                                    .m = 2});
        uint8_t *codes = (uint8_t *)f.weight.codes;
        size_t bytes = matrix_codes_bytes(f.of.level, 32, 256);
        memset(codes, f.of.level == LEVEL_INT8 ? 1 : 0, bytes);
        int32_t most = (int32_t)activation_steps(f.of.kind);
        fill_extreme(&f.in, 0, most);
        fill_extreme(&f.in, 1, -most);
        for (uint32_t s = 0; s < 32 * 256 / 128; s++) {
            ((uint16_t *)f.weight.scales)[s] = f16_from_f32(0.75f);
        }
        assert_variants(&f, 3 * 0x1p-24);
        memset(codes, 255, bytes);
        assert_variants(&f, 3 * 0x1p-24);
        fixture_close(&f);
    }
}

// Two rows of x = 1, and one column of weights that are the logits. 30 * (1 - 2 / (exp + 1)): the
// cancellation near 0 leaves 30 * 2^-23.
Test(linear, the_soft_cap_of_every_size_of_logit) {
    enum { COUNT = 2011 };
    LinearFixture f = fixture_open((LinearCase){
        .level = LEVEL_F32, .kind = ACTIVATION_F32, .rows = COUNT, .columns = 1, .m = 2});
    activation_f32(&f.in, 0)[0] = activation_f32(&f.in, 1)[0] = 1.0f;
    float *x = (float *)f.weight.codes; // [panel][padded columns][16]
    for (uint32_t i = 0; i < COUNT; i++) {
        float *at = x + (size_t)(i / 16) * f.weight.padded_columns * 16 + i % 16;
        *at = ldexpf(*at, (int)(i % 40) - 25); // 2^-25 .. 2^14
        *at = i == 7 ? 0.0f : i == 8 ? INFINITY : i == 9 ? -INFINITY : i == 10 ? NAN : *at;
    }
    for (CpuIsa isa = CPU_ISA_REFERENCE; isa <= CPU_ISA_AVX512; isa++) {
        Backend backend;
        if (!variant_open(isa, 2, &backend)) {
            continue;
        }
        f.op.softcap = 30.0f;
        cr_assert_eq(backend.ops->linear(backend.context, &f.op), OK);
        for (uint32_t i = 0; i < 2 * COUNT; i++) {
            double value = (double)matrix_value(&f.weight, i % COUNT, 0);
            double got = (double)f.got[i / COUNT * f.op.out_stride + i % COUNT];
            double wanted = 30.0 * tanh(value / 30.0);
            bool right =
                isnan(value) ? isnan(got) : fabs(got - wanted) <= 8e-6 + 1e-6 * fabs(wanted);
            cr_assert(right, "%s: %g becomes %.9g, not %.9g", cpu_isa_name(isa), value, got,
                      wanted);
        }
        f.op.softcap = 0.0f;
        cr_assert_eq(backend.ops->linear(backend.context, &f.op), OK);
        cr_assert_eq(f.got[8], INFINITY, "a cap of 0 is no cap");
        backend.close(backend.context);
    }
    fixture_close(&f);
}

// Row r of 2 m goes to row 2 (m - 1 - r): the same bits there as without out_rows, guards between.
Test(linear, rows_go_where_they_are_sent) {
    enum { M = 30 };
    uint32_t out_rows[M];
    for (uint32_t r = 0; r < M; r++) {
        out_rows[r] = 2 * (M - 1 - r);
    }
    for (int i = 0; i < ACTIVATION_KIND_COUNT * 2; i++) {
        LinearFixture f =
            fixture_open((LinearCase){.level = LEVEL_INT4,
                                      .kind = (ActivationKind)(i / 2),
                                      .group = 32,
                                      .rows = 40,
                                      .columns = 96,
                                      .m = M,
                                      .epilogue = i % 2 == 1 ? LINEAR_GELU_MUL : LINEAR_PLAIN});
        size_t stride = f.op.out_stride;
        float *sent = malloc(2 * M * stride * sizeof *sent);
        for (CpuIsa isa = CPU_ISA_REFERENCE; isa <= CPU_ISA_AVX512; isa++) {
            Backend backend;
            if (!variant_open(isa, 2, &backend)) {
                continue;
            }
            for (size_t j = 0; j < 2 * M * stride; j++) {
                sent[j] = GUARD;
            }
            OpLinear op = f.op;
            cr_assert_eq(backend.ops->linear(backend.context, &op), OK);
            op.out_rows = out_rows;
            op.out = sent;
            cr_assert_eq(backend.ops->linear(backend.context, &op), OK);
            for (uint32_t r = 0; r < M; r++) {
                const float *at = sent + out_rows[r] * stride;
                cr_assert_arr_eq(at, f.got + r * stride, f.of.rows * sizeof *at, "%s, kind %d",
                                 cpu_isa_name(isa), f.of.kind);
                cr_assert_eq(at[f.of.rows], GUARD);
                cr_assert_eq(at[stride], GUARD, "a row between was written");
            }
            backend.close(backend.context);
        }
        free(sent);
        fixture_close(&f);
    }
}

// A row of an activation as an activation of its own.
static Activation row_of(const Activation *in, uint32_t row) {
    size_t row_bytes = in->stride * activation_value_bytes(in->kind);
    Activation out = *in;
    out.values = (unsigned char *)in->values + row * row_bytes;
    out.scales = in->scales + row;
    out.block_sums = in->block_sums + (size_t)row * activation_parts(in->kind) * in->stride / 32;
    return out;
}

Test(linear, a_row_has_the_same_bits_alone_and_in_any_batch_on_any_number_of_threads) {
    enum { ROWS = 70, COLUMNS = 4200, M = 270 };
    static const uint32_t ms[] = {1, 2, 12, 13, 31, 270};
    static const uint32_t threads[] = {1, 2, 3};
    float *alone = malloc((size_t)M * ROWS * sizeof *alone);
    float *together = malloc((size_t)M * ROWS * sizeof *together);
    for (CpuIsa isa = CPU_ISA_SCALAR; isa <= CPU_ISA_AVX512; isa++) {
        for (int combination = 0; combination < LEVEL_COUNT * ACTIVATION_KIND_COUNT;
             combination++) {
            WeightLevel level = (WeightLevel)(combination / ACTIVATION_KIND_COUNT);
            ActivationKind kind = (ActivationKind)(combination % ACTIVATION_KIND_COUNT);
            // The long and the short product, so that both sides of every block size are met.
            uint32_t columns = combination % 2 == 0 ? COLUMNS : 640;
            Matrix weight = matrix_random(level, ROWS, columns, 64, 5);
            Activation in = activation_random(kind, M, columns, 6);
            for (size_t t = 0; t < 3; t++) {
                Backend backend;
                if (!variant_open(isa, threads[t], &backend)) {
                    continue;
                }
                for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++) {
                    if (t > 0 && ms[i] != 1 && ms[i] != 270) {
                        continue;
                    }
                    float *out = ms[i] == 1 && t == 0 ? alone : together;
                    OpLinear op = {.row_count = ms[i],
                                   .in = in,
                                   .weight = weight,
                                   .out = out,
                                   .out_stride = ROWS,
                                   .out_columns = ROWS};
                    uint32_t calls = ms[i] == 1 ? (t == 0 ? M : 3) : 1;
                    for (uint32_t r = 0; r < calls; r++) {
                        op.in = row_of(&in, r);
                        op.out = out + (size_t)r * ROWS;
                        cr_assert_eq(backend.ops->linear(backend.context, &op), OK);
                    }
                    size_t compared = (size_t)(ms[i] == 1 ? calls : ms[i]) * ROWS;
                    cr_assert(memcmp(out, alone, compared * sizeof *out) == 0,
                              "%s, level %s, activation %d: %u rows on %u threads",
                              cpu_isa_name(isa), weight_level_name(level), kind, ms[i], threads[t]);
                }
                backend.close(backend.context);
            }
            matrix_free(&weight);
            activation_free(&in);
        }
    }
    free(alone);
    free(together);
}

Test(linear, no_rows_are_no_work) {
    Matrix weight = matrix_random(LEVEL_INT4, 16, 32, 32, 1);
    Activation in = activation_alloc(ACTIVATION_INT8, 1, 32);
    for (CpuIsa isa = CPU_ISA_REFERENCE; isa <= CPU_ISA_AVX512; isa++) {
        Backend backend;
        if (variant_open(isa, 1, &backend)) {
            OpLinear op = {.in = in, .weight = weight, .out_columns = 16, .out_stride = 16};
            cr_assert_eq(backend.ops->linear(backend.context, &op), OK);
            backend.close(backend.context);
        }
    }
    matrix_free(&weight);
    activation_free(&in);
}
