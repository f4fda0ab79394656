// SPDX-License-Identifier: Apache-2.0
// Encoding, in the order of the `tokenizers` package: added tokens are found in the text as it is;
// what lies between them is normalized; added tokens that ask for it are found in the normalized
// text; the pre-tokenizer cuts what is left; each piece is merged. We cut once more, at the places
// that no merge can cross (tokenizer_build.c proves it), and remember the tokens of short chunks.
#include "host/text/tokenizer.h"

#include "base/text.h"
#include "base/utf8.h"
#include "host/text/tokenizer_tables.h"

#include <stdlib.h>
#include <string.h>

// ---- the cache of short chunks ------------------------------------------------------------------

enum { WORD_BYTES = 126, WORD_SLOTS = 1 << 14 };

// Tokens first, then the text they came from: most words touch one cache line.
typedef struct TokenizerWord {
    uint8_t length, count; // length 0: empty
    uint8_t data[WORD_BYTES];
} TokenizerWord;

static bool prepare_cache(const Tokenizer *tokenizer, TokenizerScratch *scratch) {
    if (scratch->words == NULL) {
        scratch->words = calloc(WORD_SLOTS, sizeof *scratch->words);
    } else if (scratch->words_owner != tokenizer->serial) {
        memset(scratch->words, 0, WORD_SLOTS * sizeof *scratch->words);
    }
    scratch->words_owner = tokenizer->serial;
    return scratch->words != NULL;
}

static bool word_matches(const TokenizerWord *word, Bytes chunk) {
    return word->length == chunk.length &&
           memcmp(word->data + word->count * sizeof(int32_t), chunk.data, chunk.length) == 0;
}

static void word_store(TokenizerWord *word, Bytes chunk, const uint32_t *ids, size_t count) {
    if (count * sizeof *ids + chunk.length <= WORD_BYTES) {
        word->length = (uint8_t)chunk.length;
        word->count = (uint8_t)count;
        memcpy(word->data, ids, count * sizeof *ids);
        memcpy(word->data + count * sizeof *ids, chunk.data, chunk.length);
    }
}

// ---- one call -----------------------------------------------------------------------------------

typedef struct Encoding {
    const Tokenizer *tokenizer;
    TokenizerScratch *scratch;
    TokenList *out;
    unsigned flags;
} Encoding;

// Chunks wait until there are a few, so that the cache lines they need are on their way while the
// text is still being cut (measured: a third more text per second).
enum { CHUNKS_WAITING = 16 };

typedef struct Waiting {
    Bytes chunks[CHUNKS_WAITING];
    TokenizerWord *words[CHUNKS_WAITING]; // NULL: too long for the cache
    size_t count;
} Waiting;

static void encode_chunk(const Encoding *encoding, Bytes chunk, TokenizerWord *word) {
    TokenizerScratch *scratch = encoding->scratch;
    if (word != NULL && word_matches(word, chunk)) {
        int32_t ids[WORD_BYTES / sizeof(int32_t)];
        memcpy(ids, word->data, word->count * sizeof *ids);
        token_list_append(encoding->out, ids, word->count);
        return;
    }
    size_t count;
    if (!tokenizer_merge(encoding->tokenizer, scratch, chunk, &count)) {
        encoding->out->failed = true;
        return;
    }
    if (word != NULL) {
        word_store(word, chunk, scratch->symbols, count);
    }
    token_list_append(encoding->out, (const int32_t *)scratch->symbols, count);
}

static void encode_waiting(const Encoding *encoding, Waiting *waiting) {
    for (size_t i = 0; i < waiting->count; i++) {
        encode_chunk(encoding, waiting->chunks[i], waiting->words[i]);
    }
    waiting->count = 0;
}

static void wait_chunk(const Encoding *encoding, Waiting *waiting, Bytes chunk) {
    TokenizerWord *word = NULL;
    if (chunk.length <= WORD_BYTES - sizeof(int32_t)) {
        word = &encoding->scratch->words[tokenizer_slot(hash64(chunk, 0), WORD_SLOTS)];
        __builtin_prefetch(word);
    }
    waiting->chunks[waiting->count] = chunk;
    waiting->words[waiting->count++] = word;
    if (waiting->count == CHUNKS_WAITING) {
        encode_waiting(encoding, waiting);
    }
}

