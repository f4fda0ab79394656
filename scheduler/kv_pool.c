// SPDX-License-Identifier: Apache-2.0
#include "scheduler/kv_pool.h"

#include "base/check.h"

#include <stdlib.h>

Status kv_pool_open(uint32_t total, KvPool *pool, Error *error) {
    *pool = (KvPool){.total = total, .free_count = total};
    pool->free_stack = malloc((size_t)total * sizeof *pool->free_stack + 1);
    pool->holders = calloc((size_t)total + 1, sizeof *pool->holders);
    if (pool->free_stack == NULL || pool->holders == NULL) {
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
    *pool = (KvPool){0};
}

bool kv_pool_take(KvPool *pool, uint32_t *page) {
    if (pool->free_count == 0) {
        return false;
    }
    *page = pool->free_stack[--pool->free_count];
    REQUIRE(pool->holders[*page] == 0);
    pool->holders[*page] = 1;
    return true;
}

void kv_pool_share(KvPool *pool, uint32_t page) {
    REQUIRE(page < pool->total && pool->holders[page] > 0 && pool->holders[page] < UINT16_MAX);
    pool->holders[page]++;
}

void kv_pool_give(KvPool *pool, uint32_t page) {
    REQUIRE(page < pool->total && pool->holders[page] > 0);
    if (--pool->holders[page] == 0) {
        pool->free_stack[pool->free_count++] = page;
    }
}
