// SPDX-License-Identifier: Apache-2.0
#include "scheduler/prefix.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

#define NO_ENTRY UINT32_MAX

Status prefix_open(uint32_t page_count, PrefixTable *table, Error *error) {
    *table = (PrefixTable){.page_count = page_count};
    uint32_t buckets = 16;
    while (buckets < UINT32_C(1) << 30 && buckets < 2 * (uint64_t)page_count) {
        buckets *= 2;
    }
    table->bucket_mask = buckets - 1;
    size_t entries = 2 * (size_t)page_count + 1;
    table->buckets = malloc(buckets * sizeof *table->buckets);
    table->next = malloc(entries * sizeof *table->next);
    table->keys = malloc(entries * sizeof *table->keys);
    table->used = calloc(entries, sizeof *table->used);
    if (table->buckets == NULL || table->next == NULL || table->keys == NULL ||
        table->used == NULL) {
        prefix_close(table);
        return error_set(error, E_MEMORY, "no memory for the prefix cache of %u pages", page_count);
    }
    memset(table->buckets, 0xff, buckets * sizeof *table->buckets);
    return OK;
}

void prefix_close(PrefixTable *table) {
    free(table->buckets);
    free(table->next);
    free(table->keys);
    free(table->used);
    *table = (PrefixTable){0};
}

static uint32_t *prefix_bucket(const PrefixTable *table, Hash128 key) {
    return &table->buckets[key.low & table->bucket_mask];
}

bool prefix_find(const PrefixTable *table, Hash128 key, uint32_t *page) {
    for (uint32_t e = *prefix_bucket(table, key); e != NO_ENTRY; e = table->next[e]) {
        if (table->keys[e].low == key.low && table->keys[e].high == key.high) {
            *page = e / PREFIX_FORM_COUNT;
            return true;
        }
    }
    return false;
}

bool prefix_learn(PrefixTable *table, Hash128 key, uint32_t page, PrefixForm form) {
    REQUIRE(page < table->page_count);
    uint32_t entry = page * PREFIX_FORM_COUNT + form, known;
    if (table->used[entry] || prefix_find(table, key, &known)) {
        return false;
    }
    uint32_t *bucket = prefix_bucket(table, key);
    table->keys[entry] = key;
    table->used[entry] = true;
    table->next[entry] = *bucket;
    *bucket = entry;
    return true;
}

void prefix_forget(PrefixTable *table, uint32_t page) {
    for (uint32_t form = 0; form < PREFIX_FORM_COUNT; form++) {
        uint32_t entry = page * PREFIX_FORM_COUNT + form;
        if (!table->used[entry]) {
            continue;
        }
        uint32_t *at = prefix_bucket(table, table->keys[entry]);
        while (*at != entry) {
            at = &table->next[*at];
        }
        *at = table->next[entry];
        table->used[entry] = false;
    }
}

Hash128 prefix_extend(Hash128 key, const uint64_t *words, uint32_t count) {
    uint64_t block[2 + 16];
    REQUIRE(count <= 16);
    block[0] = key.high;
    block[1] = key.low;
    memcpy(block + 2, words, count * sizeof *words);
    return hash128((Bytes){(const uint8_t *)block, (2 + count) * sizeof *block});
}