// What a character is to the question "may a merge cross the place before or after it?".
typedef struct Character {
    size_t length;       // bytes
    int common;          // row of the crossing matrix, or -1
    int32_t first, last; // first and last symbol
} Character;

static inline Character character_at(const Tokenizer *tokenizer, Bytes text, size_t at) {
    uint8_t byte = text.data[at];
    if (byte < 0x80) {
        return (Character){1, byte, tokenizer->common_first[byte], tokenizer->common_last[byte]};
    }
    if (text.length - at >= 3 && memcmp(text.data + at, TOKENIZER_MARK_TEXT, 3) == 0) {
        return (Character){3, TOKENIZER_COMMON_MARK, tokenizer->common_first[TOKENIZER_COMMON_MARK],
                           tokenizer->common_last[TOKENIZER_COMMON_MARK]};
    }
    uint32_t code;
    size_t length = utf8_decode(text, at, &code);
    int32_t id = length > 0 ? tokenizer_code_id(tokenizer, code) : -1;
    length = length > 0 ? length : 1;
    if (id >= 0) {
        return (Character){length, -1, id, id};
    }
    return (Character){length, -1, tokenizer->byte_ids[byte],
                       tokenizer->byte_ids[text.data[at + length - 1]]};
}

// True too often does no harm: the text is then cut less.
static inline bool may_cross(const Tokenizer *tokenizer, const Character *left,
                             const Character *right) {
    if (left->common >= 0 && right->common >= 0) {
        return tokenizer_crosses(tokenizer, (unsigned)left->common, (unsigned)right->common);
    }
    return tokenizer_pair_possible(
        tokenizer, tokenizer_pair_hash((uint32_t)left->last, (uint32_t)right->first));
}

// One piece of the pre-tokenizer.
static void encode_pretoken(const Encoding *encoding, Bytes text) {
    const Tokenizer *tokenizer = encoding->tokenizer;
    if (tokenizer->flags & TOKENIZER_IGNORE_MERGES) {
        int32_t id = tokenizer_find_bytes(tokenizer, text);
        // A control token spelled out is still text, here too.
        if (id >= 0 && !tokenizer_is_special(tokenizer, id)) {
            token_list_push(encoding->out, id);
            return;
        }
    }
    Waiting waiting;
    waiting.count = 0;
    size_t begin = 0;
    if (tokenizer->flags & TOKENIZER_SPLITTABLE) {
        Character previous = character_at(tokenizer, text, 0);
        for (size_t at = previous.length; at < text.length;) {
            Character next = character_at(tokenizer, text, at);
            if (!may_cross(tokenizer, &previous, &next)) {
                wait_chunk(encoding, &waiting, (Bytes){text.data + begin, at - begin});
                begin = at;
            }
            at += next.length;
            previous = next;
        }
    }
    wait_chunk(encoding, &waiting, (Bytes){text.data + begin, text.length - begin});
    encode_waiting(encoding, &waiting);
}

// The pre-tokenizer: a piece ends after every occurrence of the pattern.
static void encode_between(const Encoding *encoding, Bytes text) {
    Bytes split = encoding->tokenizer->split;
    size_t begin = 0;
    while (split.length > 0 && begin < text.length) {
        const uint8_t *found =
            memmem(text.data + begin, text.length - begin, split.data, split.length);
        if (found == NULL) {
            break;
        }
        size_t end = (size_t)(found - text.data) + split.length;
        encode_pretoken(encoding, (Bytes){text.data + begin, end - begin});
        begin = end;
    }
    if (begin < text.length) {
        encode_pretoken(encoding, (Bytes){text.data + begin, text.length - begin});
    }
}

// ---- added tokens -------------------------------------------------------------------------------

// The longest item of the set that `text` has at `at`, or NULL. The set is sorted, so the items
// that agree with the first n bytes are one range, which each further byte narrows.
static const TokenizerAdded *added_at(const Tokenizer *tokenizer, const AddedSet *set, Bytes text,
                                      size_t at) {
    const TokenizerAdded *longest = NULL;
    size_t low = 0, high = set->count;
    for (size_t n = 0; low < high; n++) {
        if (set->items[low].length == n) {
            longest = &set->items[low++]; // an item that ends here sorts before longer ones
            if (low == high) {
                break;
            }
        }
        if (at + n >= text.length) {
            break;
        }
        uint8_t byte = text.data[at + n];
        size_t a = low, b = high; // first item whose byte n is not below `byte`
        while (a < b) {
            size_t middle = a + (b - a) / 2;
            if (tokenizer->text[set->items[middle].offset + n] < byte) {
                a = middle + 1;
            } else {
                b = middle;
            }
        }
        low = a;
        b = high;
        while (a < b) { // first item whose byte n is above it
            size_t middle = a + (b - a) / 2;
            if (tokenizer->text[set->items[middle].offset + n] <= byte) {
                a = middle + 1;
            } else {
                b = middle;
            }
        }
        high = a;
    }
    return longest;
}

