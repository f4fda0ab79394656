// SPDX-License-Identifier: Apache-2.0
// A product on host and device: random operands, the reference's result and its bound, and runs on
// the emulator.
#ifndef TESTS_CUDA_LINEAR_CASE_H
#define TESTS_CUDA_LINEAR_CASE_H

#include "cuda/context.h"
#include "cuda/weight_layout.h"
#include "tests/cuda/machine.h"

#include <criterion/criterion.h>

extern "C" {
#include "cpu/activation.h"
#include "unit/cpu/random_operands.h"
}

#include <vector>

typedef struct LinearShape {
    WeightLevel level;
    ActivationKind kind;
    uint32_t group, rows, columns, m; // rows: outputs
    LinearEpilogue epilogue;
    bool bias;
} LinearShape;

const char *linear_shape_name(const LinearShape *shape); // for messages

// The operands on the host. A gelu case has 2 x rows padded to 16 weight rows.
typedef struct LinearCase {
    LinearShape shape;
    Matrix weight;
    Activation in;
    float *bias;
    OpLinear op; // out is NULL
} LinearCase;

LinearCase linear_case_open(LinearShape shape);
void linear_case_close(LinearCase *c);

// [m][out_stride], what lies beyond the columns is LINEAR_GUARD.
#define LINEAR_GUARD 12345.0f
std::vector<float> linear_case_reference(const LinearCase *c);

// How far the f32 chain of a variant may be from the reference at (token, column): rounding errors
// of a chain of n additions behave like a random walk, so |error| <= (8 + 2 sqrt(n)) 2^-24 sum |x
// w|.
double linear_case_tolerance(const LinearCase *c, uint32_t token, uint32_t column);

// That `got` is the reference's output, and what lies beyond the columns stayed as it was.
void linear_case_assert(const LinearCase *c, const std::vector<float> &got);

// The same operands on the device; kept until close.
typedef struct LinearOnDevice {
    OpLinear op;
    size_t out_count;
    std::vector<void *> memory;
} LinearOnDevice;

LinearOnDevice linear_on_device(const LinearCase *c);
void linear_off_device(LinearOnDevice *d);
void linear_clear(const LinearOnDevice *d); // out to LINEAR_GUARD
std::vector<float> linear_result(const LinearOnDevice *d);

// An activation of m rows on the device, zeroed; `memory` takes what must be freed.
Activation activation_on_device(const Activation *host, uint32_t m, std::vector<void *> *memory);
Matrix matrix_on_device(const Matrix *host, std::vector<void *> *memory);

#endif
