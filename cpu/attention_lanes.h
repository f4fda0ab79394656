// SPDX-License-Identifier: Apache-2.0
// Paged attention, written once over Lanes; attention_{scalar,avx2,avx512}.c compile it.
//
// A task is a block of query rows of one sequence times the query heads that share one kv head (or
// a part of them): up to BLOCK_QUERIES queries that read the same keys and values, so the cache is
// read once for all. It walks the positions the block sees in tiles of TILE_TOKENS, aligned to
// their absolute position, with the online softmax of Milakov and Gimelshein ("Online normalizer
// calculation for softmax", 2018).
//
// A row's result has the same bits whatever block it is in: tiles lie at fixed positions, every sum
// runs over ascending positions in one chain, and a position the row does not see adds an exact
// zero. Prefill in chunks, decode and a full batch therefore agree, and heads can be dealt to as
// many tasks as there are threads.
//
// q stays f32 and keys are widened. vdpbf16ps would halve the multiplications, but rounds q to
// bf16, and with the scale of 1.0 score errors grow with |q| |k|; attention is about one hundredth
// of a caption's work (docs/numerics.md).
#ifndef CPU_ATTENTION_LANES_H
#define CPU_ATTENTION_LANES_H

#include "base/check.h"
#include "base/num.h"
#include "cpu/activation.h"
#include "cpu/context.h"
#include "cpu/kv_page.h"
#include "cpu/lanes.h"

enum {
    TILE_PAGES = 4,
    TILE_TOKENS = TILE_PAGES * KV_PAGE_TOKENS,
    BLOCK_QUERIES = 32,
};

// Queries, pages (of scores) and vectors (of values) of one register tile: many queries, a pair,
// one. Eight chains of additions hide their latency, and a vector is two registers of AVX2.
#if defined(__AVX512F__)
enum { MANY_QUERIES = 8, MANY_VECTORS = 2, PAIR_PAGES = 4, PAIR_VECTORS = 4, ONE_VECTORS = 8 };
#else
enum { MANY_QUERIES = 4, MANY_VECTORS = 1, PAIR_PAGES = 2, PAIR_VECTORS = 2, ONE_VECTORS = 4 };
#endif
enum { ONE_PAGES = TILE_PAGES, TILE_SUMS = MANY_QUERIES * MANY_VECTORS };

_Static_assert((int)KV_PAGE_TOKENS == (int)LANES, "a key vector holds one page");

typedef struct Attention {
    const OpAttention *op;
    CpuContext *cpu;
    uint32_t head_parts; // tasks that share the query heads of one kv head
    uint32_t head_count; // query heads of one task
    uint32_t row_count;  // rows of one task, the last of a sequence may have fewer
    uint32_t task_count;
} Attention;

// What one task works on; the arrays lie in the worker's scratch.
typedef struct Block {
    const OpAttention *op;
    const BatchSequence *sequence;
    uint32_t row_first, row_count;   // of the step
    uint32_t head_first, head_count; // query heads
    uint32_t kv_head;
    uint32_t query_count; // rows * heads; query = row * head_count + head
    float *q;             // [query][head_dim]
    float *out;           // [query][head_dim], unnormalized
    float *scores;        // [query][TILE_TOKENS], then probabilities
    float *sums;          // [query][LANES]
    float *factors;       // [query] of this tile
    float *highest;       // [query]
} Block;

// Pages of a tile; those outside [first, end) are not set.
typedef struct Tile {
    uint32_t position;   // of its first token
    uint32_t first, end; // tokens any query of the block sees, relative to position
    const void *keys[TILE_PAGES];
    const void *values[TILE_PAGES];
    const float *key_scales[TILE_PAGES], *value_scales[TILE_PAGES]; // [16], int8 only
} Tile;

