// SPDX-License-Identifier: Apache-2.0
// What ops share: the context opens with zeroed tickets, keeps the first failure, leaves nothing
// behind.
#include "tests/cuda/open.h"

#include <algorithm>
#include <vector>

Test(context, opens_with_zeroed_scratch_and_gives_everything_back) {
    CudaContext context = open_context();
    std::vector<unsigned char> scratch(CUDA_SCRATCH_BYTES, 1);
    cr_assert_eq(cudaMemcpyAsync(scratch.data(), context.scratch, scratch.size(),
                                 cudaMemcpyDeviceToHost, context.stream),
                 cudaSuccess);
    cr_assert_eq(cudaStreamSynchronize(context.stream), cudaSuccess);
    cr_assert_eq(std::count(scratch.begin(), scratch.end(), 0), CUDA_SCRATCH_BYTES);
    close_context(&context);
}

Test(context, a_device_that_is_not_there_is_an_error_by_name) {
    SimtOptions options = {};
    simt_reset(&options);
    CudaContext context;
    Error error = {};
    cr_assert_eq(cuda_context_open(99, &context, &error), E_DEVICE);
    cr_assert(strstr(error.text, "cudaSetDevice") != NULL, "%s", error.text);
    cr_assert_eq(simt_memory_used(), 0);
}

Test(context, the_first_failure_stays) {
    CudaContext context = open_context();
    cr_assert_eq(cuda_launched(&context, "one", cudaSuccess), OK);
    cr_assert_eq(cuda_launched(&context, "two", cudaErrorInvalidValue), E_DEVICE);
    cr_assert_eq(cuda_launched(&context, "three", cudaSuccess), E_DEVICE);
    cr_assert(strstr(context.failure.text, "two") != NULL, "%s", context.failure.text);
    close_context(&context);
}

// Three times through the two halves on a device that copies as late as it may.
Test(context, a_half_of_the_staging_memory_is_filled_again_once_it_is_copied) {
    CudaContext context = open_context(simt_late());
    enum { TURNS = 6 };
    for (unsigned char turn = 0; turn < TURNS; turn++) {
        unsigned char *half;
        cr_assert_eq(cuda_staging_take(&context, &half), cudaSuccess);
        memset(half, turn + 1, 100);
        cr_assert_eq(cudaMemcpyAsync(context.scratch + turn * 100, half, 100,
                                     cudaMemcpyHostToDevice, context.stream),
                     cudaSuccess);
        cr_assert_eq(cuda_staging_sent(&context), cudaSuccess);
    }
    unsigned char got[TURNS * 100];
    cr_assert_eq(
        cudaMemcpyAsync(got, context.scratch, sizeof got, cudaMemcpyDeviceToHost, context.stream),
        cudaSuccess);
    cr_assert_eq(cudaStreamSynchronize(context.stream), cudaSuccess);
    for (int i = 0; i < TURNS * 100; i++) {
        cr_assert_eq(got[i], i / 100 + 1, "byte %d", i);
    }
    close_context(&context);
}
