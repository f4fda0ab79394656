// SPDX-License-Identifier: Apache-2.0
// copy_pages: pages of a step never overlap (scheduler/batch.h), so all copies of a launch run at
// once. Page numbers travel in the arguments, COPIES_MAX a launch: a step rarely has more.
//
// Tile: a block is a page of a layer. 256 threads, no shared memory, 16 bytes a lane. Bytes: a page
// read and written, the minimum.
// promise: spills 0, calls 0, 128-bit loads
#include "cuda/context.h"
#include "cuda/prim/prim.cuh"

enum { THREADS = 256, COPIES_MAX = 128 };

typedef struct CopyPagesArgs {
    uint32_t layer_count;
    uint32_t from[COPIES_MAX], to[COPIES_MAX];
    uint32_t page_vectors[GEMMA4_LAYERS_MAX]; // of 16 bytes
    unsigned char *pages[GEMMA4_LAYERS_MAX];
} CopyPagesArgs;

static_assert(sizeof(CopyPagesArgs) <= 4096, "what a launch may carry on every GPU");

KERNEL void KERNEL_BOUNDS(THREADS, 4) copy_pages_kernel(const CopyPagesArgs args) {
    size_t vectors = args.page_vectors[block_y()];
    Vector16 *pages = (Vector16 *)args.pages[block_y()];
    const Vector16 *from = pages + args.from[block_x()] * vectors;
    Vector16 *to = pages + args.to[block_x()] * vectors;
    for (size_t i = thread_index(); i < vectors; i += THREADS) {
        global_store(to + i, global_load_once(from + i));
    }
}

Status cuda_copy_pages(void *context, const OpCopyPages *op) {
    CudaContext *cuda = (CudaContext *)context;
    CopyPagesArgs args = {};
    args.layer_count = op->layer_count;
    for (uint32_t l = 0; l < op->layer_count; l++) {
        args.page_vectors[l] = (uint32_t)(op->layers[l].page_bytes / sizeof(Vector16));
        args.pages[l] = (unsigned char *)op->layers[l].pages;
    }
    Status status = cuda->failed;
    for (uint32_t first = 0; first < op->count && status == OK; first += COPIES_MAX) {
        uint32_t left = op->count - first, count = left < COPIES_MAX ? left : (uint32_t)COPIES_MAX;
        memcpy(args.from, op->from + first, count * sizeof *args.from);
        memcpy(args.to, op->to + first, count * sizeof *args.to);
        dim3 grid(count, op->layer_count);
        status = cuda_launched(cuda, "copy_pages",
                               LAUNCH(copy_pages_kernel, grid, THREADS, 0, cuda->stream, args));
    }
    return status;
}