// What an lstrip or rstrip token takes with it.
static size_t skip_space_left(Bytes text, size_t at, size_t limit) {
    Bytes before = {text.data + limit, at - limit};
    uint32_t code;
    size_t length;
    while ((length = utf8_decode_before(before, before.length, &code)) > 0 &&
           text_is_white_space(code)) {
        before.length -= length;
    }
    return limit + before.length;
}

static size_t skip_space_right(Bytes text, size_t at) {
    uint32_t code;
    size_t length;
    while (at < text.length && (length = utf8_decode(text, at, &code)) > 0 &&
           text_is_white_space(code)) {
        at += length;
    }
    return at;
}

typedef void (*EncodeText)(const Encoding *encoding, Bytes text);

// Cuts `text` at the added tokens of `set`, gives the texts between to `encode`. A control token
// that is to be read as text stays part of the text around it, but, as in tokenizers, no other
// added token is looked for inside it.
static void encode_around(const Encoding *encoding, const AddedSet *set, Bytes text,
                          EncodeText encode) {
    const Tokenizer *tokenizer = encoding->tokenizer;
    bool parse_special = encoding->flags & TOKENIZER_PARSE_SPECIAL;
    size_t begin = 0, at = 0;
    while ((set->has_ordinary || parse_special) && at < text.length) {
        const TokenizerAdded *item =
            set->first_byte[text.data[at]] ? added_at(tokenizer, set, text, at) : NULL;
        if (item == NULL) {
            at++;
            continue;
        }
        uint8_t kind = tokenizer->kinds[item->id];
        size_t start = at, stop = at + item->length;
        at = stop;
        if ((kind & KIND_SPECIAL) && !parse_special) {
            continue;
        }
        if (kind & KIND_LSTRIP) {
            start = skip_space_left(text, start, begin);
        }
        if (kind & KIND_RSTRIP) {
            stop = skip_space_right(text, stop);
        }
        if (begin < start) {
            encode(encoding, (Bytes){text.data + begin, start - begin});
        }
        token_list_push(encoding->out, (int32_t)item->id);
        begin = stop;
        at = stop;
    }
    if (begin < text.length) {
        encode(encoding, (Bytes){text.data + begin, text.length - begin});
    }
}

static void encode_raw(const Encoding *encoding, Bytes text) {
    const Tokenizer *tokenizer = encoding->tokenizer;
    Buffer *normalized = &encoding->scratch->normalized;
    for (size_t i = 0; i < tokenizer->normalize_count; i++) {
        Buffer *into = &encoding->scratch->spare;
        buffer_clear(into);
        tokenizer_replace(text, tokenizer->normalize[i], into);
        Buffer swap = *normalized;
        *normalized = *into;
        *into = swap;
        text = (Bytes){normalized->data, normalized->length};
        if (normalized->failed) {
            encoding->out->failed = true;
            return;
        }
    }
    encode_around(encoding, &tokenizer->normalized, text, encode_between);
}

Status tokenizer_encode(const Tokenizer *tokenizer, Bytes text, unsigned flags,
                        TokenizerScratch *scratch, TokenList *out, Error *error) {
    if (text.length > TOKENIZER_TEXT_MAX) {
        return error_set(error, E_LIMIT, "a text of %zu bytes is longer than the limit of %d",
                         text.length, TOKENIZER_TEXT_MAX);
    }
    Encoding encoding = {tokenizer, scratch, out, flags};
    if (prepare_cache(tokenizer, scratch)) {
        encode_around(&encoding, &tokenizer->raw, text, encode_raw);
    } else {
        out->failed = true;
    }
    if (out->failed) {
        return error_set(error, E_MEMORY, "not enough memory for the tokens of %zu bytes",
                         text.length);
    }
    return OK;
}
