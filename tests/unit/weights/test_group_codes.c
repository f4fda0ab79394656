// SPDX-License-Identifier: Apache-2.0
// Codes that others made: read as a plain decoder of their layout reads them, and taken over into
// panels code for code and scale for scale.
#include "base/f16.h"
#include "base/file.h"
#include "base/prng.h"
#include "weights/matrix_pack.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 64, COLUMNS_MAX = 512 };

// A tensor in the form of compressed-tensors (pairs, offset 8), MLX (pairs, biases) or bytes, with
// what it means: q and the scale of each column.
typedef struct Coded {
    uint32_t rows, columns;
    GroupCodes codes;
    uint8_t bytes[ROWS_MAX * COLUMNS_MAX];
    uint16_t scales[ROWS_MAX * COLUMNS_MAX / 16];
    uint16_t biases[ROWS_MAX * COLUMNS_MAX / 16];
    int16_t q[ROWS_MAX][COLUMNS_MAX];
} Coded;

static uint32_t draw(uint64_t stream, uint64_t i, uint32_t below) {
    return (uint32_t)(prng_u64(23, stream, i) % below);
}

static uint32_t groups_of(const Coded *coded) {
    return (uint32_t)num_ceil_div(coded->columns, coded->codes.group);
}

static uint16_t *scale_at(Coded *coded, uint32_t row, uint32_t column) {
    return &coded->scales[row * groups_of(coded) + column / coded->codes.group];
}

static float scale_of(const Coded *coded, uint32_t row, uint32_t column) {
    return f16_to_f32(coded->scales[row * groups_of(coded) + column / coded->codes.group]);
}

static void put_code(Coded *coded, uint32_t row, uint32_t column, int q) {
    int stored = q + coded->codes.zero;
    uint8_t *code = &coded->bytes[row * coded->codes.code_row_bytes];
    coded->q[row][column] = (int16_t)q;
    if (coded->codes.form == CODES_PAIRS) {
        code += column / 2;
        *code = (uint8_t)(column % 2 == 0 ? (*code & 0xf0) | stored : (*code & 15) | stored << 4);
    } else {
        code[column] = (uint8_t)stored;
    }
}

// Every code of the form, and scales of both signs that f16 holds.
static Coded *coded_make(CodeForm form, uint32_t rows, uint32_t columns, uint32_t group,
                         uint64_t seed) {
    Coded *coded = calloc(1, sizeof *coded);
    uint32_t per = form == CODES_PAIRS ? 2 : 1, groups = (columns + group - 1) / group;
    coded->rows = rows;
    coded->columns = columns;
    coded->codes = (GroupCodes){
        .form = form,
        .zero = form == CODES_PAIRS   ? 8
                : form == CODES_UINT8 ? 128
                                      : 0,
        .group = group,
        .codes = coded->bytes,
        .code_row_bytes = groups * group / per,
        .code_group_bytes = group / per,
        .scale_type = ELEMENT_F16,
        .scales = (const uint8_t *)coded->scales,
        .scale_row_bytes = groups * 2,
        .scale_group_bytes = 2,
    };
    for (uint32_t row = 0; row < rows; row++) {
        for (uint32_t k = 0; k < columns; k++) {
            int q = form == CODES_PAIRS ? (int)draw(seed, row * columns + k, 16) - 8
                                        : (int)draw(seed, row * columns + k, 255) - 127;
            put_code(coded, row, k, q);
            float sign = draw(seed + 1, row + k / group, 2) != 0 ? 1.0f : -1.0f;
            *scale_at(coded, row, k) =
                f16_from_f32(sign * (0.001f + (float)draw(seed + 2, row * 97 + k / group, 1000)));
        }
    }
    return coded;
}

static MatrixPart part_of(const Coded *coded) {
    return (MatrixPart){.rows = coded->rows, .codes = &coded->codes};
}

typedef struct Packed {
    Matrix matrix;
    size_t codes_bytes, scales_bytes;
    CodeCounts counts;
    Status status;
} Packed;

