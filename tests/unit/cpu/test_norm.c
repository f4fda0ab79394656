// SPDX-License-Identifier: Apache-2.0
// activate, norm and residual_norm: int8 and bf16 rows are what their definition says, to the bit;
// every variant agrees with the reference; rows do not depend on each other.
#include "base/f16.h"
#include "cpu/activation.h"
#include "random_operands.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t column_counts[] = {1, 15, 16, 17, 31, 32, 33, 100, 128, 200, 3840};
enum { COLUMN_COUNTS = sizeof column_counts / sizeof column_counts[0] };

// ---- The definition, on values worked out by hand

Test(activate, int8_rows_are_symmetric_and_round_ties_to_even) {
    // absmax 127, so the factor is 1 and the values show their rounding.
    float x[] = {127.0f, -127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 3.49f, 0.0f};
    int8_t wanted[] = {127, -127, 0, 2, 2, 0, -2, 3, 0};
    Activation out = activation_alloc(ACTIVATION_INT8, 1, 9);
    cr_assert_eq(
        activate_ref(NULL, &(OpActivate){.row_count = 1, .in = x, .in_stride = 9, .out = out}), OK);
    cr_assert_arr_eq(activation_int8(&out, 0), wanted, 9);
    for (uint32_t k = 9; k < out.stride; k++) {
        cr_assert_eq(activation_int8(&out, 0)[k], 0);
    }
    cr_assert_eq(out.scales[0], 1.0f);
    cr_assert_eq(out.block_sums[0], 127 - 127 + 0 + 2 + 2 + 0 - 2 + 3);
    for (uint32_t b = 1; b < out.stride / 32; b++) {
        cr_assert_eq(out.block_sums[b], 0);
    }
    activation_free(&out);
}

Test(activate, rows_of_zeros_and_of_dust_have_scale_zero) {
    float x[2][3] = {{0.0f, -0.0f, 0.0f}, {1e-38f, -1e-40f, 0.0f}};
    for (CpuIsa isa = CPU_ISA_REFERENCE; isa <= CPU_ISA_AVX512; isa++) {
        Backend backend;
        if (!variant_open(isa, 1, &backend)) {
            continue;
        }
        Activation out = activation_alloc(ACTIVATION_INT8, 2, 3);
        OpActivate op = {.row_count = 2, .in = x[0], .in_stride = 3, .out = out};
        cr_assert_eq(backend.ops->activate(backend.context, &op), OK);
        for (uint32_t r = 0; r < 2; r++) {
            cr_assert_eq(out.scales[r], 0.0f);
            for (uint32_t k = 0; k < out.stride; k++) {
                cr_assert_eq(activation_int8(&out, r)[k], 0);
            }
        }
        activation_free(&out);
        backend.close(backend.context);
    }
}

// absmax 16319, so the factor is 1: high is the nearest multiple of 128, ties go up, low the rest.
Test(activate, int8x2_rows_are_two_of_int8) {
    float x[] = {16319.0f, -16319.0f, 63.0f, 64.0f, -64.0f, -65.0f, 130.5f, 0.4f};
    int8_t high[] = {127, -127, 0, 1, 0, -1, 1, 0}, low[] = {63, -63, 63, -64, -64, 63, 2, 0};
    Activation out = activation_alloc(ACTIVATION_INT8X2, 1, 8);
    OpActivate op = {.row_count = 1, .in = x, .in_stride = 8, .out = out};
    cr_assert_eq(activate_ref(NULL, &op), OK);
    cr_assert_arr_eq(activation_int8(&out, 0), high, 8);
    cr_assert_arr_eq(activation_int8(&out, 1), low, 8);
    for (uint32_t k = 8; k < out.stride; k++) {
        cr_assert_eq(activation_int8(&out, 0)[k], 0);
        cr_assert_eq(activation_int8(&out, 1)[k], 0);
    }
    cr_assert_eq(out.scales[0], 1.0f);
    cr_assert_eq(activation_block_sums(&out, 0)[0], 1);
    cr_assert_eq(activation_block_sums(&out, 1)[0], 63 - 63 + 63 - 64 - 64 + 63 + 2);
    activation_free(&out);
}

static void check_half_a_step(ActivationKind kind) {
    Activation out = activation_alloc(kind, 20, 300);
    float *x = floats_random(20 * 300, 3);
    OpActivate op = {.row_count = 20, .in = x, .in_stride = 300, .out = out};
    cr_assert_eq(activate_ref(NULL, &op), OK);
    for (uint32_t r = 0; r < 20; r++) {
        for (uint32_t k = 0; k < 300; k++) {
            double back = (double)activation_integer(&out, r, k) * (double)out.scales[r];
            double step = (double)out.scales[r];
            // x times the factor is rounded before it is rounded to a whole, the factor as well:
            // 16319 x 2^-23 of a step beyond the half.
            cr_assert(fabs(back - (double)x[r * 300 + k]) <= 0.503 * step);
        }
    }
    free(x);
    activation_free(&out);
}

