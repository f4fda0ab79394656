// SPDX-License-Identifier: Apache-2.0
// The scheduler's parts alone: page pools, the prefix table, the token store.
#include "scheduler/kv_pool.h"
#include "scheduler/prefix.h"
#include "scheduler/token_store.h"

#include "base/prng.h"

#include <criterion/criterion.h>
#include <string.h>

Test(kv_pool, shared_pages_are_free_after_the_last_holder) {
    KvPool pool;
    cr_assert_eq(kv_pool_open(2, &pool, NULL), OK);
    uint32_t a, b, c;
    bool evicted;
    cr_assert(kv_pool_take(&pool, &a, &evicted));
    cr_assert(kv_pool_take(&pool, &b, &evicted));
    cr_assert_not(kv_pool_take(&pool, &c, &evicted));
    kv_pool_share(&pool, a);
    kv_pool_give(&pool, a);
    cr_assert_eq(pool.free_count, 0);
    kv_pool_give(&pool, a);
    cr_assert_eq(pool.free_count, 1);
    kv_pool_give(&pool, b);
    kv_pool_close(&pool);
}

Test(kv_pool, kept_pages_are_cached_and_the_oldest_is_evicted_first) {
    KvPool pool;
    kv_pool_open(3, &pool, NULL);
    uint32_t pages[3], page;
    bool evicted;
    for (int i = 0; i < 3; i++) {
        kv_pool_take(&pool, &pages[i], &evicted);
        kv_pool_keep(&pool, pages[i]);
    }
    kv_pool_give(&pool, pages[1]);
    kv_pool_give(&pool, pages[0]);
    kv_pool_give(&pool, pages[2]);
    cr_assert_eq(pool.cached_count, 3);
    cr_assert_eq(kv_pool_available(&pool), 3);
    kv_pool_share(&pool, pages[1]); // a hit takes it out of the line
    cr_assert(kv_pool_take(&pool, &page, &evicted));
    cr_assert(evicted);
    cr_assert_eq(page, pages[0]);
    kv_pool_give(&pool, page); // no longer kept: free, not cached
    cr_assert_eq(pool.free_count, 1);
    kv_pool_close(&pool);
}

Test(prefix_table, a_page_is_found_by_both_its_keys_until_it_is_forgotten) {
    PrefixTable table;
    cr_assert_eq(prefix_open(1000, &table, NULL), OK);
    Hash128 keys[2000];
    for (uint32_t i = 0; i < 2000; i++) {
        keys[i] = (Hash128){prng_u64(1, 0, i), prng_u64(1, 1, i)};
        cr_assert(prefix_learn(&table, keys[i], i / 2, i % 2 ? PREFIX_TAIL : PREFIX_FULL));
        cr_assert_not(prefix_learn(&table, keys[i], (i / 2 + 1) % 1000, PREFIX_FULL));
    }
    uint32_t page;
    for (uint32_t i = 0; i < 2000; i++) {
        cr_assert(prefix_find(&table, keys[i], &page));
        cr_assert_eq(page, i / 2);
    }
    for (uint32_t i = 0; i < 1000; i += 2) {
        prefix_forget(&table, i);
    }
    for (uint32_t i = 0; i < 2000; i++) {
        cr_assert_eq(prefix_find(&table, keys[i], &page), i / 2 % 2 == 1);
    }
    prefix_close(&table);
}

Test(token_store, blocks_are_separate_and_join_again) {
    TokenStore store;
    cr_assert_eq(token_store_open(100000, &store, NULL), OK);
    enum { BLOCKS = 64 };
    int32_t *blocks[BLOCKS] = {0};
    uint32_t sizes[BLOCKS];
    for (uint64_t step = 0; step < 20000; step++) {
        uint32_t i = (uint32_t)(prng_u64(2, 0, step) % BLOCKS);
        if (blocks[i] != NULL) {
            for (uint32_t j = 0; j < sizes[i]; j++) {
                cr_assert_eq(blocks[i][j], (int32_t)i);
            }
            token_store_give(&store, blocks[i], sizes[i]);
            blocks[i] = NULL;
            continue;
        }
        sizes[i] = 1 + (uint32_t)(prng_u64(2, 1, step) % 6000);
        blocks[i] = token_store_take(&store, sizes[i]);
        for (uint32_t j = 0; blocks[i] != NULL && j < sizes[i]; j++) {
            blocks[i][j] = (int32_t)i;
        }
    }
    for (uint32_t i = 0; i < BLOCKS; i++) {
        if (blocks[i] != NULL) {
            token_store_give(&store, blocks[i], sizes[i]);
        }
    }
    int32_t *all = token_store_take(&store, 100000); // whole again
    cr_assert_not_null(all);
    cr_assert_null(token_store_take(&store, 1 << 20));
    token_store_close(&store);
}

Test(token_store, with_a_largest_block_per_owner_nobody_is_refused) {
    enum { OWNERS = 12, MOST = 300 };
    TokenStore store;
    cr_assert_eq(token_store_open(OWNERS * token_store_block(MOST), &store, NULL), OK);
    int32_t *blocks[OWNERS] = {0};
    uint32_t sizes[OWNERS];
    for (uint64_t step = 0; step < 20000; step++) {
        uint32_t i = (uint32_t)(prng_u64(3, 0, step) % OWNERS);
        if (blocks[i] != NULL) {
            token_store_give(&store, blocks[i], sizes[i]);
        }
        sizes[i] = 1 + (uint32_t)(prng_u64(3, 1, step) % MOST);
        blocks[i] = token_store_take(&store, sizes[i]);
        cr_assert_not_null(blocks[i], "step %llu", (unsigned long long)step);
    }
    token_store_close(&store);
}
