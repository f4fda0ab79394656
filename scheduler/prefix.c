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
    size_t entries = PREFIX_FORM_COUNT * (size_t)page_count + 1; // malloc(0) may be NULL
    table->buckets = malloc(buckets * sizeof *table->buckets);
    table->entries = malloc(entries * sizeof *table->entries);
    table->known = calloc((size_t)page_count + 1, sizeof *table->known);
    if (table->buckets == NULL || table->entries == NULL || table->known == NULL) {
        prefix_close(table);
        return error_set(error, E_MEMORY, "no memory for the prefix cache of %u pages", page_count);
    }
    memset(table->buckets, 0xff, buckets * sizeof *table->buckets);
    memset(table->entries, 0, entries * sizeof *table->entries); // taken now, not in a step
    return OK;
}

void prefix_close(PrefixTable *table) {
    free(table->buckets);
    free(table->entries);
    free(table->known);
    *table = (PrefixTable){0};
}

static uint32_t *prefix_bucket(const PrefixTable *table, Hash128 key) {
    return &table->buckets[key.low & table->bucket_mask];
}

static bool key_equal(Hash128 a, Hash128 b) {
    return a.low == b.low && a.high == b.high;
}

bool prefix_find(const PrefixTable *table, Hash128 key, uint32_t *page) {
    for (uint32_t e = *prefix_bucket(table, key); e != NO_ENTRY; e = table->entries[e].next) {
        if (key_equal(table->entries[e].key, key)) {
            *page = e < table->page_count ? e : e - table->page_count;
            return true;
        }
    }
    return false;
}

bool prefix_learn(PrefixTable *table, Hash128 key, uint32_t page, PrefixForm form) {
    REQUIRE(page < table->page_count);
    uint32_t known;
    if ((table->known[page] >> form & 1) != 0 || prefix_find(table, key, &known)) {
        return false;
    }
    uint32_t entry = form * table->page_count + page;
    uint32_t *bucket = prefix_bucket(table, key);
    table->entries[entry] = (PrefixEntry){.key = key, .next = *bucket, .previous = NO_ENTRY};
    if (*bucket != NO_ENTRY) {
        table->entries[*bucket].previous = entry;
    }
    *bucket = entry;
    table->known[page] |= (uint8_t)(1U << form);
    return true;
}

void prefix_forget(PrefixTable *table, uint32_t page) {
    for (uint32_t form = 0; form < PREFIX_FORM_COUNT; form++) {
        if ((table->known[page] >> form & 1) == 0) {
            continue;
        }
        const PrefixEntry *entry = &table->entries[form * table->page_count + page];
        if (entry->previous == NO_ENTRY) {
            *prefix_bucket(table, entry->key) = entry->next;
        } else {
            table->entries[entry->previous].next = entry->next;
        }
        if (entry->next != NO_ENTRY) {
            table->entries[entry->next].previous = entry->previous;
        }
    }
    table->known[page] = 0;
}

Hash128 prefix_extend(Hash128 key, const uint64_t *words, uint32_t count, uint64_t seed) {
    uint64_t block[2 + 16];
    REQUIRE(count <= 16);
    block[0] = key.high;
    block[1] = key.low;
    memcpy(block + 2, words, count * sizeof *words);
    return hash128_seeded((Bytes){(const uint8_t *)block, (2 + count) * sizeof *block}, seed);
}

void prefix_check(const PrefixTable *table) {
    uint32_t chained = 0, known = 0;
    for (uint32_t page = 0; page < table->page_count; page++) {
        for (uint32_t form = 0; form < PREFIX_FORM_COUNT; form++) {
            uint32_t found;
            if ((table->known[page] >> form & 1) != 0) {
                Hash128 key = table->entries[form * table->page_count + page].key;
                REQUIRE(prefix_find(table, key, &found) && found == page);
                known++;
            }
        }
    }
    for (uint32_t bucket = 0; bucket <= table->bucket_mask; bucket++) {
        for (uint32_t e = table->buckets[bucket]; e != NO_ENTRY; e = table->entries[e].next) {
            chained++;
        }
    }
    REQUIRE(chained == known);
}
