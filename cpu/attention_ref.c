// SPDX-License-Identifier: Apache-2.0
// attention: o = softmax(q . k) v over the row's range, scale 1.0 (model.md 0, 1.6, 1.7). The
// truth: two passes over the keys, everything in double, q unrounded.
#include "cpu/context.h"
#include "cpu/kv_page.h"

#include <math.h>
#include <stdlib.h>

static void attend(const OpAttention *op, uint32_t row, uint32_t head, double *scores, float *out) {
    const LayerShape *shape = &op->cache.shape;
    const BatchSequence *sequence = &op->rows.sequences[op->rows.row_sequence[row]];
    KvKind kind = op->cache.kind;
    uint32_t head_dim = shape->head_dim;
    uint32_t kv_head = head / (shape->head_count / shape->kv_head_count);
    const float *q = op->q + (size_t)row * op->q_stride + (size_t)head * head_dim;
    KvRange range = kv_range(shape->kind, &op->rows, row, op->window);

    double highest = -INFINITY;
    for (uint32_t p = range.first; p < range.end; p++) {
        const void *page = kv_page_at(&op->cache, &op->rows, sequence, p);
        double score = 0.0;
        for (uint32_t d = 0; d < head_dim; d++) {
            score += (double)q[d] *
                     (double)kv_load(kind, shape, page, KV_KEYS, kv_head, p % KV_PAGE_TOKENS, d);
        }
        scores[p - range.first] = score;
        highest = fmax(highest, score);
    }
    double sum = 0.0;
    for (uint32_t i = 0; i < range.end - range.first; i++) {
        scores[i] = exp(scores[i] - highest);
        sum += scores[i];
    }
    for (uint32_t d = 0; d < head_dim; d++) {
        double total = 0.0;
        for (uint32_t p = range.first; p < range.end; p++) {
            const void *page = kv_page_at(&op->cache, &op->rows, sequence, p);
            total += scores[p - range.first] *
                     (double)kv_load(kind, shape, page, KV_VALUES, kv_head, p % KV_PAGE_TOKENS, d);
        }
        out[d] = (float)(total / sum);
    }
}

Status attention_ref(void *context, const OpAttention *op) {
    const LayerShape *shape = &op->cache.shape;
    uint32_t columns = shape->head_count * shape->head_dim;
    double *scores = calloc(op->rows.kv_length_max, sizeof *scores);
    if (scores == NULL) {
        return E_MEMORY;
    }
    for (uint32_t r = 0; r < op->rows.row_count; r++) {
        for (uint32_t h = 0; h < shape->head_count; h++) {
            attend(op, r, h, scores,
                   op->scratch + (size_t)r * columns + (size_t)h * shape->head_dim);
        }
    }
    free(scores);
    return activate_ref(context, &(OpActivate){.row_count = op->rows.row_count,
                                               .in = op->scratch,
                                               .in_stride = columns,
                                               .out = op->out});
}