Test(activate, an_integer_is_within_half_a_step_of_its_row) {
    check_half_a_step(ACTIVATION_INT8);
    check_half_a_step(ACTIVATION_INT8X2);
}

// ---- Variants

static void assert_same_bits(const Activation *got, const Activation *wanted, uint32_t rows,
                             CpuIsa isa) {
    size_t count = (size_t)rows * wanted->stride;
    cr_assert(
        memcmp(got->values, wanted->values, count * activation_value_bytes(wanted->kind)) == 0,
        "%s, activation %d, %u columns: values", cpu_isa_name(isa), wanted->kind, wanted->columns);
    if (activation_is_integer(wanted->kind)) {
        cr_assert(memcmp(got->scales, wanted->scales, rows * sizeof(float)) == 0);
        cr_assert(memcmp(got->block_sums, wanted->block_sums,
                         count / 32 * activation_parts(wanted->kind) * sizeof(int32_t)) == 0);
    }
}

Test(activate, every_variant_gives_the_bits_of_the_definition) {
    enum { ROWS = 7 };
    for (size_t i = 0; i < COLUMN_COUNTS; i++) {
        for (ActivationKind kind = 0; kind < ACTIVATION_KIND_COUNT; kind++) {
            uint32_t columns = column_counts[i];
            float *x = floats_random(ROWS * (columns + 5), 9 + i);
            x[0] = 1e-41f; // a subnormal, which bf16 keeps
            x[columns + 5] *= 1e6f;
            OpActivate op = {.row_count = ROWS, .in = x, .in_stride = columns + 5};
            Activation wanted = activation_alloc(kind, ROWS, columns);
            op.out = wanted;
            cr_assert_eq(activate_ref(NULL, &op), OK);
            for (CpuIsa isa = CPU_ISA_SCALAR; isa <= CPU_ISA_AVX512; isa++) {
                Backend backend;
                if (variant_open(isa, 2, &backend)) {
                    Activation got = activation_alloc(kind, ROWS, columns);
                    op.out = got;
                    cr_assert_eq(backend.ops->activate(backend.context, &op), OK);
                    assert_same_bits(&got, &wanted, ROWS, isa);
                    activation_free(&got);
                    backend.close(backend.context);
                }
            }
            activation_free(&wanted);
            free(x);
        }
    }
}

static float value_of(const Activation *in, uint32_t row, uint32_t k) {
    if (in->kind == ACTIVATION_F32) {
        return activation_f32(in, row)[k];
    }
    if (in->kind == ACTIVATION_BF16) {
        return bf16_to_f32(activation_bf16(in, row)[k]);
    }
    return (float)activation_integer(in, row, k) * in->scales[row];
}

// f32: a sum of squares in 64 chains and three roundings: 4e-7 relative of x. The others: the
// f32 value may round to the neighbour, one step of bf16 (2^-8 of the value) or of the row.
static void assert_near(const Activation *got, const Activation *wanted, uint32_t rows,
                        CpuIsa isa) {
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t k = 0; k < wanted->columns; k++) {
            double value = (double)value_of(wanted, r, k);
            double allowed = 4e-7 * fabs(value) + 1e-9;
            allowed += wanted->kind == ACTIVATION_BF16 ? fabs(value) / 128 : 0.0;
            allowed += activation_is_integer(wanted->kind) ? 1.0001 * (double)wanted->scales[r] : 0;
            cr_assert(fabs((double)value_of(got, r, k) - value) <= allowed,
                      "%s, activation %d, %u columns: (%u, %u) is %.9g, wanted %.9g",
                      cpu_isa_name(isa), wanted->kind, wanted->columns, r, k,
                      (double)value_of(got, r, k), value);
        }
    }
}

// Padding is zero and the block sums are those of the values, whatever the values are.
static void assert_whole(const Activation *in, uint32_t rows) {
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t k = in->columns; k < in->stride; k++) {
            cr_assert_eq(value_of(in, r, k), 0.0f);
        }
    }
    uint32_t int8_rows = activation_is_integer(in->kind) ? rows * activation_parts(in->kind) : 0;
    for (uint32_t r = 0; r < int8_rows; r++) {
        for (uint32_t b = 0; b < in->stride / 32; b++) {
            int32_t sum = 0;
            for (uint32_t k = 32 * b; k < 32 * b + 32; k++) {
                sum += activation_int8(in, r)[k];
            }
            cr_assert_eq(activation_block_sums(in, r)[b], sum);
        }
    }
}

