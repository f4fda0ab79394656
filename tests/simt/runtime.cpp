// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime over host memory. Work on a stream is done in call order: at once, or where
// SimtOptions.late asks for it when the host waits for it, so that who reads a result too early or
// writes over what is still to be copied finds out. While a stream is being captured it is recorded
// instead and done at every launch of the graph.
#include "tests/simt/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <deque>
#include <functional>
#include <map>
#include <set>

typedef std::function<cudaError_t()> Work;

struct SimtGraph {
    std::vector<Work> works;
};
struct SimtGraphExec {
    std::vector<Work> works;
};
struct SimtStream {
    SimtGraph *capture = nullptr;
    std::deque<Work> queue; // late work
};
struct SimtEvent {
    double milliseconds = -1;
    SimtStream *stream = nullptr;
    uint64_t recorded = 0, reached = 0;
};

static SimtStream default_stream;
static std::set<SimtStream *> streams = {&default_stream};
static std::map<const unsigned char *, size_t> pinned; // memory of cudaMallocHost
static cudaError_t last_error = cudaSuccess;

static SimtStream *stream_of(cudaStream_t stream) {
    return stream != nullptr ? stream : &default_stream;
}

static cudaError_t keep(cudaError_t error) {
    if (error != cudaSuccess) {
        last_error = error;
    }
    return error;
}

static cudaError_t enqueue(cudaStream_t stream, Work work) {
    if (simt_failed()) {
        return keep(cudaErrorLaunchFailure); // sticky
    }
    SimtStream *s = stream_of(stream);
    if (s->capture != nullptr) {
        s->capture->works.push_back(std::move(work));
        return cudaSuccess;
    }
    if (simt_options.late) {
        s->queue.push_back(std::move(work));
        return cudaSuccess;
    }
    return keep(work());
}

// The oldest late work of a stream; what is left behind a fault is dropped.
static void run_oldest(SimtStream *stream) {
    Work work = std::move(stream->queue.front());
    stream->queue.pop_front();
    if (simt_failed() || keep(work()) != cudaSuccess) {
        stream->queue.clear();
    }
}

static void run_all(SimtStream *stream) {
    while (!stream->queue.empty()) {
        run_oldest(stream);
    }
}

static void run_everything(void) {
    for (SimtStream *stream : streams) {
        run_all(stream);
    }
}

static bool is_pinned(const void *memory) {
    auto above = pinned.upper_bound((const unsigned char *)memory);
    return above != pinned.begin() &&
           (const unsigned char *)memory < std::prev(above)->first + std::prev(above)->second;
}

const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
    case cudaSuccess:
        return "no error";
    case cudaErrorInvalidValue:
        return "invalid argument";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorIllegalState:
        return "the operation cannot be performed in the present state";
    case cudaErrorLaunchFailure:
        return "unspecified launch failure";
    default:
        return "unknown error";
    }
}

cudaError_t cudaSetDevice(int device) {
    return keep(device == 0 ? cudaSuccess : cudaErrorInvalidValue);
}

