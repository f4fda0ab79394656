// SPDX-License-Identifier: Apache-2.0
// The penalty over a row's history, in place, before anything is ranked. The chunks that it touches
// are scanned again.
#ifndef CUDA_KERNELS_SAMPLE_PENALTY_CUH
#define CUDA_KERNELS_SAMPLE_PENALTY_CUH

#include "cuda/kernels/sample_row.cuh"

// Token `i` of the history of the launch, or the vocabulary's size for one that is not in it.
DEVICE uint32_t history_token(const SampleArgs &args, uint32_t i) {
    int32_t token = drawn_token(global_load(args.history + i), args.drawn_before);
    return smaller((uint32_t)token, args.vocab);
}

// Every warp scans the chunks of some tokens; two may scan the same one to the same bits. Of
// neighbours in one chunk, as a picture's soft tokens are, the first is enough.
DEVICE void scan_again(const SampleArgs &args, uint32_t row, uint32_t first, uint32_t count) {
    const float *logits = args.logits + (size_t)row * args.vocab;
    float inverse_temperature = global_load(args.scan.inverse_temperature + row);
    for (uint32_t i = thread_warp(); i < count; i += SAMPLE_THREADS / 32) {
        uint32_t token = history_token(args, first + i), chunk = token / LOGIT_CHUNK;
        uint32_t before = i > 0 ? history_token(args, first + i - 1) : args.vocab;
        bool again = before < args.vocab && before / LOGIT_CHUNK == chunk;
        if (token < args.vocab && !again) { // the same for all lanes
            uint32_t column = chunk * LOGIT_CHUNK + thread_lane();
            float x = column < args.vocab ? global_load(logits + column) : -INFINITY;
            logit_scan_chunk(args.scan, row, chunk, args.chunks, inverse_temperature, x);
        }
    }
}

KERNEL void KERNEL_BOUNDS(SAMPLE_THREADS, 1) sample_penalty(const SampleArgs args) {
    float *logits = args.logits + (size_t)block_x() * args.vocab;
    uint32_t first = global_load(args.history_first + block_x());
    uint32_t count = global_load(args.history_first + block_x() + 1) - first;
    float penalty = global_load(&args.settings[block_x()].penalty);
    // Every occurrence of a token computes the same number from what is there before any is
    // written.
    for (uint32_t i = thread_index(); i < count; i += SAMPLE_THREADS) {
        uint32_t token = history_token(args, first + i);
        if (token < args.vocab) {
            float x = global_load(logits + token);
            global_store(args.penalized + first + i, x < 0.0f ? x * penalty : x / penalty);
        }
    }
    block_sync();
    for (uint32_t i = thread_index(); i < count; i += SAMPLE_THREADS) {
        uint32_t token = history_token(args, first + i);
        if (token < args.vocab) {
            global_store(logits + token, global_load(args.penalized + first + i));
        }
    }
    block_sync();
    scan_again(args, block_x(), first, count);
}

#endif
