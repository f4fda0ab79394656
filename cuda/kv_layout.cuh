// SPDX-License-Identifier: Apache-2.0
// The inside of a KV page of the CUDA backend: KV_PAGE_TOKENS positions of one layer. First the
// keys of every kv head, then the values of every kv head, then for int8 the scales, f32.
//
//   key   (head, token, i)  [kv heads][key_dim / K][16 tokens][K]       K numbers are 64 bytes
//   value (head, token, d)  [kv heads][head_dim / V][16 tokens][V]      V = 64
//   scale (side, head, token)  [keys, values][kv heads][16 tokens]
//
// When head_dim is no multiple of 64, and for f32, K = key_dim and V = head_dim: plain rows of a
// token. Values of int8 are kept with 128 added, so that widening needs no sign.
//
// Pages of shared keys and values. Where the value is the key (value_is_key), both are the same
// normed numbers x: value = x, key = rope(k_norm * x), and RoPE turns a quarter of them, d and
// head_dim / 2 + d for d below head_dim / 8. So only those are kept as a key, key_dim = head_dim /
// 4 numbers; of the others q . k is (q * k_norm) . x, and rope_append leaves q * k_norm in place of
// q there: the key of a shared page is its value with the turned numbers put in place of the first
// ones. K is one of the two runs of turned numbers, head_dim / 8. Pages of bf16 and f32 are shared;
// int8 keeps keys and values separate (docs/kernels-attention-cuda.md).
//
// A token's numbers lie in natural order, so a block of K or V is one write of whole sectors; and
// yet a warp reads B fragments of mma straight into registers, 16 bytes a lane, 512 contiguous
// bytes a warp (attention_separate_kv.cuh has the formulas): the order of d inside a dot product is
// free if the query has the same one, and the order of the output columns is free anyway.
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
#include "cuda/plan.h"
}

enum {
    KV_BLOCK_BYTES = 64,   // of a token's key that lie together
    KV_VALUE_COLUMNS = 64, // of a token's value that lie together
    KV_VALUE_OFFSET = 128, // added to int8 values
};

#define KV_ABSMAX_MIN 0x1p-100f // a head below it is kept as zeros, so that 127 / absmax is finite

typedef enum KvSide { KV_KEYS, KV_VALUES } KvSide;

// What the inside of a page follows from.
typedef struct KvForm {
    KvKind kind;
    uint32_t kv_heads, head_dim;
    uint32_t key_dim; // numbers of a key that the page has beside the value: head_dim, or fewer
} KvForm;

static inline KvForm kv_form(KvKind kind, const LayerShape *shape) {
    return {kind, shape->kv_head_count, shape->head_dim, cuda_key_dim(kind, shape)};
}

HOST_DEVICE bool kv_is_shared(const KvForm &form) {
    return form.key_dim < form.head_dim;
}

HOST_DEVICE uint32_t kv_number_bytes(KvKind kind) {
    return kind == KV_F32 ? 4 : kind == KV_BF16 ? 2 : 1;
}

// Whether a layer's pages have the order that mma reads.
HOST_DEVICE bool kv_is_tiled(const KvForm &form) {
    return form.kind != KV_F32 && form.head_dim % KV_VALUE_COLUMNS == 0;
}

// Whether the page has number d of the key; if not, it is number d of the value.
HOST_DEVICE bool kv_key_kept(const KvForm &form, uint32_t d) {
    uint32_t half = form.head_dim / 2;
    return (d < half ? d : d - half) < form.key_dim / 2;
}

// Numbers of a token and side.
HOST_DEVICE uint32_t kv_side_dim(const KvForm &form, KvSide side) {
    return side == KV_KEYS ? form.key_dim : form.head_dim;
}

// Those of them that lie together.
HOST_DEVICE uint32_t kv_block(const KvForm &form, KvSide side) {
    if (!kv_is_tiled(form)) {
        return kv_side_dim(form, side);
    }
    if (side == KV_VALUES) {
        return KV_VALUE_COLUMNS;
    }
    return kv_is_shared(form) ? form.key_dim / 2 : KV_BLOCK_BYTES / kv_number_bytes(form.kind);
}

// Bytes of keys, or of values, of all heads.
HOST_DEVICE size_t kv_side_bytes(const KvForm &form, KvSide side) {
    return (size_t)KV_PAGE_TOKENS * form.kv_heads * kv_side_dim(form, side) *
           kv_number_bytes(form.kind);
}

HOST_DEVICE size_t kv_scale_offset(const KvForm &form, KvSide side, uint32_t head, uint32_t token) {
    size_t scale = ((size_t)side * form.kv_heads + head) * KV_PAGE_TOKENS + token;
    return kv_side_bytes(form, KV_KEYS) + kv_side_bytes(form, KV_VALUES) + scale * sizeof(float);
}

// Of number d of a head, in bytes from the start of the page; for a key one that is kept.
HOST_DEVICE size_t kv_number_offset(const KvForm &form, KvSide side, uint32_t head, uint32_t token,
                                    uint32_t d) {
    uint32_t dim = kv_side_dim(form, side), block = kv_block(form, side);
    uint32_t i = d < form.head_dim / 2 ? d : d - (form.head_dim - dim) / 2;
    size_t row = ((size_t)head * (dim / block) + i / block) * KV_PAGE_TOKENS + token;
    return (side == KV_VALUES ? kv_side_bytes(form, KV_KEYS) : 0) +
           (row * block + i % block) * kv_number_bytes(form.kind);
}

HOST_DEVICE size_t kv_layout_page_bytes(const KvForm &form) {
    return kv_scale_offset(form, KV_KEYS, 0, 0) +
           (form.kind == KV_INT8 ? 2 * sizeof(float) * KV_PAGE_TOKENS * form.kv_heads : 0);
}

// A layer's cache and the step's rows as kernels are given them.
typedef struct KvView {
    KvForm form;
    bool full; // a full layer
    uint32_t head_count;
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
    view.form = kv_form(cache->kind, shape);
    view.full = shape->kind == LAYER_FULL;
    view.head_count = shape->head_count;
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
