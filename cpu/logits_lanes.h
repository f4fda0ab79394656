// SPDX-License-Identifier: Apache-2.0
// logits, written once over Lanes: cap * tanh(y) with y = x / cap and
// tanh(|y|) = 1 - 2 / (exp(2 |y|) + 1), whose error is below 2e-7 of the cap.
#ifndef CPU_LOGITS_LANES_H
#define CPU_LOGITS_LANES_H

#include "base/num.h"
#include "cpu/context.h"
#include "cpu/lanes.h"

enum { LOGITS_CHUNK = 16384 }; // values of one task, a multiple of LANES

LANES_INLINE Lanes soft_cap(Lanes x, float cap) {
    // A NaN passes through the clamp's second operand and stays NaN.
    Lanes twice = lanes_min(lanes_set(80.0f), lanes_mul(x, lanes_set(2.0f / cap)));
    twice = lanes_max(lanes_set(-80.0f), twice);
    Lanes zero = lanes_set(0.0f);
    Lanes size = lanes_max(lanes_sub(zero, twice), twice);
    Lanes below = lanes_div(lanes_set(2.0f), lanes_add(lanes_exp(size), lanes_set(1.0f)));
    Lanes capped = lanes_mul(lanes_set(cap), lanes_sub(lanes_set(1.0f), below));
    capped = lanes_if_above(zero, twice, lanes_sub(zero, capped), capped);
    return lanes_add(capped, lanes_mul(twice, zero)); // NaN where x is
}

static void logits_chunk(void *argument, uint32_t task, uint32_t worker) {
    (void)worker;
    const OpLogits *op = argument;
    size_t count = (size_t)op->row_count * op->vocab_count;
    size_t first = (size_t)task * LOGITS_CHUNK;
    size_t end = num_min(first + LOGITS_CHUNK, count);
    for (; first + LANES <= end; first += LANES) {
        lanes_store(op->logits + first, soft_cap(lanes_load(op->logits + first), op->softcap));
    }
    if (first < end) {
        float rest[LANES] = {0};
        memcpy(rest, op->logits + first, (end - first) * sizeof(float));
        lanes_store(rest, soft_cap(lanes_load(rest), op->softcap));
        memcpy(op->logits + first, rest, (end - first) * sizeof(float));
    }
}

LANES_INLINE Status logits_run(void *context, const OpLogits *op) {
    if (op->softcap == 0.0f) {
        return OK;
    }
    OpLogits copy = *op;
    size_t chunks = num_ceil_div((size_t)op->row_count * op->vocab_count, LOGITS_CHUNK);
    pool_run(((CpuContext *)context)->pool, (uint32_t)chunks, logits_chunk, &copy);
    return OK;
}

#endif
