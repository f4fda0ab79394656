// SPDX-License-Identifier: Apache-2.0
// The inside of a KV page of the CPU backend: KV_PAGE_TOKENS positions of one layer. First the keys
// of every kv head, then the values of every kv head:
//   key (head, token, d)
//     f32         [head_dim][16 tokens]         one vector holds d of 16 keys
//     bf16, int8  [head_dim / 2][16 tokens][2]  one vector holds d and d + 1 of 16 keys, so
//                                               widening is a shift and a mask
//   value (head, token, d)
//     all         [head_dim / 32][16 tokens][32]  the last block is narrower when head_dim is no
//                                                 multiple of 32
// and for int8 the scales, f32: [kv heads][16 tokens] of the keys, then of the values.
// Scores of 16 keys come from broadcasts of q against key vectors; outputs from broadcasts of
// probabilities against value vectors, 32 columns at a time, which lie together so that the walk
// over tokens is a walk over consecutive cache lines. Nothing is ever transposed.
#ifndef CPU_KV_PAGE_H
#define CPU_KV_PAGE_H

#include "base/num.h"
#include "cpu/activation.h"
#include "model/ops.h"

enum { KV_VALUE_BLOCK = 32 }; // columns of a block of values

static inline size_t kv_value_bytes(KvKind kind) {
    return kind == KV_F32 ? sizeof(float) : kind == KV_BF16 ? sizeof(uint16_t) : sizeof(int8_t);
}

// Keys or values of all kv heads, in values.
static inline size_t kv_side_count(const LayerShape *shape) {
    return (size_t)KV_PAGE_TOKENS * shape->kv_head_count * shape->head_dim;
}

static inline size_t kv_page_bytes(KvKind kind, const LayerShape *shape) {
    size_t scales =
        kind == KV_INT8 ? (size_t)KV_PAGE_TOKENS * shape->kv_head_count * sizeof(float) : 0;
    return 2 * (kv_side_count(shape) * kv_value_bytes(kind) + scales);
}

// Offsets in values (not bytes) from the start of the page.
static inline size_t kv_key_offset(KvKind kind, const LayerShape *shape, uint32_t kv_head,
                                   uint32_t token, uint32_t d) {
    size_t head = (size_t)kv_head * KV_PAGE_TOKENS * shape->head_dim;
    if (kind == KV_F32) {
        return head + (size_t)d * KV_PAGE_TOKENS + token;
    }
    return head + ((size_t)(d / 2) * KV_PAGE_TOKENS + token) * 2 + d % 2;
}

static inline size_t kv_value_offset(const LayerShape *shape, uint32_t kv_head, uint32_t token,
                                     uint32_t d) {
    size_t head = kv_side_count(shape) + (size_t)kv_head * KV_PAGE_TOKENS * shape->head_dim;
    uint32_t block = d / KV_VALUE_BLOCK * KV_VALUE_BLOCK;
    size_t width = num_min(KV_VALUE_BLOCK, shape->head_dim - block);
    return head + (size_t)block * KV_PAGE_TOKENS + token * width + d % KV_VALUE_BLOCK;
}

typedef enum KvSide { KV_KEYS, KV_VALUES } KvSide;

// Offset in bytes of the 16 scales of a head, int8 only.
static inline size_t kv_scales_offset(const LayerShape *shape, KvSide side, uint32_t kv_head) {
    size_t heads = (size_t)side * shape->kv_head_count + kv_head;
    return 2 * kv_side_count(shape) + heads * KV_PAGE_TOKENS * sizeof(float);
}

static inline size_t kv_offset(KvKind kind, const LayerShape *shape, KvSide side, uint32_t kv_head,
                               uint32_t token, uint32_t d) {
    return side == KV_KEYS ? kv_key_offset(kind, shape, kv_head, token, d)
                           : kv_value_offset(shape, kv_head, token, d);
}

