// SPDX-License-Identifier: Apache-2.0
// Which page holds which beginning of a prompt, for one page kind. A key is the hash of everything
// from the first token up to a place: token ids, and for media the name and the number of the row,
// so equal keys mean equal keys and values in the page. A page can be known by two keys: as full,
// and as a tail that ends inside it (at the end of a medium or of a prompt).
//
// The table stores page numbers only; kv_pool keeps the pages alive. Nothing allocates after
// prefix_open.
#ifndef SCHEDULER_PREFIX_H
#define SCHEDULER_PREFIX_H

#include "base/hash.h"
#include "base/status.h"

typedef enum PrefixForm { PREFIX_FULL, PREFIX_TAIL, PREFIX_FORM_COUNT } PrefixForm;

typedef struct PrefixEntry {
    Hash128 key;
    uint32_t next, previous; // in the chain of its bucket
} PrefixEntry;

typedef struct PrefixTable {
    uint32_t page_count;
    uint32_t bucket_mask;
    uint32_t *buckets;    // first entry of each chain
    PrefixEntry *entries; // entry form * page_count + page, so that full pages lie together
    uint8_t *known;       // [page_count] bit `form`: the page has a key of this form
} PrefixTable;

Status prefix_open(uint32_t page_count, PrefixTable *table, Error *error);
void prefix_close(PrefixTable *table);

bool prefix_find(const PrefixTable *table, Hash128 key, uint32_t *page);

// False when the key is known already (by this or another page) or the page has a key of this form.
bool prefix_learn(PrefixTable *table, Hash128 key, uint32_t page, PrefixForm form);
void prefix_forget(PrefixTable *table, uint32_t page); // both forms; harmless when unknown

// The key after `count` more positions, each described by one word (see sequence_word). Without the
// seed nobody can construct two beginnings with the same key.
Hash128 prefix_extend(Hash128 key, const uint64_t *words, uint32_t count, uint64_t seed);

// Checks with REQUIRE that the chains hold exactly the entries the pages know. Slow.
void prefix_check(const PrefixTable *table);

#endif
