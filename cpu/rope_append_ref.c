// SPDX-License-Identifier: Apache-2.0
// rope_append: norms of q, k and v, RoPE on q and k, and the writes to the cache (model.md 1.2,
// 1.3). Statistics in double, the products in f32 as transformers does them in an f32 model.
#include "cpu/context.h"
#include "cpu/kv_page.h"
#include "cpu/rms_ref.h"

#include <stdlib.h>

static void norm_head(float *x, const float *weight, uint32_t count, float eps) {
    double factor = rms_factor_ref(x, count, eps);
    for (uint32_t d = 0; d < count; d++) {
        x[d] = (float)((double)x[d] * factor * (double)weight[d]);
    }
}

// Pair j is (j, j + head_dim / 2).
static void rotate_head(float *x, const float *cosine, const float *sine, uint32_t pair_count) {
    for (uint32_t j = 0; j < pair_count; j++) {
        float low = x[j];
        float high = x[j + pair_count];
        x[j] = low * cosine[j] - high * sine[j];
        x[j + pair_count] = high * cosine[j] + low * sine[j];
    }
}

static void turn_head(float *x, const float *weight, const float *cosine, const float *sine,
                      const OpRopeAppend *op) {
    uint32_t head_dim = op->cache.shape.head_dim;
    norm_head(x, weight, head_dim, op->eps);
    rotate_head(x, cosine, sine, head_dim / 2);
    if (op->cache.kind == KV_INT8) {
        kv_rotate(x, head_dim);
    }
}

Status rope_append_ref(void *context, const OpRopeAppend *op) {
    (void)context;
    const LayerShape *shape = &op->cache.shape;
    KvKind kind = op->cache.kind;
    uint32_t head_dim = shape->head_dim;
    uint32_t pair_count = head_dim / 2;
    float *value = malloc(head_dim * sizeof *value);
    if (value == NULL) {
        return E_MEMORY;
    }
    for (uint32_t r = 0; r < op->rows.row_count; r++) {
        const float *cosine = op->cosine + (size_t)r * pair_count;
        const float *sine = op->sine + (size_t)r * pair_count;
        float *q = op->qkv + (size_t)r * op->qkv_stride;
        float *k = q + (size_t)shape->head_count * head_dim;
        float *v = shape->value_is_key ? k : k + (size_t)shape->kv_head_count * head_dim;
        for (uint32_t h = 0; h < shape->head_count; h++) {
            turn_head(q + (size_t)h * head_dim, op->q_norm, cosine, sine, op);
        }

        uint32_t position = op->rows.positions[r];
        const BatchSequence *sequence = &op->rows.sequences[op->rows.row_sequence[r]];
        void *page = kv_page_at(&op->cache, &op->rows, sequence, position);
        uint32_t token = position % KV_PAGE_TOKENS;
        // Values first: where the value is the raw key, the key's norm would overwrite it.
        for (uint32_t h = 0; h < shape->kv_head_count; h++) {
            float *head_k = k + (size_t)h * head_dim;
            const float *head_v = v + (size_t)h * head_dim;
            double factor = rms_factor_ref(head_v, head_dim, op->eps);
            for (uint32_t d = 0; d < head_dim; d++) {
                value[d] = (float)((double)head_v[d] * factor);
            }
            kv_store(kind, shape, page, KV_VALUES, h, token, value);
            turn_head(head_k, op->k_norm, cosine, sine, op);
            kv_store(kind, shape, page, KV_KEYS, h, token, head_k);
        }
    }
    free(value);
    return OK;
}