// One cached number, widened.
static inline float kv_load(KvKind kind, const LayerShape *shape, const void *page, KvSide side,
                            uint32_t kv_head, uint32_t token, uint32_t d) {
    size_t at = kv_offset(kind, shape, side, kv_head, token, d);
    if (kind == KV_F32) {
        return ((const float *)page)[at];
    }
    if (kind == KV_BF16) {
        return bf16_to_f32(((const uint16_t *)page)[at]);
    }
    float scale;
    memcpy(&scale,
           (const unsigned char *)page + kv_scales_offset(shape, side, kv_head) +
               token * sizeof scale,
           sizeof scale);
    return (float)((const int8_t *)page)[at] * scale;
}

// The key or value x[head_dim] of one token and head, rounded to the page's kind.
static inline void kv_store(KvKind kind, const LayerShape *shape, void *page, KvSide side,
                            uint32_t kv_head, uint32_t token, const float *x) {
    float factor = 0.0f;
    if (kind == KV_INT8) {
        float absmax = 0.0f;
        for (uint32_t d = 0; d < shape->head_dim; d++) {
            absmax = fmaxf(absmax, fabsf(x[d]));
        }
        bool zero = absmax < ACTIVATION_ABSMAX_MIN;
        float scale = zero ? 0.0f : absmax / 127.0f;
        factor = zero ? 0.0f : 127.0f / absmax;
        memcpy((unsigned char *)page + kv_scales_offset(shape, side, kv_head) +
                   token * sizeof scale,
               &scale, sizeof scale);
    }
    for (uint32_t d = 0; d < shape->head_dim; d++) {
        size_t at = kv_offset(kind, shape, side, kv_head, token, d);
        if (kind == KV_F32) {
            ((float *)page)[at] = x[d];
        } else if (kind == KV_BF16) {
            ((uint16_t *)page)[at] = bf16_from_f32(x[d]);
        } else {
            ((int8_t *)page)[at] = (int8_t)rintf(x[d] * factor);
        }
    }
}

// x of a head times the Hadamard matrix of kv_rotation, in place: the butterflies of the fast
// Walsh-Hadamard transform, smallest distance first, then one multiplication.
static inline void kv_rotate(float *x, uint32_t head_dim) {
    uint32_t order = kv_rotation(head_dim);
    for (uint32_t half = 1; half < order; half *= 2) {
        for (uint32_t i = 0; i < head_dim; i += 2 * half) {
            for (uint32_t j = i; j < i + half; j++) {
                float low = x[j], high = x[j + half];
                x[j] = low + high;
                x[j + half] = low - high;
            }
        }
    }
    float factor = 1.0f / sqrtf((float)order);
    for (uint32_t d = 0; d < head_dim; d++) {
        x[d] *= factor;
    }
}

// The page that holds `position` of a sequence, by its block table.
static inline unsigned char *kv_page_at(const KvLayer *cache, const PagedRows *rows,
                                        const BatchSequence *sequence, uint32_t position) {
    PageKind kind = (PageKind)cache->shape.kind;
    uint32_t entry =
        sequence->page_first[kind] + position / KV_PAGE_TOKENS - sequence->page_skip[kind];
    return (unsigned char *)cache->pages + (size_t)rows->pages[kind][entry] * cache->page_bytes;
}

// The positions a row sees: [first, end). model.md 1.6 and 1.7, docs/adr/0002-mask-as-range.md.
typedef struct KvRange {
    uint32_t first, end;
} KvRange;

static inline KvRange kv_range(LayerKind kind, const PagedRows *rows, uint32_t row,
                               uint32_t window) {
    uint32_t position = rows->positions[row];
    if (kind == LAYER_FULL) {
        return (KvRange){0, position + 1};
    }
    uint32_t end = rows->sliding_end[row];
    return (KvRange){position + 1 > window ? position + 1 - window : 0,
                     end > position + 1 ? end : position + 1};
}

#endif
