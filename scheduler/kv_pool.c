// SPDX-License-Identifier: Apache-2.0
#include "scheduler/kv_pool.h"

#include "base/check.h"

#include <stdlib.h>

Status kv_pool_open(uint32_t total, KvPool *pool, Error *error) {
    *pool =
        (KvPool){.total = total, .free_count = total, .oldest = KV_NO_PAGE, .newest = KV_NO_PAGE};
    size_t n = (size_t)total + 1; // calloc(0) may be NULL
    pool->free_stack = calloc(n, sizeof *pool->free_stack);
    pool->holders = calloc(n, sizeof *pool->holders);
    pool->kept = calloc(n, sizeof *pool->kept);
    pool->in_cache = calloc(n, sizeof *pool->in_cache);
    pool->older = calloc(n, sizeof *pool->older);
    pool->newer = calloc(n, sizeof *pool->newer);
    if (pool->free_stack == NULL || pool->holders == NULL || pool->kept == NULL ||
        pool->in_cache == NULL || pool->older == NULL || pool->newer == NULL) {
        kv_pool_close(pool);
        return error_set(error, E_MEMORY, "no memory for the numbers of %u KV pages", total);
    }
    for (uint32_t i = 0; i < total; i++) {
        pool->free_stack[i] = total - 1 - i; // page 0 is taken first
    }
    return OK;
}

void kv_pool_close(KvPool *pool) {
    free(pool->free_stack);
    free(pool->holders);
    free(pool->kept);
    free(pool->in_cache);
    free(pool->older);
    free(pool->newer);
    *pool = (KvPool){0};
}

static void cache_push_newest(KvPool *pool, uint32_t page) {
    pool->in_cache[page] = true;
    pool->older[page] = pool->newest;
    pool->newer[page] = KV_NO_PAGE;
    *(pool->newest == KV_NO_PAGE ? &pool->oldest : &pool->newer[pool->newest]) = page;
    pool->newest = page;
    pool->cached_count++;
}

static void cache_remove(KvPool *pool, uint32_t page) {
    uint32_t older = pool->older[page], newer = pool->newer[page];
    *(older == KV_NO_PAGE ? &pool->oldest : &pool->newer[older]) = newer;
    *(newer == KV_NO_PAGE ? &pool->newest : &pool->older[newer]) = older;
    pool->in_cache[page] = false;
    pool->cached_count--;
}

bool kv_pool_take(KvPool *pool, uint32_t *page, bool *evicted) {
    *evicted = false;
    if (pool->free_count > 0) {
        *page = pool->free_stack[--pool->free_count];
    } else if (pool->oldest != KV_NO_PAGE) {
        *page = pool->oldest;
        cache_remove(pool, *page);
        pool->kept[*page] = false;
        *evicted = true;
    } else {
        return false;
    }
    REQUIRE(pool->holders[*page] == 0 && !pool->kept[*page]);
    pool->holders[*page] = 1;
    return true;
}

void kv_pool_share(KvPool *pool, uint32_t page) {
    REQUIRE(page < pool->total && pool->holders[page] < UINT16_MAX);
    REQUIRE(pool->holders[page] > 0 || pool->in_cache[page]);
    if (pool->in_cache[page]) {
        cache_remove(pool, page);
    }
    pool->holders[page]++;
}

void kv_pool_give(KvPool *pool, uint32_t page) {
    REQUIRE(page < pool->total && pool->holders[page] > 0);
    if (--pool->holders[page] > 0) {
        return;
    }
    if (pool->kept[page]) {
        cache_push_newest(pool, page);
    } else {
        pool->free_stack[pool->free_count++] = page;
    }
}

void kv_pool_keep(KvPool *pool, uint32_t page) {
    REQUIRE(page < pool->total && pool->holders[page] > 0);
    pool->kept[page] = true;
}
