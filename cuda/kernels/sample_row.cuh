// SPDX-License-Identifier: Apache-2.0
// What the kernels of sample share: the tile, and what they are given of one launch.
#ifndef CUDA_KERNELS_SAMPLE_ROW_CUH
#define CUDA_KERNELS_SAMPLE_ROW_CUH

#include "cuda/kernels/drawn.cuh"
#include "cuda/kernels/logit_scan.cuh"

enum {
    SAMPLE_THREADS = 512,
    RANK_MAX = 4096, // candidates that fit shared memory
    RANK_PREFIX = 1024,
};

#define NO_SET UINT32_MAX

// Device memory of one launch.
typedef struct SampleArgs {
    float *logits; // [rows][vocab]
    uint32_t vocab, chunks;
    const SampleSettings *settings; // [rows]
    const uint32_t *history_first;  // [rows + 1] where the history of each begins
    const int32_t *history;         // of all rows that have a penalty
    const int32_t *drawn_before;    // what tokens of the history may stand for
    float *penalized;               // [history]
    const uint32_t *allowed_at;     // [rows] number of its set, or NO_SET where all are allowed
    const uint32_t *allowed;        // [sets][chunks] a bit a token
    LogitScan scan;
    StepSample *out;     // [rows] what a row becomes; no token: nothing is left
    int32_t *drawn;      // [rows] the token once more
    uint32_t *undecided; // [rows] sample_sort must rank everything
    uint64_t *keys;      // sample_sort's, room for `sorted`
    uint32_t sorted;     // vocab rounded up to a power of two
    uint32_t count;      // of rows
} SampleArgs;

DEVICE uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

#endif
