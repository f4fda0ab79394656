// SPDX-License-Identifier: Apache-2.0
// Opening the CUDA backend and its device table: memory, copies on the one stream, weights streamed
// to the card, recorded steps.
#include "cuda/cuda.h"

#include "base/check.h"
#include "base/num.h"
#include "cuda/graphs.h"
#include "cuda/kernels/linear_library.h"
#include "cuda/ktable.h"
#include "cuda/kv_layout.cuh"
#include "cuda/weight_layout.h"

extern "C" {
#include "base/machine.h"
#include "weights/fanout.h"
}

#include <stdio.h>
#include <stdlib.h>

enum { COMPUTE_LEAST = 80 };

// The context and what the device table keeps.
typedef struct CudaBackend {
    CudaContext context; // first: an op's context is the backend
    DeviceTable device;
    char name[300];
    Graphs graphs;
    KernelTable kernels; // measured choices, if there are any
    cudaEvent_t marks[DEVICE_MARKS];
    void **placed; // weights, given back at close
    size_t placed_count, placed_room;
    unsigned char *block; // what is left of the block of expected weights
    size_t block_bytes;
} CudaBackend;

static const OpTable cuda_ops = {
#define OP(name, arguments, text) cuda_##name,
#include "model/ops.def"
#undef OP
};

static Status kept(void *context, const char *what, cudaError_t status) {
    return cuda_launched((CudaContext *)context, what, status);
}

// ---- Memory and copies --------------------------------------------------------------------------

static void *device_take(void *context, size_t bytes) {
    CudaContext *cuda = (CudaContext *)context;
    void *memory = NULL;
    cudaError_t status = cudaMalloc(&memory, bytes > 0 ? bytes : 1);
    if (status == cudaSuccess) {
        status = cudaMemsetAsync(memory, 0, bytes, cuda->stream);
    }
    if (status != cudaSuccess) {
        cudaGetLastError(); // running out of memory is no failure of the device
        cudaFree(memory);
        return NULL;
    }
    return memory;
}

static void device_give(void *context, void *memory) {
    (void)context;
    if (memory != NULL) {
        cudaFree(memory);
    }
}

static void *device_take_host(void *context, size_t bytes) {
    (void)context;
    void *memory = NULL;
    if (cudaMallocHost(&memory, bytes > 0 ? bytes : 1) != cudaSuccess) {
        cudaGetLastError();
        return NULL;
    }
    return memset(memory, 0, bytes);
}

static void device_give_host(void *context, void *memory) {
    (void)context;
    cudaFreeHost(memory);
}

static Status device_upload(void *context, void *to, const void *host_from, size_t bytes) {
    CudaContext *cuda = (CudaContext *)context;
    return kept(context, "upload",
                cudaMemcpyAsync(to, host_from, bytes, cudaMemcpyHostToDevice, cuda->stream));
}

static Status device_download(void *context, void *host_to, const void *from, size_t bytes) {
    CudaContext *cuda = (CudaContext *)context;
    return kept(context, "download",
                cudaMemcpyAsync(host_to, from, bytes, cudaMemcpyDeviceToHost, cuda->stream));
}

static Status device_wait(void *context, Error *error) {
    CudaContext *cuda = (CudaContext *)context;
    Status status = kept(context, "step", cudaStreamSynchronize(cuda->stream));
    return status == OK ? OK : error_set(error, status, "%s", cuda->failure.text);
}

static Status device_mark(void *context, uint32_t mark) {
    CudaBackend *backend = (CudaBackend *)context;
    return kept(context, "step", cudaEventRecord(backend->marks[mark], backend->context.stream));
}

static Status device_reach(void *context, uint32_t mark) {
    return kept(context, "step", cudaEventSynchronize(((CudaBackend *)context)->marks[mark]));
}

static uint64_t device_memory_bytes(void *context) {
    (void)context;
    size_t free_bytes = 0, total_bytes = 0;
    return cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess ? free_bytes : 0;
}

static size_t device_kv_page_bytes(KvKind kind, const LayerShape *shape) {
    return kv_layout_page_bytes(kv_form(kind, shape));
}

// ---- Weights ------------------------------------------------------------------------------------

// Memory that is remembered until the backend closes. E_MEMORY.
static Status take_placed(CudaBackend *backend, size_t bytes, void **out) {
    if (backend->placed_count == backend->placed_room) {
        size_t room = backend->placed_room == 0 ? 256 : 2 * backend->placed_room;
        void **more = (void **)realloc(backend->placed, room * sizeof *more);
        if (more == NULL) {
            return E_MEMORY;
        }
        backend->placed = more;
        backend->placed_room = room;
    }
    if (cudaMalloc(out, bytes > 0 ? bytes : 1) != cudaSuccess) {
        cudaGetLastError();
        return E_MEMORY;
    }
    backend->placed[backend->placed_count++] = *out;
    return OK;
}