static Packed pack(WeightLevel level, uint32_t group, uint32_t columns, const MatrixParts *parts,
                   uint32_t threads) {
    uint32_t rows = 0;
    for (uint32_t i = 0; i < parts->count; i++) {
        rows += parts->order == ORDER_STACKED ? parts->parts[i].rows
                                              : matrix_padded_rows(parts->parts[i].rows);
    }
    Packed packed = {.matrix = matrix_shape(level, rows, columns, group)};
    uint32_t padded = packed.matrix.padded_columns;
    packed.codes_bytes = matrix_codes_bytes(level, rows, padded);
    packed.scales_bytes = matrix_scales_bytes(level, rows, padded, group);
    void *codes = aligned_alloc(64, num_round_up(packed.codes_bytes, 64));
    void *scales = aligned_alloc(64, num_round_up(packed.scales_bytes + 1, 64));
    memset(codes, 0xee, packed.codes_bytes);
    memset(scales, 0xee, packed.scales_bytes);
    packed.matrix.codes = codes;
    packed.matrix.scales = scales;
    packed.status = matrix_pack(&packed.matrix, parts, threads, &packed.counts, NULL);
    return packed;
}

static Packed pack_one(WeightLevel level, uint32_t group, const Coded *coded) {
    const MatrixPart part = part_of(coded);
    const MatrixParts parts = {&part, 1, ORDER_STACKED};
    Packed packed = pack(level, group, coded->columns, &parts, 2);
    cr_assert_eq(packed.status, OK);
    return packed;
}

static void packed_free(Packed *packed) {
    free((void *)packed->matrix.codes);
    free((void *)packed->matrix.scales);
}

// Code and scale bits of a panel, from the formulas of matrix.h.
static int panel_code(const Matrix *m, uint32_t row, uint32_t k) {
    const uint8_t *bytes = m->codes;
    size_t p = row / 16, c = row % 16, C = m->padded_columns;
    if (m->level == LEVEL_INT8) {
        return bytes[((p * (C / 4) + k / 4) * 16 + c) * 4 + k % 4] - 128;
    }
    uint8_t byte = bytes[((p * (C / 8) + k / 8) * 16 + c) * 4 + k % 4];
    return ((k / 4) % 2 == 0 ? byte & 15 : byte >> 4) - 8;
}

static uint16_t panel_scale(const Matrix *m, uint32_t row, uint32_t k) {
    return m->scales[(row / 16 * (m->padded_columns / m->group) + k / m->group) * 16 + row % 16];
}

// Rows [first, first + coded->rows) of the matrix are the codes and scales of `coded`.
static void expect_taken_over(const Matrix *m, uint32_t first, Coded *coded) {
    for (uint32_t row = 0; row < coded->rows; row++) {
        for (uint32_t k = 0; k < coded->columns; k++) {
            cr_assert_eq(panel_code(m, first + row, k), coded->q[row][k], "row %u column %u", row,
                         k);
            cr_assert_eq(panel_scale(m, first + row, k), *scale_at(coded, row, k));
            cr_assert_eq(matrix_value(m, first + row, k),
                         (float)coded->q[row][k] * scale_of(coded, row, k));
        }
    }
}

static void expect_counts(const Packed *packed, uint64_t exact, uint64_t scale, uint64_t again) {
    cr_expect_eq(packed->counts.runs[PASS_EXACT], exact, "%zu exact, expected %zu",
                 (size_t)packed->counts.runs[PASS_EXACT], (size_t)exact);
    cr_expect_eq(packed->counts.runs[PASS_SCALE_ROUNDED], scale);
    cr_expect_eq(packed->counts.runs[PASS_NONE], again);
}

Test(group_codes, of_4_bits_pass_into_int4_and_int8_panels_unrounded) {
    for (int level = LEVEL_INT8; level <= LEVEL_INT4; level++) {
        for (uint32_t group = 32; group <= 128; group *= 2) {
            Coded *coded = coded_make(CODES_PAIRS, 40, 384, group, 100 + group);
            Packed packed = pack_one((WeightLevel)level, group, coded);
            expect_taken_over(&packed.matrix, 0, coded);
            expect_counts(&packed, 40 * 384 / group, 0, 0);
            packed_free(&packed);
            free(coded);
        }
    }
}

Test(group_codes, of_8_bits_pass_into_int8_panels_unrounded) {
    static const CodeForm forms[] = {CODES_INT8, CODES_UINT8};
    for (size_t i = 0; i < 2; i++) {
        Coded *coded = coded_make(forms[i], 33, 256, 32, 200 + i);
        Packed packed = pack_one(LEVEL_INT8, 32, coded);
        expect_taken_over(&packed.matrix, 0, coded);
        expect_counts(&packed, 33 * 8, 0, 0);
        packed_free(&packed);
        free(coded);
    }
}

