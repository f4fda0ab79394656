// SPDX-License-Identifier: Apache-2.0
// rope_append, written once over Lanes; a task is a row. Sums of squares run in f32 over sixteen
// chains folded in a fixed order, the root in double, products in f32.
#ifndef CPU_ROPE_APPEND_LANES_H
#define CPU_ROPE_APPEND_LANES_H

#include "base/check.h"
#include "cpu/context.h"
#include "cpu/kv_page.h"
#include "cpu/lanes.h"

LANES_INLINE Lanes rms_factor(const float *x, uint32_t count, float eps) {
    Lanes squares = lanes_set(0.0f);
    for (uint32_t d = 0; d < count; d += LANES) {
        Lanes v = lanes_load(x + d);
        squares = lanes_fma(v, v, squares);
    }
    double mean = (double)lanes_sum(squares) / count;
    return lanes_set((float)(1.0 / sqrt(mean + (double)eps)));
}

// x = rope(x * factor * weight). Pair j is (j, j + pair_count).
LANES_INLINE void norm_and_rotate(float *x, Lanes factor, const float *weight, const float *cosine,
                                  const float *sine, uint32_t pair_count) {
    for (uint32_t j = 0; j < pair_count; j += LANES) {
        Lanes c = lanes_load(cosine + j);
        Lanes s = lanes_load(sine + j);
        Lanes low = lanes_mul(lanes_mul(lanes_load(x + j), factor), lanes_load(weight + j));
        Lanes high = lanes_mul(lanes_mul(lanes_load(x + j + pair_count), factor),
                               lanes_load(weight + j + pair_count));
        lanes_store(x + j, lanes_sub(lanes_mul(low, c), lanes_mul(high, s)));
        lanes_store(x + j + pair_count, lanes_fma(high, c, lanes_mul(low, s)));
    }
}

typedef struct RopeAppend {
    const OpRopeAppend *op;
    CpuContext *cpu;
} RopeAppend;

static void rope_append_row(void *argument, uint32_t row, uint32_t worker) {
    const RopeAppend *task = argument;
    const OpRopeAppend *op = task->op;
    float *value = (float *)task->cpu->scratch[worker]; // [head_dim]
    const LayerShape *shape = &op->cache.shape;
    KvKind kind = op->cache.kind;
    uint32_t head_dim = shape->head_dim;
    uint32_t pair_count = head_dim / 2;
    const float *cosine = op->cosine + (size_t)row * pair_count;
    const float *sine = op->sine + (size_t)row * pair_count;
    float *q = op->qkv + (size_t)row * op->qkv_stride;
    float *k = q + (size_t)shape->head_count * head_dim;
    const float *v = shape->value_is_key ? k : k + (size_t)shape->kv_head_count * head_dim;
    for (uint32_t h = 0; h < shape->head_count; h++, q += head_dim) {
        norm_and_rotate(q, rms_factor(q, head_dim, op->eps), op->q_norm, cosine, sine, pair_count);
        if (kind == KV_INT8) {
            kv_rotate(q, head_dim);
        }
    }
    uint32_t position = op->rows.positions[row];
    uint32_t token = position % KV_PAGE_TOKENS;
    void *page = kv_page_at(&op->cache, &op->rows, &op->rows.sequences[op->rows.row_sequence[row]],
                            position);
    // Values first: where the value is the raw key, the key's norm would overwrite it.
    for (uint32_t h = 0; h < shape->kv_head_count; h++, k += head_dim, v += head_dim) {
        Lanes factor = rms_factor(v, head_dim, op->eps);
        for (uint32_t d = 0; d < head_dim; d += LANES) {
            lanes_store(value + d, lanes_mul(lanes_load(v + d), factor));
        }
        kv_store(kind, shape, page, KV_VALUES, h, token, value);
        norm_and_rotate(k, rms_factor(k, head_dim, op->eps), op->k_norm, cosine, sine, pair_count);
        if (kind == KV_INT8) {
            kv_rotate(k, head_dim);
        }
        kv_store(kind, shape, page, KV_KEYS, h, token, k);
    }
}

// A head_dim that is no multiple of 32 has no fast path.
LANES_INLINE Status rope_append_run(void *context, const OpRopeAppend *op) {
    if (op->cache.shape.head_dim % (2 * LANES) != 0) {
        return rope_append_ref(context, op);
    }
    RopeAppend task = {op, context};
    REQUIRE(op->cache.shape.head_dim * sizeof(float) <= CPU_SCRATCH_BYTES);
    pool_run(task.cpu->pool, op->rows.row_count, rope_append_row, &task);
    return OK;
}

#endif
