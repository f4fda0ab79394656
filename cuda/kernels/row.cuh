// SPDX-License-Identifier: Apache-2.0
// A row of f32 in shared memory and its statistics, by one block. Sums run in the order of the
// cpu's variants (cpu/norm_lanes.h): 64 chains, column i in chain i % 64, folded in a fixed tree.
// So a norm has the variants' bits, and int8 activations the variants' values, on every card.
//
// One warp sums, two chains a lane: for 3840 columns 120 shared loads and 60 dependent fmaf, about
// what a tree over the whole block would cost in barriers.
#ifndef CUDA_KERNELS_ROW_CUH
#define CUDA_KERNELS_ROW_CUH

#include "cuda/kernels/activation.cuh"

enum { ROW_THREADS = 256, ROW_CHAINS = 64, ROW_SUMS = 2 };

// What a block needs beside the row itself: a cell for each sum, a float per warp.
typedef struct RowShared {
    float *row;   // [columns]
    float *cells; // [ROW_SUMS]
    float *warps;
} RowShared;

static inline size_t row_shared_bytes(uint32_t columns) {
    return ((size_t)columns + ROW_SUMS) * sizeof(float) + ACTIVATION_SHARED_BYTES;
}

DEVICE RowShared row_shared(uint32_t columns) {
    float *row = (float *)shared_base();
    return {row, row + columns, row + columns + ROW_SUMS};
}

// The chains of `count` sums at once over the row, to every thread; term(x, sums) adds a column.
// Barriers on both sides: what the block wrote to the row before is seen, and may be written over
// after.
template <int count, typename Term>
DEVICE void row_fold(const RowShared &s, uint32_t columns, float *sums, Term term) {
    static_assert(count <= ROW_SUMS, "a cell for each sum");
    block_sync();
    if (thread_warp() == 0) {
        float low[count] = {}, high[count] = {}; // chains `lane` and `lane + 32`
        uint32_t i = thread_lane();
        for (; i + 32 < columns; i += ROW_CHAINS) {
            term(shared_load(s.row + i), low);
            term(shared_load(s.row + i + 32), high);
        }
        if (i < columns) {
            term(shared_load(s.row + i), low);
        }
        for (int n = 0; n < count; n++) {
            low[n] += warp_shuffle_xor(low[n], 16);
            high[n] += warp_shuffle_xor(high[n], 16);
            float sum = low[n] + high[n];
            for (int mask = 8; mask > 0; mask /= 2) {
                sum += warp_shuffle_xor(sum, mask);
            }
            if (thread_lane() == 0) {
                shared_store(s.cells + n, sum);
            }
        }
    }
    block_sync();
    for (int n = 0; n < count; n++) {
        sums[n] = shared_load(s.cells + n);
    }
}

DEVICE float row_sum(const RowShared &s, uint32_t columns) {
    float sum;
    row_fold<1>(s, columns, &sum, [](float x, float *sums) { *sums += x; });
    return sum;
}

DEVICE float row_sum_squares(const RowShared &s, uint32_t columns) {
    float sum;
    row_fold<1>(s, columns, &sum, [](float x, float *sums) { *sums = fmaf(x, x, *sums); });
    return sum;
}

// Sums of the distances from `pivot` and of their squares.
typedef struct RowMoments {
    float sum, squares;
} RowMoments;

DEVICE RowMoments row_moments(const RowShared &s, uint32_t columns, float pivot) {
    float sums[2];
    row_fold<2>(s, columns, sums, [=](float x, float *both) {
        float distance = x - pivot;
        both[0] += distance;
        both[1] = fmaf(distance, distance, both[1]);
    });
    return {sums[0], sums[1]};
}

// (sum / columns + eps)^(-1/2) as the cpu has it: computed in double, rounded to f32. GeForce cards
// do two doubles a cycle, so here it is f32 with the errors of every step carried along; the result
// differs from the rounded double less than once in a million (tests/cuda/test_rows.cpp).
DEVICE float row_factor(float sum, uint32_t columns, float eps) {
    float n = (float)columns;
    float mean = sum / n;
    float mean_rest = fmaf(-mean, n, sum) / n;
    float t = mean + eps;
    float eps_part = t - mean;
    float t_rest = (mean - (t - eps_part)) + (eps - eps_part) + mean_rest;
    float y = 1.0f / sqrtf(t);
    float square = y * y;
    float square_rest = fmaf(y, y, -square);
    float residual = fmaf(-t, square, 1.0f) - t * square_rest - t_rest * square;
    return fmaf(0.5f * y, residual, y);
}

#endif
