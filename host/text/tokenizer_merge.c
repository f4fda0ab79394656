// SPDX-License-Identifier: Apache-2.0
// Byte pair encoding of one chunk (Sennrich et al., "Neural machine translation of rare words with
// subword units", ACL 2016; ranks and ties as in the `tokenizers` package): again and again the
// pair of neighbours with the lowest rank, the leftmost of equals, becomes one symbol.
//
// Two ways to find that pair, the same result: a chunk of a few symbols keeps the ranks in an array
// and scans it; a long one keeps a heap of (rank, position), whose entries are checked against the
// array when they come up, because a rank there may have been overtaken by another merge.
#include "base/utf8.h"
#include "host/text/tokenizer_tables.h"

#include <stdlib.h>
#include <string.h>

enum { SCAN_MAX = 48 }; // symbols; above it the scan's square cost passes the heap's

static const uint32_t NONE = UINT32_MAX;

static bool grow(void **array, size_t items, size_t item_bytes) {
    void *moved = realloc(*array, items * item_bytes);
    if (moved == NULL) {
        return false;
    }
    *array = moved;
    return true;
}

static bool reserve(TokenizerScratch *scratch, size_t symbols) {
    if (symbols <= scratch->capacity) {
        return true;
    }
    size_t capacity = symbols + symbols / 2 + 64;
    // The heap holds one entry per first pair and at most two per merge.
    if (!grow((void **)&scratch->symbols, capacity, sizeof(uint32_t)) ||
        !grow((void **)&scratch->ranks, capacity, sizeof(uint32_t)) ||
        !grow((void **)&scratch->merged, capacity, sizeof(uint32_t)) ||
        !grow((void **)&scratch->links, capacity * 2, sizeof(uint32_t)) ||
        !grow((void **)&scratch->heap, capacity * 3, sizeof(uint64_t))) {
        return false; // the arrays that did grow keep their new size; capacity says the old one
    }
    scratch->capacity = capacity;
    return true;
}

void tokenizer_scratch_free(TokenizerScratch *scratch) {
    buffer_free(&scratch->normalized);
    buffer_free(&scratch->spare);
    free(scratch->symbols);
    free(scratch->ranks);
    free(scratch->merged);
    free(scratch->links);
    free(scratch->heap);
    free(scratch->words);
    *scratch = (TokenizerScratch){0};
}

// All bytes of one character as byte tokens; false when one of them has none.
static bool push_bytes(const Tokenizer *tokenizer, const uint8_t *bytes, size_t length,
                       uint32_t *symbols, size_t *count) {
    if (!(tokenizer->flags & TOKENIZER_BYTE_FALLBACK)) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (tokenizer->byte_ids[bytes[i]] < 0) {
            return false;
        }
    }
    for (size_t i = 0; i < length; i++) {
        symbols[(*count)++] = (uint32_t)tokenizer->byte_ids[bytes[i]];
    }
    return true;
}

// One symbol per character, or its bytes, or the unknown token. As in tokenizers, an unknown token
// waits until the next known character, byte tokens may overtake it, and without an unknown token
// the character is dropped.
static size_t first_symbols(const Tokenizer *tokenizer, Bytes chunk, uint32_t *symbols) {
    size_t count = 0;
    bool unknown_waits = false;
    for (size_t at = 0; at < chunk.length;) {
        uint32_t code = chunk.data[at];
        size_t length = code < 0x80 ? 1 : utf8_decode(chunk, at, &code);
        int32_t id = length > 0 ? tokenizer_code_id(tokenizer, code) : -1;
        length = length > 0 ? length : 1;
        if (id >= 0) {
            if (unknown_waits) {
                symbols[count++] = (uint32_t)tokenizer->unknown_id;
                unknown_waits = false;
            }
            symbols[count++] = (uint32_t)id;
        } else if (!push_bytes(tokenizer, chunk.data + at, length, symbols, &count) &&
                   tokenizer->unknown_id >= 0) {
            if (unknown_waits && !(tokenizer->flags & TOKENIZER_FUSE_UNKNOWN)) {
                symbols[count++] = (uint32_t)tokenizer->unknown_id;
            }
            unknown_waits = true;
        }
        at += length;
    }
    if (unknown_waits) {
        symbols[count++] = (uint32_t)tokenizer->unknown_id;
    }
    return count;
}

static void look_up(const Tokenizer *tokenizer, TokenizerScratch *scratch, size_t at, size_t next) {
    const TokenizerPair *pair =
        tokenizer_pair(tokenizer, scratch->symbols[at], scratch->symbols[next]);
    scratch->ranks[at] = pair == NULL ? NONE : pair->rank;
    scratch->merged[at] = pair == NULL ? 0 : pair->merged;
}

