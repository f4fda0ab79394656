// SPDX-License-Identifier: Apache-2.0
// The one table of tolerances between a variant and the reference, and between the reference and
// transformers, each with its reason. |a - b| <= absolute + relative * |b|.
#ifndef TESTS_OPS_TOLERANCE_H
#define TESTS_OPS_TOLERANCE_H

typedef struct Tolerance {
    double absolute, relative;
} Tolerance;

// Scores are sums of up to 512 f32 products of size 1 in one chain: error at most 512 * 2^-24 * sum
// of |q k|, about 1e-5 in practice; exp turns it into a relative error of the probabilities, and
// the output is an average of values of size 1.
static const Tolerance TOLERANCE_ATTENTION = {5e-5, 0.0};
// On CUDA, by KvKind. Tiles round probabilities p to bf16, and sum them as rounded: weights of p (1
// + e), |e| <= 2^-9, over values of size 1; or p times the scale of its value to f16, |e| <= 2^-11.
static const Tolerance TOLERANCE_ATTENTION_CUDA[] = {{5e-5, 0.0}, {0x1p-9, 0.0}, {0x1p-11, 0.0}};
// The reference is double throughout; the fixture is transformers' own arithmetic in double.
static const Tolerance TOLERANCE_ATTENTION_GOLDEN = {1e-6, 1e-6};
// A norm of 512 values in f32 chains of 32, two products and a sum: a few units in the last place.
static const Tolerance TOLERANCE_ROPE = {2e-6, 2e-6};
// transformers keeps statistics in f32 and its own cos and sin are within one unit of ours.
static const Tolerance TOLERANCE_ROPE_GOLDEN = {4e-6, 2e-6};
// Cached numbers, by KvKind. A bf16 value may round to the neighbour when the f32 value differs in
// its last bits; an int8 value to the neighbouring step, 1 / 127 of the head's largest value, which
// is below 4.5 in these fixtures.
static const Tolerance TOLERANCE_CACHE[] = {
    {2e-6, 2e-6}, // TOLERANCE_ROPE
    {1e-6, 1.0 / 128.0},
    {4.5 / 127.0, 0.0},
};
// Sum over up to 262,144 f32 exponentials of two units each, then a logarithm.
static const Tolerance TOLERANCE_LOGPROB = {5e-6, 1e-6};
// Two products with f32 sums over at most 6912 columns and three norms in f32, of which the first
// enlarges what flat patches have of errors 316 times: a mean off by 2^-22 would be 7e-5.
static const Tolerance TOLERANCE_PATCH = {2e-5, 2e-5};
// One product with f32 sums over 40 columns of size about 2, and a norm in f32.
static const Tolerance TOLERANCE_FRAME = {2e-6, 2e-6};

#endif
