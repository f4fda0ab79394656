// SPDX-License-Identifier: Apache-2.0
// The inside of a KV page of the CUDA backend: KV_PAGE_TOKENS positions of one layer. First the
// keys of every kv head, then the values of every kv head, then for int8 the scales, f32.
//
//   key   (head, token, d)  [kv heads][head_dim / K][16 tokens][K]      K numbers are 64 bytes
//   value (head, token, d)  [kv heads][head_dim / V][16 tokens][V]      V = 64
//   scale (side, head, token)  [keys, values][kv heads][16 tokens]
//
// When head_dim is no multiple of 64, and for f32, K = V = head_dim: plain rows of a token. Values
// of int8 are kept with 128 added, so that widening needs no sign.
//
// A token's numbers lie in natural order, so a block of K or V is one write of whole sectors; and
// yet a warp reads B fragments of mma straight into registers, 16 bytes a lane, 512 contiguous
// bytes a warp (attention_tile.cuh has the formulas): the order of d inside a dot product is free
// if the query has the same one, and the order of the output columns is free anyway.
//
//   keys of one head, bf16, tokens 0..7 of block b: lane l = 4 token + t reads the 16 bytes at 16 l
//       token 0 | d 32b+0..7  t=0 | 8..15 t=1 | 16..23 t=2 | 24..31 t=3 |   64 bytes
//       token 1 | ...
//   values, bf16, block b: lane l = 4g + t reads 16 bytes, d = 64b + 8g .. + 7, of the four tokens
//       2t, 2t + 1, 2t + 8, 2t + 9
#ifndef CUDA_KV_LAYOUT_CUH
#define CUDA_KV_LAYOUT_CUH

#include "cuda/prim/prim.cuh"

extern "C" {
#include "model/ops.h"
}

enum {
    KV_BLOCK_BYTES = 64,   // of a token's key that lie together
    KV_VALUE_COLUMNS = 64, // of a token's value that lie together
    KV_VALUE_OFFSET = 128, // added to int8 values
};

#define KV_ABSMAX_MIN 0x1p-100f // a head below it is kept as zeros, so that 127 / absmax is finite

typedef enum KvSide { KV_KEYS, KV_VALUES } KvSide;

HOST_DEVICE uint32_t kv_number_bytes(KvKind kind) {
    return kind == KV_F32 ? 4 : kind == KV_BF16 ? 2 : 1;
}

// Whether a layer's pages have the order that mma reads.
HOST_DEVICE bool kv_is_tiled(KvKind kind, uint32_t head_dim) {
    return kind != KV_F32 && head_dim % KV_VALUE_COLUMNS == 0;
}

// Numbers of a token that lie together.
HOST_DEVICE uint32_t kv_block(KvKind kind, KvSide side, uint32_t head_dim) {
    if (!kv_is_tiled(kind, head_dim)) {
        return head_dim;
    }
    return side == KV_KEYS ? KV_BLOCK_BYTES / kv_number_bytes(kind) : (uint32_t)KV_VALUE_COLUMNS;
}

// Bytes of keys, or of values, of all heads.
HOST_DEVICE size_t kv_side_bytes(KvKind kind, uint32_t kv_heads, uint32_t head_dim) {
    return (size_t)KV_PAGE_TOKENS * kv_heads * head_dim * kv_number_bytes(kind);
}

HOST_DEVICE size_t kv_scale_offset(KvKind kind, KvSide side, uint32_t kv_heads, uint32_t head_dim,
                                   uint32_t head, uint32_t token) {
    size_t scale = ((size_t)side * kv_heads + head) * KV_PAGE_TOKENS + token;
    return 2 * kv_side_bytes(kind, kv_heads, head_dim) + scale * sizeof(float);
}

// In bytes from the start of the page.
HOST_DEVICE size_t kv_number_offset(KvKind kind, KvSide side, uint32_t kv_heads, uint32_t head_dim,
                                    uint32_t head, uint32_t token, uint32_t d) {
    uint32_t block = kv_block(kind, side, head_dim);
    size_t row = ((size_t)head * (head_dim / block) + d / block) * KV_PAGE_TOKENS + token;
    return side * kv_side_bytes(kind, kv_heads, head_dim) +
           (row * block + d % block) * kv_number_bytes(kind);
}

HOST_DEVICE size_t kv_layout_page_bytes(KvKind kind, uint32_t kv_heads, uint32_t head_dim) {
    return kv_scale_offset(kind, KV_KEYS, kv_heads, head_dim, 0, 0) +
           (kind == KV_INT8 ? 2 * sizeof(float) * KV_PAGE_TOKENS * kv_heads : 0);
}

// A layer's cache and the step's rows as kernels are given them.
typedef struct KvView {
    KvKind kind;
    bool full; // a full layer
    uint32_t head_count, kv_head_count, head_dim;
    uint32_t window; // sliding layers
    size_t page_bytes;
    unsigned char *pages;
    uint32_t row_count, sequence_count;
    const uint32_t *positions, *sliding_end, *row_sequence, *page_table;
    const BatchSequence *sequences;
} KvView;

static inline KvView kv_view(const KvLayer *cache, const PagedRows *rows, uint32_t window) {
    const LayerShape *shape = &cache->shape;
    KvView view = {};
    view.kind = cache->kind;
    view.full = shape->kind == LAYER_FULL;
    view.head_count = shape->head_count;
    view.kv_head_count = shape->kv_head_count;
    view.head_dim = shape->head_dim;
    view.window = window;
    view.page_bytes = cache->page_bytes;
    view.pages = (unsigned char *)cache->pages;
    view.row_count = rows->row_count;
    view.sequence_count = rows->sequence_count;
    view.positions = rows->positions;
    view.sliding_end = rows->sliding_end;
    view.row_sequence = rows->row_sequence;
    view.page_table = rows->pages[shape->kind];
    view.sequences = rows->sequences;
    return view;
}

// The part of the block table that belongs to a sequence: entry (position / 16) of what it returns
// is the page of `position`.
DEVICE const uint32_t *kv_sequence_table(const KvView &view, uint32_t sequence) {
    const BatchSequence *s = view.sequences + sequence;
    int64_t first = (int64_t)global_load(&s->page_first[view.full ? PAGE_FULL : PAGE_SLIDING]) -
                    (int64_t)global_load(&s->page_skip[view.full ? PAGE_FULL : PAGE_SLIDING]);
    return view.page_table + first;
}

DEVICE unsigned char *kv_page(const KvView &view, const uint32_t *table, uint32_t position) {
    return view.pages + (size_t)global_load(table + position / KV_PAGE_TOKENS) * view.page_bytes;
}

// The positions a row sees: [first, end) (docs/adr/0002-mask-as-range.md).
typedef struct KvRange {
    uint32_t first, end;
} KvRange;

DEVICE KvRange kv_range(const KvView &view, uint32_t row) {
    uint32_t position = global_load(view.positions + row);
    KvRange range = {0, position + 1};
    if (!view.full) {
        uint32_t end = global_load(view.sliding_end + row);
        range.first = position + 1 > view.window ? position + 1 - view.window : 0;
        range.end = end > range.end ? end : range.end;
    }
    return range;
}

#endif
