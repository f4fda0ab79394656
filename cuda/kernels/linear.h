// SPDX-License-Identifier: Apache-2.0
// linear on CUDA: what its kernels share on the host side. out = x W^T with an epilogue
// (model/ops.h), computed as W times columns of x: the 16 rows of an mma are outputs, its 8 columns
// are tokens, so one token wastes nothing of the weights.
//
// One chain per output, everywhere (docs/adr/0004-batch-invariance.md): the products of a group of
// columns are summed from zero (exactly in int32 for int8 by int8 or int4; by mma in ascending k
// for bf16), then acc = fmaf(group sum, scale, acc) in ascending groups. Matrices without groups
// are cut every LINEAR_BF16_GROUP columns. Kernels differ in who computes a group's sum and when,
// never in the chain, so every variant gives the same bits for a row and the choice among them is
// free. Integers give the bits of the cpu's fused variants.
//
// An int8x2 row is two int8 rows, neighbours in memory and so columns 2t and 2t + 1 of an mma: both
// multiply the same expanded weights, end in one lane, and become 128 high + low in the finish.
// Kernels, their choice and this header's rows and tokens know int8 rows only.
#ifndef CUDA_KERNELS_LINEAR_H
#define CUDA_KERNELS_LINEAR_H

#include "cuda/context.h"
#include "cuda/kernels/weight.cuh"

enum { LINEAR_BF16_GROUP = 64 };

// What every kernel of linear is launched with.
typedef struct LinearArgs {
    WeightView weight;
    const void *x;           // [rows][stride] of `kind`, which is never int8x2
    const float *row_scales; // of every row, or pair of rows
    ActivationKind kind;
    bool pairs; // rows 2r and 2r + 1 are the high and low parts of int8x2 row r
    uint32_t rows, stride;
    const uint32_t *out_rows; // rows of `out`, or NULL for 0, 1, 2, ...
    float *out;               // [rows, or half as many][out_stride]
    uint32_t out_stride, out_columns;
    const float *bias; // [out_columns] or NULL
    bool gelu;         // LINEAR_GELU_MUL
    float softcap;     // 0 = none
    LogitScan scan;    // chunks NULL: none
} LinearArgs;

// Of larger arguments the compiler makes a copy, which costs a loop some 10 instructions.
static_assert(sizeof(LinearArgs) <= 128, "what a kernel reads where the launch left it");

// A kernel that can be chosen.
typedef struct LinearVariant {
    const char *name;
    WeightLevel level;
    ActivationKind kind;
    uint32_t group;           // of the weights; 0 for levels without
    uint32_t outputs, tokens; // of a block
    bool split;               // linear_split.cuh
    cudaError_t (*launch)(const CudaContext *context, const LinearArgs *args);
} LinearVariant;

// All of linear_variants.def.
extern const LinearVariant linear_variants[];
extern const uint32_t linear_variant_count;

// The kernel that takes every level and activation kind, in f32.
extern const LinearVariant linear_plain_variant;

LinearArgs linear_args(const OpLinear *op);

#endif