// The driver gives memory in pieces of 2 MiB, and a layer's matrices are a few of them each; one
// behind the other they leave nothing between them. Where a block is not to be had, each is taken
// for itself.
static void device_expect_weights(void *context, uint64_t bytes) {
    CudaBackend *backend = (CudaBackend *)context;
    void *block = NULL;
    bool there = take_placed(backend, bytes, &block) == OK;
    backend->block = (unsigned char *)block;
    backend->block_bytes = there ? bytes : 0;
}

// Memory for a weight: of the block, else its own. E_MEMORY.
static Status place_memory(CudaBackend *backend, size_t bytes, void **out) {
    size_t whole = num_round_up(bytes, WEIGHT_IMAGE_ALIGN);
    if (whole > backend->block_bytes) {
        return take_placed(backend, bytes, out);
    }
    *out = backend->block;
    backend->block += whole;
    backend->block_bytes -= whole;
    return OK;
}

// Panels [first, first + count) of a matrix on their way into a half of the staging memory.
typedef struct Permuting {
    const Matrix *host;
    bool rows; // to plain rows
    uint32_t first, count, pieces;
    unsigned char *codes, *scales;
} Permuting;

enum { PERMUTE_THREADS = 8, PERMUTE_PIECES = 32 };

static void permute_piece(void *context, size_t index) {
    const Permuting *p = (const Permuting *)context;
    uint32_t begin = (uint32_t)(p->count * index / p->pieces);
    uint32_t end = (uint32_t)(p->count * (index + 1) / p->pieces);
    unsigned char *codes = p->codes + begin * cuda_weight_panel_codes(p->host);
    if (p->rows) {
        cuda_weight_rows(p->host, p->first + begin, end - begin, (uint16_t *)codes);
        return;
    }
    cuda_weight_permute(p->host, p->first + begin, end - begin, codes,
                        p->scales + begin * cuda_weight_panel_scales(p->host));
}

static void permute(const Matrix *host, bool rows, uint32_t first, uint32_t count,
                    unsigned char *codes, unsigned char *scales) {
    uint32_t pieces = (uint32_t)num_min(count, PERMUTE_PIECES);
    Permuting p = {host, rows, first, count, pieces, codes, scales};
    uint32_t threads = (uint32_t)num_min(PERMUTE_THREADS, machine_processors());
    fanout_run(threads, p.pieces, permute_piece, &p);
}

// Panels are permuted into one half of the staging memory while the other half is copied.
static cudaError_t stream_panels(CudaBackend *backend, const Matrix *host, const Matrix *placed) {
    CudaContext *cuda = &backend->context;
    size_t codes = cuda_weight_panel_codes(host), scales = cuda_weight_panel_scales(host);
    uint32_t panels = cuda_weight_panels(host);
    bool rows = linear_library_takes(cuda, host);
    uint32_t at_once = (uint32_t)(CUDA_STAGING_HALF / (codes + scales));
    REQUIRE_MESSAGE(at_once > 0, "a panel of %zu bytes", codes + scales);
    cudaError_t status = cudaSuccess;
    for (uint32_t first = 0; first < panels && status == cudaSuccess;) {
        uint32_t count = (uint32_t)num_min(at_once, panels - first);
        unsigned char *to;
        status = cuda_staging_take(cuda, &to);
        permute(host, rows, first, count, to, to + count * codes);
        if (status == cudaSuccess) {
            status = cudaMemcpyAsync((unsigned char *)placed->codes + first * codes, to,
                                     count * codes, cudaMemcpyHostToDevice, cuda->stream);
        }
        if (status == cudaSuccess && scales > 0) {
            status = cudaMemcpyAsync((unsigned char *)placed->scales + first * scales,
                                     to + count * codes, count * scales, cudaMemcpyHostToDevice,
                                     cuda->stream);
        }
        if (status == cudaSuccess) {
            status = cuda_staging_sent(cuda);
        }
        first += count;
    }
    return status == cudaSuccess ? cudaStreamSynchronize(cuda->stream) : status;
}

static Status device_place_matrix(void *context, const Matrix *host, Matrix *out) {
    CudaBackend *backend = (CudaBackend *)context;
    void *image = NULL;
    TRY(place_memory(backend, cuda_weight_bytes(host), &image));
    *out = cuda_weight_placed(host, image);
    TRY(kept(context, "weights", stream_panels(backend, host, out)));
    return linear_library_takes(&backend->context, host)
               ? linear_library_prepare(&backend->context, out)
               : OK;
}

