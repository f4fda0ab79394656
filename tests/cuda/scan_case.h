// SPDX-License-Identifier: Apache-2.0
// A LogitScan the plain way: maxima by comparing, sums in double. Some tests hold what a kernel
// left against it, others hand it to the sampler.
#ifndef TESTS_CUDA_SCAN_CASE_H
#define TESTS_CUDA_SCAN_CASE_H

#include "cuda/context.h"

#include <vector>

typedef struct ScanCase {
    uint32_t rows, vocab, chunks;
    std::vector<uint32_t> suppressed;
    std::vector<float> inverse_temperature;
    std::vector<float> sums; // [rows][LOGIT_SUM_COUNT][chunks]
} ScanCase;

// Ids outside the vocabulary suppress nothing.
ScanCase scan_case(uint32_t vocab, const std::vector<float> &inverse_temperature,
                   const int32_t *suppress, uint32_t suppress_count);
bool scan_case_suppresses(const ScanCase *c, uint32_t column);

// Rows of `stride` logits: what is suppressed becomes -inf, then all is scanned.
void scan_case_fill(ScanCase *c, float *logits, size_t stride);

// The case on the device; with `empty` its results are SCAN_GUARD.
#define SCAN_GUARD 54321.0f
LogitScan scan_on_device(const ScanCase *c, bool empty, std::vector<void *> *memory);

// The results of `scan`, whose sums may differ from the case's by what f32 costs.
void assert_scanned(const ScanCase *c, const LogitScan *scan, const char *what);

#endif
