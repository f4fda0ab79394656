// SPDX-License-Identifier: Apache-2.0
// The inside of a KV page of the CPU backend: KV_PAGE_TOKENS positions of one layer. First the keys
// of every kv head, then the values of every kv head:
//   key (head, token, d)    f32   [head_dim][16 tokens]          one vector holds d of 16 keys
//                           bf16  [head_dim / 2][16 tokens][2]   one vector holds d, d + 1 of 16
//                                 keys, so widening is a shift and a mask
//   value (head, token, d)  both  [head_dim / 32][16 tokens][32], the last block narrower when
//                                 head_dim is no multiple of 32
// Scores of 16 keys come from broadcasts of q against key vectors; outputs from broadcasts of
// probabilities against value vectors, 32 columns at a time, which lie together so that the walk
// over tokens is a walk over consecutive cache lines. Nothing is ever transposed.
#ifndef CPU_KV_PAGE_H
#define CPU_KV_PAGE_H

#include "base/f16.h"
#include "base/num.h"
#include "model/ops.h"

enum { KV_VALUE_BLOCK = 32 }; // columns of a block of values

static inline size_t kv_value_bytes(KvKind kind) {
    return kind == KV_F32 ? sizeof(float) : sizeof(uint16_t);
}

static inline size_t kv_page_bytes(KvKind kind, const LayerShape *shape) {
    return (size_t)2 * KV_PAGE_TOKENS * shape->kv_head_count * shape->head_dim *
           kv_value_bytes(kind);
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
    size_t keys = (size_t)shape->kv_head_count * KV_PAGE_TOKENS * shape->head_dim;
    size_t head = keys + (size_t)kv_head * KV_PAGE_TOKENS * shape->head_dim;
    uint32_t block = d / KV_VALUE_BLOCK * KV_VALUE_BLOCK;
    size_t width = num_min(KV_VALUE_BLOCK, shape->head_dim - block);
    return head + (size_t)block * KV_PAGE_TOKENS + token * width + d % KV_VALUE_BLOCK;
}

static inline float kv_load(KvKind kind, const void *page, size_t offset) {
    return kind == KV_F32 ? ((const float *)page)[offset]
                          : bf16_to_f32(((const uint16_t *)page)[offset]);
}

static inline void kv_store(KvKind kind, void *page, size_t offset, float value) {
    if (kind == KV_F32) {
        ((float *)page)[offset] = value;
    } else {
        ((uint16_t *)page)[offset] = bf16_from_f32(value);
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