static Status device_place_floats(void *context, const float *host, size_t count,
                                  const float **out) {
    void *memory = NULL;
    TRY(place_memory((CudaBackend *)context, count * sizeof *host, &memory));
    *out = (const float *)memory;
    return device_upload(context, memory, host, count * sizeof *host);
}

// ---- Recorded steps -----------------------------------------------------------------------------

static bool device_graph_has(void *context, uint64_t key) {
    return graphs_has(&((CudaBackend *)context)->graphs, key);
}

static Status device_graph_begin(void *context) {
    return kept(context, "graph", graphs_begin((CudaContext *)context));
}

static Status device_graph_end(void *context, uint64_t key) {
    CudaBackend *backend = (CudaBackend *)context;
    return kept(context, "graph", graphs_end(&backend->graphs, &backend->context, key));
}

static Status device_graph_launch(void *context, uint64_t key) {
    CudaBackend *backend = (CudaBackend *)context;
    return kept(context, "graph", graphs_launch(&backend->graphs, &backend->context, key));
}

static void device_graph_forget(void *context) {
    graphs_forget(&((CudaBackend *)context)->graphs);
}

static const GraphTable cuda_graphs = {device_graph_has, device_graph_begin, device_graph_end,
                                       device_graph_launch, device_graph_forget};

// ---- Open and close -----------------------------------------------------------------------------

static void backend_close(void *context) {
    CudaBackend *backend = (CudaBackend *)context;
    graphs_forget(&backend->graphs);
    for (size_t i = 0; i < backend->placed_count; i++) {
        cudaFree(backend->placed[i]);
    }
    for (cudaEvent_t mark : backend->marks) {
        if (mark != NULL) {
            cudaEventDestroy(mark);
        }
    }
    linear_library_close(&backend->context);
    cuda_context_close(&backend->context);
    free(backend->placed);
    free(backend);
}

static Status describe(CudaBackend *backend, Error *error) {
    cudaDeviceProp properties;
    CU(cudaGetDeviceProperties(&properties, backend->context.device));
    int compute = backend->context.compute;
    snprintf(backend->name, sizeof backend->name, "cuda sm_%d %s", compute, properties.name);
    if (compute < COMPUTE_LEAST) {
        return error_set(error, E_UNSUPPORTED,
                         "GPU %d is %s of sm_%d; the kernels need sm_%d or newer; use --device cpu",
                         backend->context.device, properties.name, compute, COMPUTE_LEAST);
    }
    for (cudaEvent_t &mark : backend->marks) {
        CU(cudaEventCreate(&mark));
    }
    return OK;
}

static Status load_kernels(CudaBackend *backend, const char *path, Error *error) {
    char card[KTABLE_CARD_MAX];
    TRY(ktable_card(backend->context.device, card, error));
    TRY(ktable_load(path, card, &backend->kernels, error));
    backend->context.kernels = &backend->kernels;
    return OK;
}

static void fill_table(CudaBackend *backend) {
    DeviceTable *device = &backend->device;
    device->name = backend->name;
    device->overlaps = true;
    device->scans = true;
    device->take = device_take;
    device->give = device_give;
    device->take_host = device_take_host;
    device->give_host = device_give_host;
    device->upload = device_upload;
    device->download = device_download;
    device->wait = device_wait;
    device->mark = device_mark;
    device->reach = device_reach;
    device->kv_page_bytes = device_kv_page_bytes;
    device->expect_weights = device_expect_weights;
    device->place_matrix = device_place_matrix;
    device->place_floats = device_place_floats;
    device->memory_bytes = device_memory_bytes;
    device->graphs = &cuda_graphs;
}

Status cuda_open(const CudaOptions *options, Backend *out, Error *error) {
    CudaBackend *backend = (CudaBackend *)calloc(1, sizeof *backend);
    if (backend == NULL) {
        return error_set(error, E_MEMORY, "no memory for the CUDA backend");
    }
    Status status = cuda_context_open(options->device, &backend->context, error);
    if (status == OK) {
        status = describe(backend, error);
    }
    if (status == OK && options->kernels != NULL) {
        status = load_kernels(backend, options->kernels, error);
    }
    if (status == OK && options->cublaslt) {
        status = linear_library_open(&backend->context, linear_library_files, error);
    }
    if (status != OK) {
        backend_close(backend);
        return status;
    }
    fill_table(backend);
    *out = {&cuda_ops, &backend->device, backend, backend_close};
    return OK;
}
