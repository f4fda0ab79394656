// SPDX-License-Identifier: Apache-2.0
#include "scheduler/sequence.h"

#include "base/check.h"
#include "base/num.h"

#include <string.h>

bool sequence_grow(Sequence *sequence, KvPool pools[PAGE_KIND_COUNT], uint32_t position_end) {
    uint32_t pages_end = (uint32_t)num_ceil_div(position_end, KV_PAGE_TOKENS);
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        PageTable *table = &sequence->tables[kind];
        while (table->skip + table->count < pages_end) {
            REQUIRE(table->count < table->capacity);
            if (!kv_pool_take(&pools[kind], &table->pages[table->count])) {
                return false;
            }
            table->count++;
        }
    }
    return true;
}

void sequence_slide(Sequence *sequence, KvPool pools[PAGE_KIND_COUNT], uint32_t window,
                    uint32_t position) {
    if (position + 1 <= window) {
        return;
    }
    PageTable *table = &sequence->tables[PAGE_SLIDING];
    uint32_t first_seen = position + 1 - window;
    uint32_t skip = first_seen / KV_PAGE_TOKENS; // whole pages before the first seen position
    if (skip <= table->skip) {
        return;
    }
    uint32_t gone = (uint32_t)num_min(skip - table->skip, table->count);
    for (uint32_t i = 0; i < gone; i++) {
        kv_pool_give(&pools[PAGE_SLIDING], table->pages[i]);
    }
    memmove(table->pages, table->pages + gone, (table->count - gone) * sizeof *table->pages);
    table->count -= gone;
    table->skip += gone;
}

void sequence_drop_pages(Sequence *sequence, KvPool pools[PAGE_KIND_COUNT]) {
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        PageTable *table = &sequence->tables[kind];
        for (uint32_t i = 0; i < table->count; i++) {
            kv_pool_give(&pools[kind], table->pages[i]);
        }
        table->count = 0;
        table->skip = 0;
    }
    sequence->cached_count = 0;
}

uint32_t sequence_chunk(const Sequence *sequence, uint32_t want) {
    uint32_t end = sequence->cached_count + want;
    for (uint32_t i = 0; i < sequence->image_count; i++) {
        const SequenceImage *image = &sequence->images[i];
        if (image->position_first < end && end < image->position_first + image->patch_count) {
            end = image->position_first;
        }
    }
    return end > sequence->cached_count ? end - sequence->cached_count : 0;
}