// An sm_86 with few multiprocessors, so that grids chosen by their number stay small.
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
    *properties = {"emulator", 8, 6, 4, simt_options.memory_bytes};
    return keep(device == 0 ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaMalloc(void **pointer, size_t bytes) {
    *pointer = simt_memory.take(bytes, simt_options.memory_bytes);
    return keep(*pointer != nullptr ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void *pointer) {
    run_everything();
    return keep(pointer == nullptr || simt_memory.give(pointer) ? cudaSuccess
                                                                : cudaErrorInvalidValue);
}

cudaError_t cudaMallocHost(void **pointer, size_t bytes) {
    *pointer = malloc(bytes > 0 ? bytes : 1);
    pinned[(const unsigned char *)*pointer] = bytes;
    return keep(*pointer != nullptr ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void *pointer) {
    run_everything();
    pinned.erase((const unsigned char *)pointer);
    free(pointer);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    *total_bytes = simt_options.memory_bytes;
    *free_bytes = simt_options.memory_bytes - simt_memory.used();
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (bytes > 0 && ((to_device && !simt_memory.contains(to, bytes)) ||
                      (from_device && !simt_memory.contains(from, bytes)))) {
        return keep(cudaErrorInvalidValue);
    }
    // Memory that is not pinned goes through some of the driver's: it may be written over as soon as
    // this returns, and the host is kept waiting for what comes into it.
    bool late = simt_options.late && stream_of(stream)->capture == nullptr;
    if (late && kind == cudaMemcpyHostToDevice && !is_pinned(from)) {
        std::vector<unsigned char> copy((const unsigned char *)from,
                                        (const unsigned char *)from + bytes);
        return enqueue(stream, [=] {
            memcpy(to, copy.data(), copy.size());
            return (cudaError_t)cudaSuccess;
        });
    }
    cudaError_t status = enqueue(stream, [=] {
        memmove(to, from, bytes);
        return (cudaError_t)cudaSuccess;
    });
    bool waits = late && kind == cudaMemcpyDeviceToHost && !is_pinned(to);
    return waits ? cudaStreamSynchronize(stream) : status;
}

cudaError_t cudaMemsetAsync(void *pointer, int value, size_t bytes, cudaStream_t stream) {
    if (bytes > 0 && !simt_memory.contains(pointer, bytes)) {
        return keep(cudaErrorInvalidValue);
    }
    return enqueue(stream, [=] {
        memset(pointer, value, bytes);
        return (cudaError_t)cudaSuccess;
    });
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    *stream = new SimtStream();
    streams.insert(*stream);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    run_all(stream);
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (stream_of(stream)->capture != nullptr) {
        return keep(cudaErrorIllegalState);
    }
    run_all(stream_of(stream));
    return keep(simt_failed() ? cudaErrorLaunchFailure : cudaSuccess);
}

cudaError_t cudaDeviceSynchronize(void) {
    run_everything();
    return cudaStreamSynchronize(nullptr);
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    *event = new SimtEvent();
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    event->stream = stream_of(stream);
    uint64_t number = ++event->recorded;
    return enqueue(stream, [=] {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        event->milliseconds = (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
        event->reached = number;
        return (cudaError_t)cudaSuccess;
    });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    while (event->reached < event->recorded && !event->stream->queue.empty()) {
        run_oldest(event->stream);
    }
    if (simt_failed()) {
        return keep(cudaErrorLaunchFailure);
    }
    return keep(event->milliseconds >= 0 ? cudaSuccess : cudaErrorIllegalState);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    *milliseconds = (float)(end->milliseconds - start->milliseconds);
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t event, unsigned) {
    return cudaEventSynchronize(event); // sooner than a GPU would, but no sooner than it may
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    SimtStream *s = stream_of(stream);
    if (s == &default_stream || s->capture != nullptr) {
        return keep(cudaErrorIllegalState);
    }
    s->capture = new SimtGraph();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    SimtStream *s = stream_of(stream);
    *graph = s->capture;
    s->capture = nullptr;
    return keep(*graph != nullptr ? cudaSuccess : cudaErrorIllegalState);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
    *exec = new SimtGraphExec{graph->works};
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    return enqueue(stream, [=] {
        for (const Work &work : exec->works) {
            cudaError_t error = work();
            if (error != cudaSuccess) {
                return error;
            }
        }
        return (cudaError_t)cudaSuccess;
    });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void) {
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

// Once a process and kernel; a process ends without notice when its test fails.
static void note_launch(const void *code) {
    static const char *path = getenv("TESSERA_SIMT_LAUNCHES");
    static std::set<const void *> noted;
    if (path == nullptr || !noted.insert(code).second) {
        return;
    }
    FILE *file = fopen(path, "a");
    if (file != nullptr) {
        fprintf(file, "%lld\n", (long long)((intptr_t)code - (intptr_t)simt_launch));
        fclose(file);
    }
}

cudaError_t simt_launch(const char *kernel, const void *code, dim3 grid, unsigned block_threads,
                        size_t shared_bytes, cudaStream_t stream, void (*call)(const void *args),
                        const void *args, size_t args_bytes) {
    if (!simt_options.dry) {
        note_launch(code);
    }
    std::vector<unsigned char> copy((const unsigned char *)args,
                                    (const unsigned char *)args + args_bytes);
    return enqueue(stream, [=] {
        return simt_run(kernel, grid, block_threads, shared_bytes, call, copy.data());
    });
}
