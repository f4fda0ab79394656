// SPDX-License-Identifier: Apache-2.0
// Before anything is ranked: penalty and suppression in place, then of every chunk of 64 logits the
// maximum, and the sums of exp(x - maximum) as they are and at the row's temperature.
#ifndef CUDA_KERNELS_SAMPLE_SCAN_CUH
#define CUDA_KERNELS_SAMPLE_SCAN_CUH

#include "cuda/kernels/sample_row.cuh"

KERNEL void KERNEL_BOUNDS(SAMPLE_THREADS, 1) sample_adjust(const SampleArgs args) {
    const SampleRow *row = args.rows + block_x();
    float *logits = args.logits + (size_t)block_x() * args.vocab;
    uint32_t first = global_load(&row->history_first), count = global_load(&row->history_count);
    float penalty = global_load(&row->penalty);
    // Every occurrence of an id computes the same number from what is there before any is written.
    for (uint32_t i = thread_index(); i < count; i += SAMPLE_THREADS) {
        int32_t id = drawn_token(global_load(args.history + first + i), args.drawn_before);
        if (id >= 0 && (uint32_t)id < args.vocab) {
            float x = global_load(logits + id);
            global_store(args.penalized + first + i, x < 0.0f ? x * penalty : x / penalty);
        }
    }
    block_sync();
    for (uint32_t i = thread_index(); i < count; i += SAMPLE_THREADS) {
        int32_t id = drawn_token(global_load(args.history + first + i), args.drawn_before);
        if (id >= 0 && (uint32_t)id < args.vocab) {
            global_store(logits + id, global_load(args.penalized + first + i));
        }
    }
    block_sync();
    for (uint32_t i = thread_index(); i < args.suppress_count; i += SAMPLE_THREADS) {
        int32_t id = global_load(args.suppress + i);
        if (id >= 0 && (uint32_t)id < args.vocab) {
            global_store(logits + id, -INFINITY);
        }
    }
}

KERNEL void KERNEL_BOUNDS(SCAN_THREADS, 4) sample_scan(const SampleArgs args) {
    uint32_t lane = thread_lane(), first = block_x() * SCAN_CHUNKS;
    uint32_t end = smaller(first + SCAN_CHUNKS, args.chunks);
    const float *logits = args.logits + (size_t)block_y() * args.vocab;
    float temperature = global_load(&args.rows[block_y()].temperature);
    float warmth = temperature > 0.0f ? 1.0f / temperature : 1.0f;
    for (uint32_t c = first + thread_warp(); c < end; c += SCAN_THREADS / 32) {
        uint32_t i = c * SAMPLE_CHUNK + lane, j = i + 32;
        float x = i < args.vocab ? cleaned(global_load(logits + i)) : -INFINITY;
        float y = j < args.vocab ? cleaned(global_load(logits + j)) : -INFINITY;
        float top = warp_max(x > y ? x : y);
        float base = top > -INFINITY ? top : 0.0f;
        float mass = warp_sum(exp_f32(x - base) + exp_f32(y - base));
        float warm = warp_sum(exp_f32((x - base) * warmth) + exp_f32((y - base) * warmth));
        if (lane == 0) {
            size_t at = (size_t)block_y() * args.chunks + c;
            global_store(args.maxima + at, top);
            global_store(args.mass + at, mass);
            global_store(args.warm_mass + at, warm);
        }
    }
}

#endif