Test(group_codes, of_a_larger_group_pass_with_their_scale_repeated) {
    static const uint32_t groups[] = {64, 128, 320}; // the last is a scale for each row
    for (size_t i = 0; i < 3; i++) {
        Coded *coded = coded_make(CODES_PAIRS, 20, 320, groups[i], 300 + i);
        Packed packed = pack_one(LEVEL_INT4, 32, coded);
        expect_taken_over(&packed.matrix, 0, coded);
        expect_counts(&packed, 20 * 10, 0, 0);
        packed_free(&packed);
        free(coded);
    }
}

Test(group_codes, leave_the_padding_zero) {
    Coded *coded = coded_make(CODES_PAIRS, 17, 300, 300, 400);
    Packed packed = pack_one(LEVEL_INT4, 64, coded);
    expect_taken_over(&packed.matrix, 0, coded);
    for (uint32_t row = 0; row < 32; row++) {
        for (uint32_t k = row < 17 ? 300 : 0; k < packed.matrix.padded_columns; k++) {
            cr_assert_eq(matrix_value(&packed.matrix, row, k), 0.0f);
        }
    }
    packed_free(&packed);
    free(coded);
}

// What does not pass is near its value, and the row beside it is what it was.
static void expect_row_rounded(const Packed *packed, const Coded *coded, uint32_t row,
                               const float *truth) {
    for (uint32_t k = 0; k < coded->columns; k++) {
        float found = matrix_value(&packed->matrix, row, k);
        cr_assert(fabsf(found - truth[k]) <= 8.0f * fabsf(scale_of(coded, row, k)),
                  "row %u column %u: %g, was %g", row, k, (double)found, (double)truth[k]);
    }
}

static void row_truth(const Coded *coded, uint32_t row, float *out) {
    const CodeRun run = {row, 0, coded->columns};
    group_codes_to_f32(&coded->codes, &run, 1, out);
}

Test(group_codes, of_a_smaller_group_than_the_panels_are_rounded_again) {
    Coded *coded = coded_make(CODES_PAIRS, 16, 128, 32, 500);
    for (uint32_t i = 0; i < 16 * 4; i++) {
        coded->scales[i] = f16_from_f32(0.5f);
    }
    Packed packed = pack_one(LEVEL_INT4, 64, coded);
    expect_counts(&packed, 0, 0, 16 * 2);
    float truth[COLUMNS_MAX];
    for (uint32_t row = 0; row < 16; row++) {
        row_truth(coded, row, truth);
        expect_row_rounded(&packed, coded, row, truth);
    }
    packed_free(&packed);
    free(coded);
}

Test(group_codes, outside_the_level_are_rounded_again_and_their_neighbours_are_not) {
    Coded *coded = coded_make(CODES_INT8, 32, 64, 32, 600);
    put_code(coded, 5, 40, -128); // int8 ends at -127
    Packed packed = pack_one(LEVEL_INT8, 32, coded);
    expect_counts(&packed, 63, 0, 1);
    float truth[COLUMNS_MAX];
    row_truth(coded, 5, truth);
    expect_row_rounded(&packed, coded, 5, truth);
    for (uint32_t row = 0; row < 32; row++) {
        for (uint32_t k = 0; k < 64; k++) {
            if (row != 5 || k < 32) {
                cr_assert_eq(panel_code(&packed.matrix, row, k), coded->q[row][k]);
                cr_assert_eq(panel_scale(&packed.matrix, row, k), *scale_at(coded, row, k));
            }
        }
    }
    packed_free(&packed);
    Packed narrow = pack_one(LEVEL_INT4, 32, coded); // random bytes do not fit 4 bits
    expect_counts(&narrow, 0, 0, 64);
    packed_free(&narrow);
    free(coded);
}

