// SPDX-License-Identifier: Apache-2.0
// What most tests begin and end with: a context or a backend on the machine (tests/cuda/machine.h),
// closed again with nothing left in its memory.
#ifndef TESTS_CUDA_OPEN_H
#define TESTS_CUDA_OPEN_H

#include "cuda/context.h"
#include "cuda/cuda.h"
#include "tests/cuda/machine.h"

#include <criterion/criterion.h>

static inline SimtOptions simt_seeded(uint64_t seed) {
    SimtOptions options = {};
    options.seed = seed;
    return options;
}

static inline SimtOptions simt_profiled(void) {
    SimtOptions options = {};
    options.profile = true;
    return options;
}

static inline SimtOptions simt_late(uint64_t seed = 0) {
    SimtOptions options = simt_seeded(seed);
    options.late = true;
    return options;
}

static inline SimtOptions simt_dry(void) {
    SimtOptions options = {};
    options.dry = true;
    return options;
}

static inline SimtOptions simt_of_memory(uint64_t bytes) {
    SimtOptions options = {};
    options.memory_bytes = bytes;
    return options;
}

static inline CudaContext open_context(const SimtOptions &options = {}) {
    simt_reset(&options);
    CudaContext context;
    Error error = {};
    cr_assert_eq(cuda_context_open(0, &context, &error), OK, "%s", error.text);
    return context;
}

static inline void close_context(CudaContext *context) {
    cuda_context_close(context);
    cr_assert_eq(simt_memory_used(), 0, "all device memory is given back");
}

// Skips the test on a GPU without the library that `cuda` asks for.
static inline Backend open_backend(const SimtOptions &options = {}, const CudaOptions &cuda = {}) {
    simt_reset(&options);
    Backend backend;
    Error error = {};
    Status status = cuda_open(&cuda, &backend, &error);
    if (status == E_NOT_FOUND && cuda.cublaslt && MACHINE_IS_GPU) {
        cr_skip_test("no libcublasLt here");
    }
    cr_assert_eq(status, OK, "%s", error.text);
    return backend;
}

static inline void close_backend(Backend *backend) {
    backend->close(backend->context);
    cr_assert_eq(simt_memory_used(), 0, "all device memory is given back");
}

#endif
