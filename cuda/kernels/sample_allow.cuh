// SPDX-License-Identifier: Apache-2.0
// Takes the tokens that a row may not draw out of its logits, in place, after the penalty and
// before anything is ranked. A word of the set is a chunk of the scan, so only chunks that lose a
// logit are read, and they are scanned again.
#ifndef CUDA_KERNELS_SAMPLE_ALLOW_CUH
#define CUDA_KERNELS_SAMPLE_ALLOW_CUH

#include "cuda/kernels/sample_row.cuh"

static_assert(LOGIT_CHUNK == 32, "a chunk of the scan is a word of the set");

enum { ALLOW_SLICES = 16 }; // blocks of one row: 32 chunks a warp at the true vocabulary

KERNEL void KERNEL_BOUNDS(SAMPLE_THREADS, 1) sample_allow(const SampleArgs args) {
    uint32_t row = block_x(), set = global_load(args.allowed_at + row);
    if (set == NO_SET) {
        return;
    }
    float *logits = args.logits + (size_t)row * args.vocab;
    float inverse_temperature = global_load(args.scan.inverse_temperature + row);
    uint32_t warps = ALLOW_SLICES * (SAMPLE_THREADS / 32);
    uint32_t first = block_y() * (SAMPLE_THREADS / 32) + thread_warp();
    for (uint32_t chunk = first; chunk < args.chunks; chunk += warps) {
        uint32_t word = global_load(args.allowed + (size_t)set * args.chunks + chunk);
        if (word == UINT32_MAX) { // the same for all lanes
            continue;
        }
        uint32_t column = chunk * LOGIT_CHUNK + thread_lane();
        bool there = column < args.vocab, allowed = (word >> thread_lane() & 1) != 0;
        float x = there && allowed ? global_load(logits + column) : -INFINITY;
        if (there && !allowed) {
            global_store(logits + column, x);
        }
        logit_scan_chunk(args.scan, row, chunk, args.chunks, inverse_temperature, x);
    }
}

#endif
