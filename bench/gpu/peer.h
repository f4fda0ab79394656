// SPDX-License-Identifier: Apache-2.0
// cuBLAS beside our kernels in the same run: bf16 and int8 products of the same shapes, by
// cublasGemmEx of the libcublas that is found when the bench starts. Nothing else of tessera needs
// that library (docs/adr/0005-no-cublas-behind-linear.md), so it is not linked.
#ifndef BENCH_GPU_PEER_H
#define BENCH_GPU_PEER_H

#include "bench/gpu/machine.h"

typedef struct GpuPeer GpuPeer;

typedef enum PeerKind { PEER_BF16, PEER_INT8 } PeerKind;

// A product out[rows][outputs] = x[rows][columns] w[outputs][columns]^T, out in f32 or s32.
typedef struct PeerProduct {
    PeerKind kind;
    uint32_t rows, outputs, columns;
    const void *x, *w;
    void *out;
} PeerProduct;

// The least rows that cuBLAS takes: int8 wants multiples of 4.
uint32_t peer_rows(PeerKind kind, uint32_t rows);

// NULL when no libcublas is found or it does not start; the emulator has none. `version` is 0 then.
GpuPeer *peer_open(const GpuBench *bench, int *version);
void peer_close(GpuPeer *peer); // NULL is fine

Status peer_run(GpuPeer *peer, const PeerProduct *product);

#endif
