// SPDX-License-Identifier: Apache-2.0
#include "random_operands.h"

#include "base/f16.h"
#include "base/prng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool variant_open(CpuIsa isa, uint32_t threads, Backend *out) {
    static bool said[CPU_ISA_AVX512 + 1];
    Error error;
    if (!cpu_isa_available(isa)) {
        cr_assert_eq(cpu_open(&(CpuOptions){.isa = isa}, out, &error), E_UNSUPPORTED);
        if (!said[isa]) {
            said[isa] = true;
            fprintf(stderr, "skipped: the variant %s was not tested: %s\n", cpu_isa_name(isa),
                    error.text);
        }
        return false;
    }
    cr_assert_eq(cpu_open(&(CpuOptions){.isa = isa, .threads = threads}, out, &error), OK, "%s",
                 error.text);
    return true;
}

static void *lines_alloc(size_t bytes) {
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    cr_assert_not_null(memory);
    memset(memory, 0, (bytes + 63) / 64 * 64 + 64);
    return memory;
}

float *floats_random(size_t count, uint64_t seed) {
    float *out = lines_alloc(count * sizeof *out);
    for (size_t i = 0; i < count; i++) {
        out[i] = prng_normal(seed, 0, i);
    }
    return out;
}

// Writes the code or value of (row, k) at the place matrix.h names.
static void matrix_put(Matrix *matrix, uint32_t row, uint32_t k, uint64_t random) {
    size_t p = row / 16, c = row % 16, padded = matrix->padded_columns;
    bool inside = row < matrix->rows && k < matrix->columns;
    float value = inside ? (float)((double)random / 1.8446744073709552e19 - 0.5) : 0.0f;
    if (matrix->level == LEVEL_F32) {
        ((float *)matrix->codes)[(p * padded + k) * 16 + c] = value;
    } else if (matrix->level == LEVEL_BF16) {
        ((uint16_t *)matrix->codes)[((p * padded / 2 + k / 2) * 16 + c) * 2 + k % 2] =
            bf16_from_f32(value);
    } else if (matrix->level == LEVEL_INT8) {
        ((uint8_t *)matrix->codes)[((p * padded / 4 + k / 4) * 16 + c) * 4 + k % 4] =
            (uint8_t)(inside ? 1 + random % 255 : 128);
    } else {
        uint8_t code = (uint8_t)(inside ? random % 16 : 8);
        uint8_t *byte = (uint8_t *)matrix->codes + ((p * padded / 8 + k / 8) * 16 + c) * 4 + k % 4;
        *byte |= (uint8_t)(k / 4 % 2 == 0 ? code : code << 4);
    }
}

Matrix matrix_random(WeightLevel level, uint32_t rows, uint32_t columns, uint32_t group,
                     uint64_t seed) {
    Matrix out = {.level = level, .rows = rows, .columns = columns};
    out.group = level >= LEVEL_INT8 ? group : 0;
    out.padded_columns = matrix_padded_columns(level, columns, group);
    out.codes = lines_alloc(matrix_codes_bytes(level, rows, out.padded_columns));
    size_t scales_bytes = matrix_scales_bytes(level, rows, out.padded_columns, group);
    if (scales_bytes > 0) {
        uint16_t *scales = lines_alloc(scales_bytes);
        for (size_t i = 0; i < scales_bytes / 2; i++) {
            scales[i] = f16_from_f32(0.01f * prng_normal(seed, 1, i));
        }
        out.scales = scales;
    }
    for (uint32_t row = 0; row < matrix_padded_rows(rows); row++) {
        for (uint32_t k = 0; k < out.padded_columns; k++) {
            matrix_put(&out, row, k, prng_u64(seed, 2, (uint64_t)row << 32 | k));
        }
    }
    return out;
}

void matrix_free(Matrix *matrix) {
    free((void *)matrix->codes);
    free((void *)matrix->scales);
}

Activation activation_alloc(ActivationKind kind, uint32_t rows, uint32_t columns) {
    Activation out = {.kind = kind, .columns = columns};
    out.stride = (uint32_t)num_round_up(columns, ACTIVATION_COLUMN_ALIGN);
    out.values = lines_alloc((size_t)rows * out.stride * 4);
    out.scales = lines_alloc(rows * sizeof *out.scales);
    size_t sums_bytes =
        (size_t)rows * activation_parts(kind) * (out.stride / 32) * sizeof *out.block_sums;
    out.block_sums = lines_alloc(sums_bytes);
    // Whoever fills it writes everything, padding included.
    memset(out.values, 0xAA, (size_t)rows * out.stride * 4);
    memset(out.block_sums, 0xAA, sums_bytes);
    return out;
}

void activation_free(Activation *activation) {
    free(activation->values);
    free(activation->scales);
    free(activation->block_sums);
}

Activation activation_random(ActivationKind kind, uint32_t rows, uint32_t columns, uint64_t seed) {
    Activation out = activation_alloc(kind, rows, columns);
    float *x = floats_random((size_t)rows * columns, seed);
    cr_assert_eq(
        activate_ref(NULL,
                     &(OpActivate){.row_count = rows, .in = x, .in_stride = columns, .out = out}),
        OK);
    free(x);
    return out;
}
