// SPDX-License-Identifier: Apache-2.0
// What the CUDA backend takes of a card's memory beside the weights, in plain C, so that memory can
// be planned for a card that is not there.
#ifndef CUDA_PLAN_H
#define CUDA_PLAN_H

#include "model/ops.h"

// Working memory within one op: partial sums of split reductions, tickets. Tickets lie in the last
// CUDA_TICKET_BYTES, are zero between ops, and a kernel that counts one up leaves it at zero.
enum { CUDA_SCRATCH_BYTES = 32 * 1024 * 1024, CUDA_TICKET_BYTES = 64 * 1024 };

// What is left free of a card: the driver gives memory in pieces of 2 MiB, the code of kernels and
// recordings of steps go there as they are first used, and others on the card may grow.
enum { CUDA_RESERVE_BYTES = 256 * 1024 * 1024 };

// Most bytes that a plan may sum up to when `free_bytes` of a card are free.
static inline uint64_t cuda_plan_bytes_max(uint64_t free_bytes) {
    return free_bytes > CUDA_RESERVE_BYTES ? free_bytes - CUDA_RESERVE_BYTES : 1;
}

// With bf16 products by cuBLASLt (cuda/kernels/linear_library.h): its workspace, as much as its
// manual advises for the largest GPUs, and sums that wait for their epilogue.
enum {
    CUDA_LIBRARY_WORKSPACE_BYTES = 32 * 1024 * 1024,
    CUDA_LIBRARY_SUMS_BYTES = 64 * 1024 * 1024,
    CUDA_LIBRARY_BYTES = CUDA_LIBRARY_WORKSPACE_BYTES + CUDA_LIBRARY_SUMS_BYTES
};

// Numbers of a key that a page has beside the value: all, or where the value is the key and RoPE
// turns a quarter of it, that quarter (shared pages, cuda/kv_layout.cuh). int8 has all.
static inline uint32_t cuda_key_dim(KvKind kind, const LayerShape *shape) {
    bool shared =
        shape->value_is_key && kind != KV_INT8 && shape->rotated_pairs * 8 == shape->head_dim;
    return shared ? shape->head_dim / 4 : shape->head_dim;
}

// Bytes of a page of a layer, as cuda/kv_layout.cuh lays it out (a test compares them).
static inline size_t cuda_page_bytes(KvKind kind, const LayerShape *shape) {
    size_t number = kind == KV_F32 ? sizeof(float) : kind == KV_BF16 ? sizeof(uint16_t) : 1;
    size_t scales = kind == KV_INT8 ? 2 * sizeof(float) : 0;
    size_t numbers = (size_t)cuda_key_dim(kind, shape) + shape->head_dim;
    return (size_t)KV_PAGE_TOKENS * shape->kv_head_count * (numbers * number + scales);
}

#endif