static size_t merge_by_scan(const Tokenizer *tokenizer, TokenizerScratch *scratch, size_t count) {
    uint32_t *symbols = scratch->symbols, *ranks = scratch->ranks, *merged = scratch->merged;
    for (size_t i = 0; i + 1 < count; i++) {
        tokenizer_pair_prefetch(tokenizer, symbols[i], symbols[i + 1]);
    }
    for (size_t i = 0; i + 1 < count; i++) {
        look_up(tokenizer, scratch, i, i + 1);
    }
    while (count > 1) {
        uint32_t best = NONE;
        size_t at = 0;
        for (size_t i = 0; i + 1 < count; i++) {
            if (ranks[i] < best) {
                best = ranks[i];
                at = i;
            }
        }
        if (best == NONE) {
            break;
        }
        symbols[at] = merged[at];
        count--;
        memmove(symbols + at + 1, symbols + at + 2, (count - at - 1) * sizeof *symbols);
        memmove(ranks + at, ranks + at + 1, (count - at - 1) * sizeof *ranks);
        memmove(merged + at, merged + at + 1, (count - at - 1) * sizeof *merged);
        if (at > 0) {
            look_up(tokenizer, scratch, at - 1, at);
        }
        if (at + 1 < count) {
            look_up(tokenizer, scratch, at, at + 1);
        }
    }
    return count;
}

static void heap_push(uint64_t *heap, size_t *count, uint64_t entry) {
    size_t at = (*count)++;
    while (at > 0 && heap[(at - 1) / 2] > entry) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = entry;
}

static uint64_t heap_pop(uint64_t *heap, size_t *count) {
    uint64_t top = heap[0], entry = heap[--*count];
    size_t at = 0;
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= *count) {
            break;
        }
        child += child + 1 < *count && heap[child + 1] < heap[child];
        if (heap[child] >= entry) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = entry;
    return top;
}

static void look_up_and_push(const Tokenizer *tokenizer, TokenizerScratch *scratch, size_t at,
                             size_t next, size_t *heap_count) {
    look_up(tokenizer, scratch, at, next);
    if (scratch->ranks[at] != NONE) {
        heap_push(scratch->heap, heap_count, (uint64_t)scratch->ranks[at] << 32 | at);
    }
}

static size_t merge_by_heap(const Tokenizer *tokenizer, TokenizerScratch *scratch, size_t count) {
    uint32_t *symbols = scratch->symbols, *ranks = scratch->ranks;
    uint32_t *previous = scratch->links, *next = scratch->links + count;
    size_t heap_count = 0;
    for (size_t i = 0; i < count; i++) {
        previous[i] = i == 0 ? NONE : (uint32_t)i - 1;
        next[i] = i + 1 == count ? NONE : (uint32_t)i + 1;
        ranks[i] = NONE;
        if (i + 1 < count) {
            look_up_and_push(tokenizer, scratch, i, i + 1, &heap_count);
        }
    }
    while (heap_count > 0) {
        uint64_t entry = heap_pop(scratch->heap, &heap_count);
        uint32_t at = (uint32_t)entry;
        if (ranks[at] != entry >> 32) {
            continue; // its pair is gone
        }
        uint32_t right = next[at];
        symbols[at] = scratch->merged[at];
        next[at] = next[right];
        ranks[at] = ranks[right] = NONE;
        symbols[right] = NONE;
        if (next[at] != NONE) {
            previous[next[at]] = at;
        }
        if (previous[at] != NONE) {
            look_up_and_push(tokenizer, scratch, previous[at], at, &heap_count);
        }
        if (next[at] != NONE) {
            look_up_and_push(tokenizer, scratch, at, next[at], &heap_count);
        }
    }
    size_t kept = 0;
    for (uint32_t at = 0; at != NONE; at = next[at]) {
        symbols[kept++] = symbols[at];
    }
    return kept;
}

bool tokenizer_merge(const Tokenizer *tokenizer, TokenizerScratch *scratch, Bytes chunk,
                     size_t *count) {
    // A character gives at most one symbol per byte, and a waiting unknown token one more.
    if (!reserve(scratch, chunk.length + 1)) {
        return false;
    }
    *count = first_symbols(tokenizer, chunk, scratch->symbols);
    if (*count > SCAN_MAX) {
        *count = merge_by_heap(tokenizer, scratch, *count);
    } else if (*count > 1) {
        *count = merge_by_scan(tokenizer, scratch, *count);
    }
    return true;
}
