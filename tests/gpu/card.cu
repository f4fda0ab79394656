// SPDX-License-Identifier: Apache-2.0
// What must hold before anything else is run on a GPU, found out in seconds: a driver, new enough
// for the runtime that this was built with; a card of the architecture that the kernels were built
// for; a kernel that runs. Says the card, its architecture and the driver's CUDA; then holds a
// context open until its standard input ends, so that the programs after it find the GPU awake.
#include "cuda/launch.h"
#include "cuda/prim/prim.cuh"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const int built_for[] = {__CUDA_ARCH_LIST__}; // 890 for sm_89

enum { NUMBERS = 1000 };

typedef struct TwiceArgs {
    int *numbers;
} TwiceArgs;

KERNEL void KERNEL_BOUNDS(NUMBERS, 1) twice_kernel(const TwiceArgs args) {
    global_store(args.numbers + thread_index(), 2 * (int)thread_index());
}

// A driver serves runtimes of its own major version and of those before.
static bool driver_fits(int *driver) {
    if (cudaDriverGetVersion(driver) != cudaSuccess || *driver == 0) {
        fprintf(stderr, "card: no NVIDIA driver is installed here (libcuda.so.1 is not found)\n");
        return false;
    }
    if (*driver / 1000 < CUDART_VERSION / 1000) {
        fprintf(
            stderr,
            "card: the driver serves CUDA up to %d.%d and this was built with %d.%d; update the "
            "driver or build with an older nvcc\n",
            *driver / 1000, *driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
        return false;
    }
    return true;
}

static bool card_fits(cudaDeviceProp *card) {
    int count = 0;
    cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaSuccess) {
        status = cudaGetDeviceProperties(card, 0);
    }
    if (status != cudaSuccess) {
        fprintf(stderr, "card: the driver shows no GPU: %s\n", cudaGetErrorString(status));
        return false;
    }
    for (int architecture : built_for) {
        if (architecture == card->major * 100 + card->minor * 10) {
            return true;
        }
    }
    fprintf(stderr,
            "card: this was built for sm_%d and the %s is sm_%d%d; build it with 'ci/gpu "
            "build %d%d'\n",
            built_for[0] / 10, card->name, card->major, card->minor, card->major, card->minor);
    return false;
}

static bool kernel_runs(void) {
    int numbers[NUMBERS] = {}, wrong = 0;
    TwiceArgs args = {};
    cudaError_t status = cudaMalloc((void **)&args.numbers, sizeof numbers);
    if (status == cudaSuccess) {
        status = LAUNCH(twice_kernel, dim3(1), NUMBERS, 0, (cudaStream_t)0, args);
    }
    if (status == cudaSuccess) {
        status = cudaMemcpy(numbers, args.numbers, sizeof numbers, cudaMemcpyDeviceToHost);
    }
    cudaFree(args.numbers);
    for (int i = 0; i < NUMBERS; i++) {
        wrong += numbers[i] != 2 * i;
    }
    if (status != cudaSuccess || wrong > 0) {
        fprintf(stderr, "card: a kernel of one line does not run: %s, %d of %d numbers wrong\n",
                cudaGetErrorString(status), wrong, NUMBERS);
        return false;
    }
    return true;
}

int main(void) {
    int driver = 0;
    cudaDeviceProp card;
    if (!driver_fits(&driver) || !card_fits(&card) || !kernel_runs()) {
        return 1;
    }
    printf("%s\nsm_%d%d, %.1f GB, the driver serves CUDA %d.%d\n", card.name, card.major,
           card.minor, (double)card.totalGlobalMem / 1e9, driver / 1000, driver % 1000 / 10);
    fflush(stdout);
    char ignored[64];
    while (read(STDIN_FILENO, ignored, sizeof ignored) > 0) {
    }
    return 0;
}
