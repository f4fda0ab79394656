// SPDX-License-Identifier: Apache-2.0
#include "scheduler/kv_pool.h"

#include "base/check.h"

#include <stdlib.h>

Status kv_pool_open(uint32_t total, KvPool *pool, Error *error) {
    *pool =
        (KvPool){.total = total, .free_count = total, .oldest = KV_NO_PAGE, .newest = KV_NO_PAGE};
    size_t n = (size_t)total + 1; // calloc(0) may be NULL
    pool->free_stack = calloc(n, sizeof *pool->free_stack);
    pool->pages = calloc(n, sizeof *pool->pages);
    if (pool->free_stack == NULL || pool->pages == NULL) {
        kv_pool_close(pool);
        return error_set(error, E_MEMORY, "no memory for the numbers of %u KV pages", total);
    }
    for (uint32_t i = 0; i < total; i++) {
        pool->free_stack[i] = total - 1 - i; // page 0 is taken first
        pool->pages[i] = (KvPage){.older = KV_NO_PAGE, .newer = KV_NO_PAGE};
    }
    return OK;
}

void kv_pool_close(KvPool *pool) {
    free(pool->free_stack);
    free(pool->pages);
    *pool = (KvPool){0};
}

static void cache_push_newest(KvPool *pool, uint32_t page) {
    KvPage *p = &pool->pages[page];
    p->in_cache = true;
    p->older = pool->newest;
    p->newer = KV_NO_PAGE;
    if (pool->newest == KV_NO_PAGE) {
        pool->oldest = page;
    } else {
        pool->pages[pool->newest].newer = page;
    }
    pool->newest = page;
    pool->cached_count++;
}

static void cache_remove(KvPool *pool, uint32_t page) {
    KvPage *p = &pool->pages[page];
    if (p->older == KV_NO_PAGE) {
        pool->oldest = p->newer;
    } else {
        pool->pages[p->older].newer = p->newer;
    }
    if (p->newer == KV_NO_PAGE) {
        pool->newest = p->older;
    } else {
        pool->pages[p->newer].older = p->older;
    }
    p->in_cache = false;
    pool->cached_count--;
}

bool kv_pool_take(KvPool *pool, uint32_t *page, bool *evicted) {
    *evicted = false;
    if (pool->free_count > 0) {
        *page = pool->free_stack[--pool->free_count];
    } else if (pool->oldest != KV_NO_PAGE) {
        *page = pool->oldest;
        cache_remove(pool, *page);
        pool->pages[*page].kept = false;
        *evicted = true;
    } else {
        return false;
    }
    KvPage *p = &pool->pages[*page];
    REQUIRE(p->holders == 0 && !p->kept);
    p->holders = 1;
    return true;
}

void kv_pool_share(KvPool *pool, uint32_t page) {
    REQUIRE(page < pool->total);
    KvPage *p = &pool->pages[page];
    REQUIRE((p->holders > 0 || p->in_cache) && p->holders < KV_HOLDERS_MAX);
    if (p->in_cache) {
        cache_remove(pool, page);
    }
    p->holders++;
}

void kv_pool_give(KvPool *pool, uint32_t page) {
    REQUIRE(page < pool->total);
    KvPage *p = &pool->pages[page];
    REQUIRE(p->holders > 0);
    if (--p->holders > 0) {
        return;
    }
    if (p->kept) {
        cache_push_newest(pool, page);
    } else {
        pool->free_stack[pool->free_count++] = page;
    }
}

void kv_pool_keep(KvPool *pool, uint32_t page) {
    REQUIRE(page < pool->total && pool->pages[page].holders > 0);
    pool->pages[page].kept = true;
}

void kv_pool_check(const KvPool *pool) {
    uint32_t held = 0, cached = 0, listed = 0;
    for (uint32_t i = 0; i < pool->total; i++) {
        const KvPage *page = &pool->pages[i];
        REQUIRE(!page->in_cache || (page->holders == 0 && page->kept));
        held += page->holders > 0;
        cached += page->in_cache;
    }
    for (uint32_t i = pool->oldest; i != KV_NO_PAGE; i = pool->pages[i].newer) {
        listed++;
        REQUIRE(pool->pages[i].in_cache && listed <= cached);
    }
    for (uint32_t i = 0; i < pool->free_count; i++) {
        const KvPage *page = &pool->pages[pool->free_stack[i]];
        REQUIRE(page->holders == 0 && !page->kept);
    }
    REQUIRE(listed == cached && cached == pool->cached_count);
    REQUIRE(held + cached + pool->free_count == pool->total);
}
