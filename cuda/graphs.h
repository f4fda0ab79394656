// SPDX-License-Identifier: Apache-2.0
// Recorded steps by key. At most GRAPHS_MAX are kept; then the oldest makes room.
#ifndef CUDA_GRAPHS_H
#define CUDA_GRAPHS_H

#include "cuda/context.h"

enum { GRAPHS_MAX = 128 };

typedef struct Graphs {
    uint64_t keys[GRAPHS_MAX];
    cudaGraphExec_t execs[GRAPHS_MAX];
    uint32_t count, next; // next: where the following one goes
} Graphs;

bool graphs_has(const Graphs *graphs, uint64_t key);
cudaError_t graphs_begin(CudaContext *context);
cudaError_t graphs_end(Graphs *graphs, CudaContext *context, uint64_t key);
cudaError_t graphs_launch(const Graphs *graphs, CudaContext *context, uint64_t key);
void graphs_forget(Graphs *graphs);

#endif