Test(norm, is_x_over_the_root_of_the_mean_square_times_the_weight) {
    float x[] = {3.0f, 4.0f}, weight[] = {2.0f, -1.0f};
    for (CpuIsa isa = CPU_ISA_REFERENCE; isa <= CPU_ISA_AVX512; isa++) {
        Backend backend;
        if (!variant_open(isa, 1, &backend)) {
            continue;
        }
        Activation out = activation_alloc(ACTIVATION_F32, 1, 2);
        OpNorm op = {
            .row_count = 1, .in = x, .columns = 2, .weight = weight, .eps = 1e-6f, .out = out};
        cr_assert_eq(backend.ops->norm(backend.context, &op), OK);
        double root = sqrt((9.0 + 16.0) / 2.0 + 1e-6);
        cr_assert_float_eq(activation_f32(&out, 0)[0], 6.0 / root, 1e-6);
        cr_assert_float_eq(activation_f32(&out, 0)[1], -4.0 / root, 1e-6);
        activation_free(&out);
        backend.close(backend.context);
    }
}

Test(norm, every_variant_equals_the_reference_and_gathers_rows) {
    enum { ROWS = 5 };
    static const uint32_t gather[ROWS] = {6, 0, 3, 3, 1};
    for (size_t i = 0; i < COLUMN_COUNTS; i++) {
        for (ActivationKind kind = 0; kind < ACTIVATION_KIND_COUNT; kind++) {
            uint32_t columns = column_counts[i];
            float *x = floats_random(7 * columns, 20 + i);
            float *weight = floats_random(columns, 40 + i);
            CpuContext *context;
            Backend reference;
            cr_assert(variant_open(CPU_ISA_REFERENCE, 1, &reference));
            context = reference.context;
            for (int gathered = 0; gathered < 2; gathered++) {
                OpNorm op = {.row_count = ROWS,
                             .rows = gathered ? gather : NULL,
                             .in = x,
                             .columns = columns,
                             .weight = weight,
                             .eps = 1e-6f};
                Activation wanted = activation_alloc(kind, ROWS, columns);
                op.out = wanted;
                cr_assert_eq(norm_ref(context, &op), OK);
                for (CpuIsa isa = CPU_ISA_SCALAR; isa <= CPU_ISA_AVX512; isa++) {
                    Backend backend;
                    if (variant_open(isa, 2, &backend)) {
                        Activation got = activation_alloc(kind, ROWS, columns);
                        op.out = got;
                        cr_assert_eq(backend.ops->norm(backend.context, &op), OK);
                        assert_near(&got, &wanted, ROWS, isa);
                        assert_whole(&got, ROWS);
                        activation_free(&got);
                        backend.close(backend.context);
                    }
                }
                activation_free(&wanted);
            }
            reference.close(reference.context);
            free(x);
            free(weight);
        }
    }
}

Test(norm, no_weight_is_a_weight_of_one) {
    enum { ROWS = 3 };
    float ones[3840];
    for (uint32_t i = 0; i < 3840; i++) {
        ones[i] = 1.0f;
    }
    for (CpuIsa isa = CPU_ISA_REFERENCE; isa <= CPU_ISA_AVX512; isa++) {
        Backend backend;
        if (!variant_open(isa, 1, &backend)) {
            continue;
        }
        for (size_t i = 0; i < COLUMN_COUNTS; i++) {
            uint32_t columns = column_counts[i];
            float *x = floats_random(ROWS * columns, 150 + i);
            Activation with = activation_alloc(ACTIVATION_F32, ROWS, columns);
            Activation without = activation_alloc(ACTIVATION_F32, ROWS, columns);
            OpNorm op = {.row_count = ROWS, .in = x, .columns = columns, .eps = 1e-6f};
            op.weight = ones;
            op.out = with;
            cr_assert_eq(backend.ops->norm(backend.context, &op), OK);
            op.weight = NULL;
            op.out = without;
            cr_assert_eq(backend.ops->norm(backend.context, &op), OK);
            assert_same_bits(&without, &with, ROWS, isa);
            activation_free(&with);
            activation_free(&without);
            free(x);
        }
        backend.close(backend.context);
    }
}

// The next norm sees an h that differs in its last bits.
static void assert_next_near(const Activation *got, const Activation *wanted, uint32_t rows,
                             uint32_t columns, const char *name) {
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t k = 0; k < columns; k++) {
            double value = (double)value_of(wanted, r, k);
            double step = activation_is_integer(wanted->kind) ? (double)wanted->scales[r] : 0.0;
            double bf16 = wanted->kind == ACTIVATION_BF16 ? fabs(value) / 128 : 0.0;
            cr_assert(fabs((double)value_of(got, r, k) - value) <=
                          1e-5 + 1e-5 * fabs(value) + 1.0001 * step + bf16,
                      "%s", name);
        }
    }
}