// scores[query][page * 16 ..] for `queries` times `pages`, both constants of the caller.
LANES_INLINE void score_tile(const Block *block, KvKind kind, uint32_t query, uint32_t queries,
                             const Tile *tile, uint32_t page, uint32_t pages) {
    uint32_t head_dim = block->op->cache.shape.head_dim;
    const float *q = block->q + (size_t)query * head_dim;
    Lanes sums[TILE_SUMS];
#pragma GCC unroll 16
    for (uint32_t i = 0; i < queries * pages; i++) {
        sums[i] = lanes_set(0.0f);
    }
    for (uint32_t d = 0; d < head_dim; d += 2) {
#pragma GCC unroll 16
        for (uint32_t p = 0; p < pages; p++) {
            Lanes even, odd;
            if (query == 0) { // a page's values are as large as its keys and wanted next
                __builtin_prefetch((const char *)tile->values[page + p] +
                                   (size_t)d * LANES * kv_value_bytes(kind));
            }
            if (kind == KV_F32) {
                const float *keys = (const float *)tile->keys[page + p] + (size_t)d * LANES;
                even = lanes_load(keys);
                odd = lanes_load(keys + LANES);
            } else if (kind == KV_BF16) {
                lanes_load_pairs((const uint16_t *)tile->keys[page + p] + (size_t)d * LANES, &even,
                                 &odd);
            } else {
                lanes_load_int8_pairs((const int8_t *)tile->keys[page + p] + (size_t)d * LANES,
                                      &even, &odd);
            }
#pragma GCC unroll 16
            for (uint32_t i = 0; i < queries; i++) {
                const float *of = q + (size_t)i * head_dim + d;
                Lanes *sum = &sums[i * pages + p];
                *sum = lanes_fma(lanes_set(of[0]), even, *sum);
                *sum = lanes_fma(lanes_set(of[1]), odd, *sum);
            }
        }
    }
#pragma GCC unroll 16
    for (uint32_t i = 0; i < queries; i++) {
#pragma GCC unroll 16
        for (uint32_t p = 0; p < pages; p++) {
            Lanes sum = sums[i * pages + p];
            if (kind == KV_INT8) {
                sum = lanes_mul(sum, lanes_load(tile->key_scales[page + p]));
            }
            lanes_store(block->scores + (size_t)(query + i) * TILE_TOKENS + (page + p) * LANES,
                        sum);
        }
    }
}

