// SPDX-License-Identifier: Apache-2.0
// The machine that the tests of tests/cuda run on: the emulator in CI, a GPU where ci/gpu builds
// the same tests with nvcc. On a GPU the emulator's questions have plain answers: a fault is what
// the runtime reports, nothing is counted, and memory is compute-sanitizer's business.
#ifndef TESTS_CUDA_MACHINE_H
#define TESTS_CUDA_MACHINE_H

#include "cuda/launch.h"

#ifdef TESSERA_SIMT
enum { MACHINE_IS_GPU = 0 };
#else
#include <string.h>

enum { MACHINE_IS_GPU = 1 };

typedef struct SimtOptions {
    uint64_t seed;
    bool profile;
    size_t shared_max;
    uint64_t memory_bytes;
    bool late, dry;
} SimtOptions;

typedef struct SimtReport {
    const char *kernel;
    uint64_t blocks, threads, barriers, shared_accesses, bank_conflicts;
    uint64_t load_sectors, load_sectors_min, store_sectors, store_sectors_min;
} SimtReport;

static inline void simt_reset(const SimtOptions *options) {
    (void)options;
}
static inline const char *simt_fault(void) {
    cudaError_t status = cudaDeviceSynchronize();
    return status == cudaSuccess ? "" : cudaGetErrorString(status);
}
static inline const SimtReport *simt_report(void) {
    static const SimtReport nothing = {};
    return &nothing;
}
static inline uint64_t simt_memory_used(void) {
    return 0;
}
#endif

#endif
