// SPDX-License-Identifier: Apache-2.0
#include "scheduler/sequence.h"

#include "base/check.h"
#include "base/num.h"

#include <string.h>

bool pages_take(Pages *pages, int kind, uint32_t *page) {
    bool evicted;
    if (!kv_pool_take(&pages->pools[kind], page, &evicted)) {
        return false;
    }
    if (evicted) {
        prefix_forget(&pages->prefixes[kind], *page);
    }
    return true;
}

bool sequence_grow(Sequence *sequence, Pages *pages, uint32_t position_end) {
    uint32_t pages_end = (uint32_t)num_ceil_div(position_end, KV_PAGE_TOKENS);
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        PageTable *table = &sequence->tables[kind];
        while (table->skip + table->count < pages_end) {
            REQUIRE(table->count < table->capacity);
            if (!pages_take(pages, kind, &table->pages[table->count])) {
                return false;
            }
            table->count++;
        }
    }
    return true;
}

void sequence_slide(Sequence *sequence, Pages *pages, uint32_t window, uint32_t position) {
    if (position + 1 <= window) {
        return;
    }
    PageTable *table = &sequence->tables[PAGE_SLIDING];
    uint32_t skip = (position + 1 - window) / KV_PAGE_TOKENS; // whole pages before the first seen
    if (skip <= table->skip) {
        return;
    }
    uint32_t gone = (uint32_t)num_min(skip - table->skip, table->count);
    for (uint32_t i = 0; i < gone; i++) {
        kv_pool_give(&pages->pools[PAGE_SLIDING], table->pages[i]);
    }
    memmove(table->pages, table->pages + gone, (table->count - gone) * sizeof *table->pages);
    table->count -= gone;
    table->skip += gone;
}

void sequence_drop_pages(Sequence *sequence, Pages *pages) {
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        PageTable *table = &sequence->tables[kind];
        for (uint32_t i = table->count; i > 0; i--) {
            kv_pool_give(&pages->pools[kind], table->pages[i - 1]);
        }
        table->count = 0;
        table->skip = 0;
    }
    sequence->cached_count = 0;
    sequence->chain = sequence_key_begin(sequence, pages);
    sequence->chain_pages = 0;
}

const SequenceMedia *sequence_cut_at(const Sequence *sequence, uint32_t position) {
    for (uint32_t i = 0; i < sequence->media_count; i++) {
        const SequenceMedia *media = &sequence->media[i];
        if (media_is_whole(media->kind) && media->position_first < position &&
            position < media->position_first + media->row_count) {
            return media;
        }
    }
    return NULL;
}

uint32_t sequence_chunk(const Sequence *sequence, uint32_t want) {
    uint32_t first = sequence_next(sequence), end = first + want;
    const SequenceMedia *cut = sequence_cut_at(sequence, end);
    if (cut != NULL) {
        end = cut->position_first;
    }
    return end > first ? end - first : 0;
}

// What distinguishes a position: its token, or the medium and the row of it.
static uint64_t sequence_word(const Sequence *sequence, uint32_t position) {
    for (uint32_t i = 0; i < sequence->media_count; i++) {
        const SequenceMedia *media = &sequence->media[i];
        if (position >= media->position_first &&
            position < media->position_first + media->row_count) {
            uint64_t row[] = {media->name.high, media->name.low, position - media->position_first,
                              media->kind};
            return hash64((Bytes){(const uint8_t *)row, sizeof row}, 1);
        }
    }
    return (uint32_t)sequence->tokens[position];
}

Hash128 sequence_key_begin(const Sequence *sequence, const Pages *pages) {
    return (Hash128){.low = pages->prefix_per_user ? sequence->user : 0};
}

Hash128 sequence_key(const Sequence *sequence, const Pages *pages, Hash128 key, uint32_t done,
                     uint32_t count) {
    uint64_t words[KV_PAGE_TOKENS];
    REQUIRE(count >= done && count - done <= KV_PAGE_TOKENS && count <= sequence->token_count);
    for (uint32_t i = done; i < count; i++) {
        words[i - done] = sequence_word(sequence, i);
    }
    return prefix_extend(key, words, count - done, pages->prefix_seed);
}

static void learn_page(Sequence *sequence, Pages *pages, uint32_t logical, Hash128 key,
                       PrefixForm form) {
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        const PageTable *table = &sequence->tables[kind];
        if (logical < table->skip || logical - table->skip >= table->count) {
            continue;
        }
        uint32_t page = table->pages[logical - table->skip];
        if (prefix_learn(&pages->prefixes[kind], key, page, form)) {
            kv_pool_keep(&pages->pools[kind], page);
        }
    }
}

// A tail that ends at `end`, when that is inside a page and was reached by the step just committed.
static void learn_tail(Sequence *sequence, Pages *pages, uint32_t cached_before, uint32_t end) {
    uint32_t first = end / KV_PAGE_TOKENS * KV_PAGE_TOKENS;
    if (end % KV_PAGE_TOKENS == 0 || end <= cached_before || end > sequence->cached_count ||
        end > sequence->shareable_end || first / KV_PAGE_TOKENS != sequence->chain_pages) {
        return;
    }
    learn_page(sequence, pages, first / KV_PAGE_TOKENS,
               sequence_key(sequence, pages, sequence->chain, first, end), PREFIX_TAIL);
}

void sequence_learn(Sequence *sequence, Pages *pages, uint32_t cached_before) {
    uint32_t next_media = 0;
    for (;;) {
        uint32_t page_end = (sequence->chain_pages + 1) * KV_PAGE_TOKENS;
        for (; next_media < sequence->media_count; next_media++) {
            const SequenceMedia *media = &sequence->media[next_media];
            if (media->position_first + media->row_count >= page_end) {
                break;
            }
            learn_tail(sequence, pages, cached_before, media->position_first + media->row_count);
        }
        if (sequence->prompt_count < page_end) {
            learn_tail(sequence, pages, cached_before, sequence->prompt_count);
        }
        if (page_end > sequence->cached_count || page_end > sequence->shareable_end) {
            return;
        }
        sequence->chain =
            sequence_key(sequence, pages, sequence->chain, page_end - KV_PAGE_TOKENS, page_end);
        learn_page(sequence, pages, sequence->chain_pages, sequence->chain, PREFIX_FULL);
        sequence->chain_pages++;
    }
}
