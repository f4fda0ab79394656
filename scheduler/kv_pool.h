// SPDX-License-Identifier: Apache-2.0
// Arithmetic of page numbers for one page kind: which are free, how many holders the others have.
// Numbers only; the bytes behind them belong to the engine. A page taken has one holder; sharing
// adds holders; the page is free again when the last one gives it back. Step thread only.
#ifndef SCHEDULER_KV_POOL_H
#define SCHEDULER_KV_POOL_H

#include "base/status.h"

typedef struct KvPool {
    uint32_t total;
    uint32_t free_count;
    uint32_t
        *free_stack; // [total], the first free_count are free; last in, first out keeps pages warm
    uint16_t *holders; // [total], 0 = free
} KvPool;

Status kv_pool_open(uint32_t total, KvPool *pool, Error *error); // E_MEMORY
void kv_pool_close(KvPool *pool);

// Takes one page with one holder. False when none is free: *page is then unchanged.
bool kv_pool_take(KvPool *pool, uint32_t *page);
void kv_pool_share(KvPool *pool, uint32_t page); // one more holder of a taken page
void kv_pool_give(KvPool *pool, uint32_t page);  // one holder less

#endif
