// SPDX-License-Identifier: Apache-2.0
// A GPU for machines without one: runs the kernels of cuda/ on the host, thread by thread, and
// punishes what a GPU would punish. C++, because kernels are; tests only. docs/cuda.md explains it.
//
// Each CUDA thread is a fiber. Fibers of a block run in an order drawn from a seed and switch where
// the hardware would let them meet: barriers, warp operations, mma, ldmatrix. Blocks run one after
// another, in a seeded order too. Device memory is host memory. Work of a stream is done at once,
// or as late as a busy GPU might (SimtOptions.late).
//
// A fault ends the launch, is kept as text (kernel, block, thread, file:line, rule) and makes every
// later call fail, as a sticky device error does; simt_reset starts anew. Found are:
// - shared memory out of bounds or misaligned, read before it was written or while cp.async is
//   still filling it; two threads on one byte without a barrier between (not where the kernel uses
//   named barriers)
// - global memory that is not device memory, misaligned vectors
// - lanes of a warp at different operations, a barrier that not all threads reach, deadlock
// - launch limits: threads, shared memory of the architecture, grid
// Counted per launch: barriers, shared-memory bank conflicts, global sectors against the minimum.
#ifndef TESTS_SIMT_SIMT_H
#define TESTS_SIMT_SIMT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>

typedef struct SimtOptions {
    uint64_t seed;         // order of blocks and threads; 0 = ascending
    bool profile;          // count conflicts and sectors (slower)
    size_t shared_max;     // bytes a block may use; 0 = 101,376, what every GPU from sm_80 on has
    uint64_t memory_bytes; // device memory; 0 = 4 GiB
    bool late;             // work of a stream is done when the host waits for it, not before
    bool dry;              // launches are held against the limits and reported, and run nothing
} SimtOptions;

typedef struct SimtReport {
    const char *kernel;
    uint64_t blocks, threads;                // threads per block
    uint64_t barriers;                       // per launch, all blocks
    uint64_t shared_accesses;                // warp-wide
    uint64_t bank_conflicts;                 // extra shared-memory cycles
    uint64_t load_sectors, load_sectors_min; // 32-byte sectors moved, and the bytes asked for / 32
    uint64_t store_sectors, store_sectors_min;
} SimtReport;

void simt_reset(const SimtOptions *options); // frees nothing; forgets a fault
const char *simt_fault(void);                // "" when there is none
const SimtReport *simt_report(void);         // of the last launch
uint64_t simt_memory_used(void); // bytes of live device memory: 0 at the end of a clean program

// ---- The part of the CUDA runtime that tessera uses ---------------------------------------------

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {
    }
};

typedef int cudaError_t;
enum {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorIllegalState = 401,
    cudaErrorLaunchFailure = 719,
};
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal };

typedef struct SimtStream *cudaStream_t;
typedef struct SimtEvent *cudaEvent_t;
typedef struct SimtGraph *cudaGraph_t;
typedef struct SimtGraphExec *cudaGraphExec_t;

typedef struct cudaDeviceProp {
    char name[256];
    int major, minor;
    int multiProcessorCount;
    size_t totalGlobalMem;
} cudaDeviceProp;

const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaSetDevice(int device); // there is device 0
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
cudaError_t cudaMalloc(void **pointer, size_t bytes); // filled with 0xCD
cudaError_t cudaFree(void *pointer);
cudaError_t cudaMallocHost(void **pointer, size_t bytes);
cudaError_t cudaFreeHost(void *pointer);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *pointer, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreate(cudaStream_t *stream);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGetLastError(void);
cudaError_t cudaDeviceSynchronize(void);

// What the LAUNCH macro of cuda/launch.h becomes. `call` runs the kernel once, for one thread, on a
// copy of the arguments. When the environment names a file in TESSERA_SIMT_LAUNCHES, the place of
// each kernel that is launched, `code` less simt_launch, is appended to it as a line; the test
// tests/cuda/test_every_kernel_runs.py reads them.
cudaError_t simt_launch(const char *kernel, const void *code, dim3 grid, unsigned block_threads,
                        size_t shared_bytes, cudaStream_t stream, void (*call)(const void *args),
                        const void *args, size_t args_bytes);

#endif
