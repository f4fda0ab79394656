// SPDX-License-Identifier: Apache-2.0
// Arithmetic of page numbers for one page kind. Numbers only; the bytes behind them belong to the
// engine.
//
//   free -> held (one or more holders) -> free
//             ^   |  the last holder leaves and the page is kept
//             |   v
//            cached, oldest first out: taken again by share (a prefix hit) or by take (then
//            `evicted`)
//
// Step thread only; nothing allocates after kv_pool_open.
#ifndef SCHEDULER_KV_POOL_H
#define SCHEDULER_KV_POOL_H

#include "base/status.h"

#define KV_NO_PAGE UINT32_MAX

typedef struct KvPage {
    uint32_t older, newer; // list of cached pages
    uint16_t holders;
    bool kept;     // the prefix cache knows this page
    bool in_cache; // no holders, but kept: in the list
} KvPage;

typedef struct KvPool {
    uint32_t total;
    uint32_t free_count;
    uint32_t cached_count;
    // [total], the first free_count are free; last in, first out keeps pages warm
    uint32_t *free_stack;
    KvPage *pages;           // [total]
    uint32_t oldest, newest; // of the cached ones
} KvPool;

enum { KV_HOLDERS_MAX = UINT16_MAX };

Status kv_pool_open(uint32_t total, KvPool *pool, Error *error); // E_MEMORY
void kv_pool_close(KvPool *pool);

// Pages that take can hand out: free ones and cached ones.
static inline uint32_t kv_pool_available(const KvPool *pool) {
    return pool->free_count + pool->cached_count;
}

// Takes one page with one holder, a free one if there is one, else the oldest cached one: *evicted
// then tells the prefix cache to forget it. False when there is neither.
bool kv_pool_take(KvPool *pool, uint32_t *page, bool *evicted);
void kv_pool_share(KvPool *pool, uint32_t page); // one more holder of a held or cached page
void kv_pool_give(KvPool *pool, uint32_t page);  // one holder less
void kv_pool_keep(KvPool *pool, uint32_t page);  // the prefix cache has learnt a held page

// Checks with REQUIRE that every page is free, held or cached and the counts agree. Slow.
void kv_pool_check(const KvPool *pool);

#endif