Test(group_codes, keep_their_codes_where_f16_rounds_the_scale_a_little) {
    static const struct {
        float scale;
        CodePass pass;
    } cases[] = {
        {0.3f, PASS_SCALE_ROUNDED}, {-1.0001f, PASS_SCALE_ROUNDED},
        {0.25f, PASS_EXACT},        {65504.0f, PASS_EXACT},
        {65530.0f, PASS_NONE},      {1e9f, PASS_NONE},
        {0x1p-14f, PASS_EXACT},     {0x1.3p-20f, PASS_EXACT},
        {0x1.234p-20f, PASS_NONE},  {1e-10f, PASS_NONE},
        {0.0f, PASS_EXACT},         {NAN, PASS_NONE},
        {INFINITY, PASS_NONE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Coded *coded = coded_make(CODES_PAIRS, 1, 32, 32, 700);
        coded->codes.scale_type = ELEMENT_F32;
        coded->codes.scales = (const uint8_t *)&cases[i].scale;
        const CodeRun run = {0, 0, 32};
        int8_t q[32];
        uint16_t scale;
        cr_expect_eq(group_codes_pass(&coded->codes, &run, LEVEL_INT4, q, &scale), cases[i].pass,
                     "%g", (double)cases[i].scale);
        for (uint32_t k = 0; k < 32 && cases[i].pass != PASS_NONE; k++) {
            cr_expect_eq(q[k], coded->q[0][k]);
        }
        if (cases[i].pass != PASS_NONE) {
            cr_expect_eq(scale, f16_from_f32(cases[i].scale));
        }
        free(coded);
    }
}

Test(group_codes, with_a_bias_pass_where_it_is_a_whole_number_of_scales) {
    static const struct {
        float scale, bias;
        CodePass int4, int8;
    } cases[] = {
        {0.5f, -4.0f, PASS_EXACT, PASS_EXACT}, // 0 to 15 is -8 to 7
        {-0.5f, 4.0f, PASS_EXACT, PASS_EXACT}, {0.5f, -3.5f, PASS_NONE, PASS_EXACT},
        {0.5f, 0.0f, PASS_NONE, PASS_EXACT},   {0.5f, -3.7f, PASS_NONE, PASS_NONE},
        {0.5f, 1e9f, PASS_NONE, PASS_NONE},    {0.0f, 1.0f, PASS_NONE, PASS_NONE},
        {0.5f, NAN, PASS_NONE, PASS_NONE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Coded *coded = coded_make(CODES_PAIRS, 1, 32, 32, 800);
        for (uint32_t k = 0; k < 32; k++) {
            put_code(coded, 0, k, (int)(k % 16) - 8);
        }
        coded->codes.zero = 0;
        coded->codes.biases = (const uint8_t *)coded->biases;
        coded->scales[0] = f16_from_f32(cases[i].scale);
        coded->codes.scale_type = ELEMENT_F32;
        const float pair[2] = {cases[i].scale, cases[i].bias};
        coded->codes.scales = (const uint8_t *)&pair[0];
        coded->codes.biases = (const uint8_t *)&pair[1];
        const CodeRun run = {0, 0, 32};
        int8_t q[32];
        uint16_t scale;
        CodePass int4 = group_codes_pass(&coded->codes, &run, LEVEL_INT4, q, &scale);
        cr_expect_eq(int4, cases[i].int4, "case %zu", i);
        cr_expect_eq(group_codes_pass(&coded->codes, &run, LEVEL_INT8, q, &scale), cases[i].int8,
                     "case %zu", i);
        float truth[32];
        group_codes_to_f32(&coded->codes, &run, 1, truth);
        for (uint32_t k = 0; k < 32 && cases[i].int8 == PASS_EXACT; k++) {
            cr_expect_eq((float)q[k] * f16_to_f32(scale), truth[k]);
            cr_expect_eq(truth[k], (float)(k % 16) * cases[i].scale + cases[i].bias);
        }
        free(coded);
    }
}

Test(group_codes, that_are_not_finite_are_refused) {
    Coded *coded = coded_make(CODES_PAIRS, 16, 64, 32, 900);
    *scale_at(coded, 7, 32) = 0x7e00; // NaN
    const MatrixPart part = part_of(coded);
    const MatrixParts parts = {&part, 1, ORDER_STACKED};
    for (int level = 0; level < LEVEL_COUNT; level++) {
        Packed packed = pack((WeightLevel)level, level >= LEVEL_INT8 ? 32 : 0, 64, &parts, 1);
        cr_expect_eq(packed.status, E_TENSOR, "%s", weight_level_name((WeightLevel)level));
        packed_free(&packed);
    }
    free(coded);
}

Test(group_codes, become_numbers_at_the_levels_without_codes) {
    Coded *coded = coded_make(CODES_PAIRS, 20, 96, 32, 1000);
    const MatrixPart part = part_of(coded);
    const MatrixParts parts = {&part, 1, ORDER_STACKED};
    Packed f32 = pack(LEVEL_F32, 0, 96, &parts, 2), bf16 = pack(LEVEL_BF16, 0, 96, &parts, 2);
    for (uint32_t row = 0; row < 20; row++) {
        for (uint32_t k = 0; k < 96; k++) {
            float value = (float)coded->q[row][k] * scale_of(coded, row, k);
            cr_assert_eq(matrix_value(&f32.matrix, row, k), value);
            cr_assert_eq(matrix_value(&bf16.matrix, row, k), bf16_to_f32(bf16_from_f32(value)));
        }
    }
    expect_counts(&f32, 20 * 3, 0, 0);
    expect_counts(&bf16, 0, 0, 20 * 3);
    packed_free(&f32);
    packed_free(&bf16);
    free(coded);
}

// q and v are coded and k is not; panels hold rows of two of them.
Test(group_codes, pass_beside_dense_rows_of_one_panel) {
    enum { COLUMNS = 96 };
    Coded *q = coded_make(CODES_PAIRS, 21, COLUMNS, 32, 1100);
    Coded *v = coded_make(CODES_INT8, 18, COLUMNS, 32, 1200);
    float k[19 * COLUMNS];
    for (size_t i = 0; i < sizeof k / sizeof *k; i++) {
        k[i] = prng_normal(5, 0, i) * 0.02f;
    }
    const MatrixPart parts[] = {part_of(q), {ELEMENT_F32, k, 19, NULL}, part_of(v)};
    const MatrixParts stacked = {parts, 3, ORDER_STACKED}, alone = {&parts[1], 1, ORDER_STACKED};
    Packed packed = pack(LEVEL_INT8, 32, COLUMNS, &stacked, 1);
    Packed dense = pack(LEVEL_INT8, 32, COLUMNS, &alone, 1);
    expect_taken_over(&packed.matrix, 0, q);
    expect_taken_over(&packed.matrix, 40, v);
    for (uint32_t row = 0; row < 19; row++) {
        for (uint32_t column = 0; column < COLUMNS; column++) {
            cr_assert_eq(matrix_value(&packed.matrix, 21 + row, column),
                         matrix_value(&dense.matrix, row, column));
        }
    }
    expect_counts(&packed, (21 + 18) * 3, 0, 0);
    packed_free(&packed);
    packed_free(&dense);
    free(q);
    free(v);
}

Test(group_codes, alternate_by_panels) {
    Coded *gate = coded_make(CODES_PAIRS, 20, 64, 32, 1300);
    Coded *up = coded_make(CODES_PAIRS, 20, 64, 32, 1400);
    const MatrixPart parts[] = {part_of(gate), part_of(up)};
    const MatrixParts alternating = {parts, 2, ORDER_ALTERNATING};
    Packed packed = pack(LEVEL_INT4, 32, 64, &alternating, 1);
    for (uint32_t i = 0; i < 32; i++) {
        uint32_t row = i / 16 * 32 + i % 16;
        for (uint32_t k = 0; k < 64; k++) {
            float a = i < 20 ? (float)gate->q[i][k] * scale_of(gate, i, k) : 0.0f;
            float b = i < 20 ? (float)up->q[i][k] * scale_of(up, i, k) : 0.0f;
            cr_assert_eq(matrix_value(&packed.matrix, row, k), a);
            cr_assert_eq(matrix_value(&packed.matrix, row + 16, k), b);
        }
    }
    packed_free(&packed);
    free(gate);
    free(up);
}

Test(group_codes, pack_to_the_same_bytes_with_any_number_of_threads) {
    Coded *coded = coded_make(CODES_PAIRS, 64, 512, 64, 1500);
    put_code(coded, 3, 3, 7);
    for (uint32_t row = 0; row < 64; row += 5) {
        *scale_at(coded, row, 64) = 0x0003; // passes: f16 holds its own subnormal numbers
    }
    const MatrixPart part = part_of(coded);
    const MatrixParts parts = {&part, 1, ORDER_STACKED};
    for (int level = LEVEL_INT8; level <= LEVEL_INT4; level++) {
        for (uint32_t group = 64; group <= 128; group *= 2) { // 128: all are rounded again
            Packed one = pack((WeightLevel)level, group, 512, &parts, 1);
            Packed many = pack((WeightLevel)level, group, 512, &parts, 7);
            cr_expect_eq(memcmp(one.matrix.codes, many.matrix.codes, one.codes_bytes), 0);
            cr_expect_eq(memcmp(one.matrix.scales, many.matrix.scales, one.scales_bytes), 0);
            cr_expect_eq(memcmp(&one.counts, &many.counts, sizeof one.counts), 0);
            packed_free(&one);
            packed_free(&many);
        }
    }
    free(coded);
}
