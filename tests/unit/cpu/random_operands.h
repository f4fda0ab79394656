// SPDX-License-Identifier: Apache-2.0
// Random matrices, activations and backends for the tests of linear and the norms. Everything comes
// from (seed, counter), so a failure is the same every time.
#ifndef TESTS_CPU_RANDOM_OPERANDS_H
#define TESTS_CPU_RANDOM_OPERANDS_H

#include "cpu/context.h"
#include "cpu/cpu.h"

#include <criterion/criterion.h>

// Opens a backend of the variant, or says once per set that this processor lacks it and returns
// false.
bool variant_open(CpuIsa isa, uint32_t threads, Backend *out);

// Every code the level allows, scales of either sign, padding of value 0. Free with matrix_free.
Matrix matrix_random(WeightLevel level, uint32_t rows, uint32_t columns, uint32_t group,
                     uint64_t seed);
void matrix_free(Matrix *matrix);

// [rows] of memory for an activation; free with activation_free.
Activation activation_alloc(ActivationKind kind, uint32_t rows, uint32_t columns);
void activation_free(Activation *activation);

// Standard normals.
float *floats_random(size_t count, uint64_t seed);

// Rows of standard normals as an activation, by the reference.
Activation activation_random(ActivationKind kind, uint32_t rows, uint32_t columns, uint64_t seed);

#endif