LANES_INLINE void score_queries(const Block *block, KvKind kind, uint32_t query, uint32_t queries,
                                uint32_t pages_at_once, const Tile *tile) {
    uint32_t page = tile->first / KV_PAGE_TOKENS;
    uint32_t page_end = (tile->end + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    for (; page + pages_at_once <= page_end; page += pages_at_once) {
        score_tile(block, kind, query, queries, tile, page, pages_at_once);
    }
    for (; page < page_end; page++) {
        score_tile(block, kind, query, queries, tile, page, 1);
    }
}

LANES_INLINE void score_all(const Block *block, KvKind kind, const Tile *tile) {
    uint32_t query = 0;
    for (; query + MANY_QUERIES <= block->query_count; query += MANY_QUERIES) {
        score_queries(block, kind, query, MANY_QUERIES, 1, tile);
    }
    for (; query + 2 <= block->query_count; query += 2) {
        score_queries(block, kind, query, 2, PAIR_PAGES, tile);
    }
    for (; query < block->query_count; query++) {
        score_queries(block, kind, query, 1, ONE_PAGES, tile);
    }
}

// Scores to probabilities relative to the running maximum, for one query; with int8 values each
// then takes the scale of its value.
LANES_INLINE void soften(const Block *block, KvKind kind, uint32_t query, const Tile *tile) {
    float *scores = block->scores + (size_t)query * TILE_TOKENS;
    KvRange range = kv_range(block->op->cache.shape.kind, &block->op->rows,
                             block->row_first + query / block->head_count, block->op->window);
    uint32_t tile_end = tile->position + TILE_TOKENS;
    uint32_t first = (uint32_t)num_max(range.first, tile->position) - tile->position;
    uint32_t end = (uint32_t)num_min(num_max(range.end, tile->position), tile_end) - tile->position;
    for (uint32_t t = 0; t < first && t < TILE_TOKENS; t++) {
        scores[t] = -INFINITY;
    }
    for (uint32_t t = end; t < TILE_TOKENS; t++) {
        scores[t] = -INFINITY;
    }
    Lanes top = lanes_load(scores);
    for (uint32_t t = LANES; t < TILE_TOKENS; t += LANES) {
        top = lanes_max(lanes_load(scores + t), top);
    }
    float before = block->highest[query];
    float highest = fmaxf(before, lanes_highest(top));
    if (highest == -INFINITY) { // it has seen nothing yet: probabilities of 0
        highest = 0.0f;
    } else {
        block->highest[query] = highest;
    }
    Lanes total = lanes_set(0.0f);
    for (uint32_t t = 0; t < TILE_TOKENS; t += LANES) {
        Lanes p = lanes_exp(lanes_sub(lanes_load(scores + t), lanes_set(highest)));
        lanes_store(scores + t, p);
        total = lanes_add(total, p);
    }
    float factor = before == highest ? 1.0f : expf(before - highest);
    float *sums = block->sums + (size_t)query * LANES;
    lanes_store(sums, lanes_fma(lanes_load(sums), lanes_set(factor), total));
    block->factors[query] = factor;
    if (kind == KV_INT8) {
        for (uint32_t t = tile->first / LANES * LANES; t < tile->end; t += LANES) {
            Lanes scales = lanes_load(tile->value_scales[t / LANES]);
            lanes_store(scores + t, lanes_mul(lanes_load(scores + t), scales));
        }
    }
}

// out = out * factor + probabilities . values, for `queries` times `vectors` of 16 columns.
LANES_INLINE void blend_tile(const Block *block, KvKind kind, uint32_t query, uint32_t queries,
                             const Tile *tile, uint32_t column, uint32_t vectors) {
    uint32_t head_dim = block->op->cache.shape.head_dim;
    const float *probabilities = block->scores + (size_t)query * TILE_TOKENS;
    float *out = block->out + (size_t)query * head_dim + column;
    Lanes sums[TILE_SUMS];
#pragma GCC unroll 16
    for (uint32_t i = 0; i < queries; i++) {
        Lanes factor = lanes_set(block->factors[query + i]);
#pragma GCC unroll 16
        for (uint32_t v = 0; v < vectors; v++) {
            sums[i * vectors + v] =
                lanes_mul(lanes_load(out + (size_t)i * head_dim + v * LANES), factor);
        }
    }
    for (uint32_t t = tile->first; t < tile->end; t++) {
        size_t row = (size_t)(t % KV_PAGE_TOKENS) * KV_VALUE_BLOCK;
        const void *page = tile->values[t / KV_PAGE_TOKENS];
        Lanes values[ONE_VECTORS];
#pragma GCC unroll 16
        for (uint32_t v = 0; v < vectors; v++) {
            uint32_t d = column + v * LANES;
            size_t columns = (size_t)(d / KV_VALUE_BLOCK * KV_VALUE_BLOCK) * KV_PAGE_TOKENS;
            size_t at = columns + row + d % KV_VALUE_BLOCK;
            values[v] = kind == KV_F32    ? lanes_load((const float *)page + at)
                        : kind == KV_BF16 ? lanes_load_bf16((const uint16_t *)page + at)
                                          : lanes_load_int8((const int8_t *)page + at);
        }
#pragma GCC unroll 16
        for (uint32_t i = 0; i < queries; i++) {
            Lanes p = lanes_set(probabilities[(size_t)i * TILE_TOKENS + t]);
#pragma GCC unroll 16
            for (uint32_t v = 0; v < vectors; v++) {
                sums[i * vectors + v] = lanes_fma(p, values[v], sums[i * vectors + v]);
            }
        }
    }
#pragma GCC unroll 16
    for (uint32_t i = 0; i < queries; i++) {
#pragma GCC unroll 16
        for (uint32_t v = 0; v < vectors; v++) {
            lanes_store(out + (size_t)i * head_dim + v * LANES, sums[i * vectors + v]);
        }
    }
}

LANES_INLINE void blend_queries(const Block *block, KvKind kind, uint32_t query, uint32_t queries,
                                uint32_t vectors_at_once, const Tile *tile) {
    uint32_t head_dim = block->op->cache.shape.head_dim;
    uint32_t column = 0;
    for (; column + vectors_at_once * LANES <= head_dim; column += vectors_at_once * LANES) {
        blend_tile(block, kind, query, queries, tile, column, vectors_at_once);
    }
    for (; column < head_dim; column += LANES) {
        blend_tile(block, kind, query, queries, tile, column, 1);
    }
}

LANES_INLINE void blend_all(const Block *block, KvKind kind, const Tile *tile) {
    uint32_t query = 0;
    for (; query + MANY_QUERIES <= block->query_count; query += MANY_QUERIES) {
        blend_queries(block, kind, query, MANY_QUERIES, MANY_VECTORS, tile);
    }
    for (; query + 2 <= block->query_count; query += 2) {
        blend_queries(block, kind, query, 2, PAIR_VECTORS, tile);
    }
    for (; query < block->query_count; query++) {
        blend_queries(block, kind, query, 1, ONE_VECTORS, tile);
    }
}

LANES_INLINE void block_tiles(const Block *block, KvKind kind, KvRange seen) {
    const KvLayer *cache = &block->op->cache;
    size_t key = kv_key_offset(kind, &cache->shape, block->kv_head, 0, 0) * kv_value_bytes(kind);
    size_t value = kv_value_offset(&cache->shape, block->kv_head, 0, 0) * kv_value_bytes(kind);
    size_t key_scales = kv_scales_offset(&cache->shape, KV_KEYS, block->kv_head);
    size_t value_scales = kv_scales_offset(&cache->shape, KV_VALUES, block->kv_head);
    uint32_t position = seen.first / TILE_TOKENS * TILE_TOKENS;
    for (; position < seen.end; position += TILE_TOKENS) {
        Tile tile = {
            .position = position,
            .first = seen.first > position ? seen.first - position : 0,
            .end = (uint32_t)num_min(seen.end - position, TILE_TOKENS),
        };
        for (uint32_t p = tile.first / KV_PAGE_TOKENS; p * KV_PAGE_TOKENS < tile.end; p++) {
            const unsigned char *page =
                kv_page_at(cache, &block->op->rows, block->sequence, position + p * KV_PAGE_TOKENS);
            tile.keys[p] = page + key;
            tile.values[p] = page + value;
            if (kind == KV_INT8) {
                tile.key_scales[p] = (const float *)(const void *)(page + key_scales);
                tile.value_scales[p] = (const float *)(const void *)(page + value_scales);
            }
        }
        score_all(block, kind, &tile);
        for (uint32_t query = 0; query < block->query_count; query++) {
            soften(block, kind, query, &tile);
        }
        blend_all(block, kind, &tile);
    }
}

static void block_run(Block *block, unsigned char *scratch) {
    const OpAttention *op = block->op;
    const LayerShape *shape = &op->cache.shape;
    uint32_t head_dim = shape->head_dim;
    size_t queries = block->query_count;
    block->q = (float *)scratch;
    block->out = block->q + queries * head_dim;
    block->scores = block->out + queries * head_dim;
    block->sums = block->scores + queries * TILE_TOKENS;
    block->factors = block->sums + queries * LANES;
    block->highest = block->factors + queries;

    KvRange seen = {UINT32_MAX, 0};
    for (uint32_t r = 0; r < block->row_count; r++) {
        KvRange range = kv_range(shape->kind, &op->rows, block->row_first + r, op->window);
        seen.first = (uint32_t)num_min(seen.first, range.first);
        seen.end = (uint32_t)num_max(seen.end, range.end);
        memcpy(block->q + (size_t)r * block->head_count * head_dim,
               op->q + (size_t)(block->row_first + r) * op->q_stride +
                   (size_t)block->head_first * head_dim,
               (size_t)block->head_count * head_dim * sizeof(float));
    }
    memset(block->out, 0, queries * head_dim * sizeof(float));
    memset(block->sums, 0, queries * LANES * sizeof(float));
    for (size_t i = 0; i < queries; i++) {
        block->highest[i] = -INFINITY;
    }

    if (op->cache.kind == KV_F32) {
        block_tiles(block, KV_F32, seen);
    } else if (op->cache.kind == KV_BF16) {
        block_tiles(block, KV_BF16, seen);
    } else {
        block_tiles(block, KV_INT8, seen);
    }

    for (uint32_t query = 0; query < block->query_count; query++) {
        uint32_t row = block->row_first + query / block->head_count;
        uint32_t head = block->head_first + query % block->head_count;
        float *to = op->scratch + ((size_t)row * shape->head_count + head) * head_dim;
        Lanes sum = lanes_set(lanes_sum(lanes_load(block->sums + (size_t)query * LANES)));
        for (uint32_t d = 0; d < head_dim; d += LANES) {
            lanes_store(to + d,
                        lanes_div(lanes_load(block->out + (size_t)query * head_dim + d), sum));
        }
    }
}

// Tasks are numbered sequence by sequence, then block, then kv head, then part.
static void attention_task(void *argument, uint32_t task, uint32_t worker) {
    const Attention *attention = argument;
    const OpAttention *op = attention->op;
    const LayerShape *shape = &op->cache.shape;
    uint32_t tasks_per_block = shape->kv_head_count * attention->head_parts;
    uint32_t block_index = task / tasks_per_block;
    const BatchSequence *sequence = op->rows.sequences;
    for (;; sequence++) {
        uint32_t blocks = (uint32_t)num_ceil_div(sequence->row_count, attention->row_count);
        if (block_index < blocks) {
            break;
        }
        block_index -= blocks;
    }
    uint32_t row = block_index * attention->row_count;
    uint32_t kv_head = task % tasks_per_block / attention->head_parts;
    uint32_t part = task % attention->head_parts;
    uint32_t row_count = (uint32_t)num_min(attention->row_count, sequence->row_count - row);
    Block block = {
        .op = op,
        .sequence = sequence,
        .row_first = sequence->row_first + row,
        .row_count = row_count,
        .kv_head = kv_head,
        .head_first = (kv_head * attention->head_parts + part) * attention->head_count,
        .head_count = attention->head_count,
        .query_count = row_count * attention->head_count,
    };
    block_run(&block, attention->cpu->scratch[worker]);
}

static uint32_t attention_blocks(const PagedRows *rows, uint32_t rows_per_block) {
    uint32_t blocks = 0;
    for (uint32_t i = 0; i < rows->sequence_count; i++) {
        blocks += (uint32_t)num_ceil_div(rows->sequences[i].row_count, rows_per_block);
    }
    return blocks;
}

static void attention_activate(void *argument, uint32_t row, uint32_t worker) {
    (void)worker;
    const OpAttention *op = ((const Attention *)argument)->op;
    uint32_t columns = op->cache.shape.head_count * op->cache.shape.head_dim;
    activation_store(&op->out, row, op->scratch + (size_t)row * columns);
}

// A head_dim that is no multiple of 32 has no fast path.
LANES_INLINE Status attention_run(void *context, const OpAttention *op) {
    if (op->cache.shape.head_dim % KV_VALUE_BLOCK != 0) {
        return attention_ref(context, op);
    }
    const LayerShape *shape = &op->cache.shape;
    Attention attention = {.op = op,
                           .cpu = context,
                           .head_parts = 1,
                           .head_count = shape->head_count / shape->kv_head_count};
    REQUIRE_MESSAGE(attention.head_count <= BLOCK_QUERIES, "%u query heads share a kv head",
                    attention.head_count);
    attention.row_count = BLOCK_QUERIES / attention.head_count;
    uint32_t blocks = attention_blocks(&op->rows, attention.row_count) * shape->kv_head_count;
    // Few blocks, as in decode of one sequence: deal the heads of a kv head to the threads.
    while (blocks * attention.head_parts < attention.cpu->thread_count &&
           attention.head_count % 2 == 0) {
        attention.head_count /= 2;
        attention.head_parts *= 2;
    }
    size_t floats = (size_t)BLOCK_QUERIES * (2 * shape->head_dim + TILE_TOKENS + LANES + 2);
    REQUIRE_MESSAGE(floats * sizeof(float) <= CPU_SCRATCH_BYTES, "head_dim %u", shape->head_dim);
    attention.task_count = blocks * attention.head_parts;
    pool_run(attention.cpu->pool, attention.task_count, attention_task, &attention);
    pool_run(attention.cpu->pool, op->rows.row_count, attention_activate, &attention);
    return OK;
}

#endif