// Runs the op on a copy of `h`, which is returned.
static float *residual_norm_run(Backend *backend, OpResidualNorm op, const float *h,
                                Activation out) {
    size_t bytes = (size_t)op.row_count * op.columns * sizeof *h;
    op.h = malloc(bytes);
    op.out = out;
    memcpy(op.h, h, bytes);
    cr_assert_eq(backend->ops->residual_norm(backend->context, &op), OK);
    return op.h;
}

static void check_residual_norm(Backend *reference, const OpResidualNorm *op, const float *h,
                                ActivationKind kind) {
    size_t count = (size_t)op->row_count * op->columns;
    Activation wanted = activation_alloc(kind, op->row_count, op->columns);
    float *wanted_h = residual_norm_run(reference, *op, h, wanted);
    for (CpuIsa isa = CPU_ISA_SCALAR; isa <= CPU_ISA_AVX512; isa++) {
        Backend backend;
        if (!variant_open(isa, 2, &backend)) {
            continue;
        }
        Activation got = activation_alloc(kind, op->row_count, op->columns);
        float *got_h = residual_norm_run(&backend, *op, h, got);
        for (size_t j = 0; j < count; j++) {
            // Four roundings of values up to the larger of h and the branch.
            cr_assert_float_eq(got_h[j], wanted_h[j], 2e-6, "%s", cpu_isa_name(isa));
        }
        if (op->next_norm != NULL) {
            assert_next_near(&got, &wanted, op->row_count, op->columns, cpu_isa_name(isa));
            assert_whole(&got, op->row_count);
        }
        free(got_h);
        activation_free(&got);
        backend.close(backend.context);
    }
    free(wanted_h);
    activation_free(&wanted);
}

Test(residual_norm, every_variant_equals_the_reference_with_and_without_a_next_norm) {
    enum { ROWS = 5 };
    Backend reference;
    cr_assert(variant_open(CPU_ISA_REFERENCE, 1, &reference));
    for (size_t i = 0; i < COLUMN_COUNTS; i++) {
        uint32_t columns = column_counts[i];
        float *h = floats_random(ROWS * columns, 60 + i),
              *x = floats_random(ROWS * columns, 80 + i);
        float *post = floats_random(columns, 100 + i), *next = floats_random(columns, 120 + i);
        OpResidualNorm op = {.row_count = ROWS,
                             .columns = columns,
                             .x = x,
                             .post_norm = post,
                             .scalar = 0.37f,
                             .eps = 1e-6f};
        check_residual_norm(&reference, &op, h, ACTIVATION_F32);
        op.next_norm = next;
        for (ActivationKind kind = 0; kind < ACTIVATION_KIND_COUNT; kind++) {
            check_residual_norm(&reference, &op, h, kind);
        }
        free(h);
        free(x);
        free(post);
        free(next);
    }
    reference.close(reference.context);
}

Test(norm, a_row_has_the_same_bits_alone_and_in_a_batch) {
    enum { ROWS = 33, COLUMNS = 3840 };
    float *x = floats_random(ROWS * COLUMNS, 1), *weight = floats_random(COLUMNS, 2);
    for (CpuIsa isa = CPU_ISA_SCALAR; isa <= CPU_ISA_AVX512; isa++) {
        for (ActivationKind kind = 0; kind < ACTIVATION_KIND_COUNT; kind++) {
            Backend backend;
            if (!variant_open(isa, 3, &backend)) {
                continue;
            }
            Activation together = activation_alloc(kind, ROWS, COLUMNS);
            Activation alone = activation_alloc(kind, 1, COLUMNS);
            OpNorm op = {.row_count = ROWS,
                         .in = x,
                         .columns = COLUMNS,
                         .weight = weight,
                         .eps = 1e-6f,
                         .out = together};
            cr_assert_eq(backend.ops->norm(backend.context, &op), OK);
            op.row_count = 1;
            op.out = alone;
            for (uint32_t r = 0; r < ROWS; r++) {
                op.in = x + (size_t)r * COLUMNS;
                cr_assert_eq(backend.ops->norm(backend.context, &op), OK);
                for (uint32_t k = 0; k < COLUMNS; k++) {
                    cr_assert_eq(value_of(&alone, 0, k), value_of(&together, r, k), "%s",
                                 cpu_isa_name(isa));
                }
            }
            activation_free(&together);
            activation_free(&alone);
            backend.close(backend.context);
        }
    }
    free(x);
    free(weight);
}
