// SPDX-License-Identifier: Apache-2.0
#include "cuda/graphs.h"

static const cudaGraphExec_t *graphs_find(const Graphs *graphs, uint64_t key) {
    for (uint32_t i = 0; i < graphs->count; i++) {
        if (graphs->keys[i] == key) {
            return &graphs->execs[i];
        }
    }
    return NULL;
}

bool graphs_has(const Graphs *graphs, uint64_t key) {
    return graphs_find(graphs, key) != NULL;
}

cudaError_t graphs_begin(CudaContext *context) {
    return cudaStreamBeginCapture(context->stream, cudaStreamCaptureModeThreadLocal);
}

cudaError_t graphs_end(Graphs *graphs, CudaContext *context, uint64_t key) {
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    cudaError_t status = cudaStreamEndCapture(context->stream, &graph);
    if (status == cudaSuccess) {
        status = cudaGraphInstantiate(&exec, graph, 0);
    }
    if (graph != NULL) {
        cudaGraphDestroy(graph);
    }
    if (status != cudaSuccess) {
        return status;
    }
    uint32_t slot = graphs->next;
    if (graphs->count == GRAPHS_MAX) {
        cudaGraphExecDestroy(graphs->execs[slot]);
    } else {
        graphs->count++;
    }
    graphs->keys[slot] = key;
    graphs->execs[slot] = exec;
    graphs->next = (slot + 1) % GRAPHS_MAX;
    return cudaSuccess;
}

cudaError_t graphs_launch(const Graphs *graphs, CudaContext *context, uint64_t key) {
    const cudaGraphExec_t *exec = graphs_find(graphs, key);
    return exec != NULL ? cudaGraphLaunch(*exec, context->stream) : cudaErrorInvalidValue;
}

void graphs_forget(Graphs *graphs) {
    for (uint32_t i = 0; i < graphs->count; i++) {
        cudaGraphExecDestroy(graphs->execs[i]);
    }
    memset(graphs, 0, sizeof *graphs);
}
