// SPDX-License-Identifier: Apache-2.0
// The flat form of a tokenizer, private to host/text/tokenizer*.c. One run of bytes holds every
// table; a Tokenizer is only pointers into it. tokenizer_build.c writes it, tokenizer_blob.c checks
// it, tokenizer.c reads it. All numbers are little endian (as is every machine we run on), every
// section starts on 8 bytes.
//
//     header | piece offsets | piece text | kinds | piece hash | code point pages | byte ids
//            | pair hash | pair filter | crossings | added tokens | rules | text of added tokens
//            and rules
#ifndef HOST_TEXT_TOKENIZER_TABLES_H
#define HOST_TEXT_TOKENIZER_TABLES_H

#include "base/hash.h"
#include "host/text/tokenizer.h"

#include <string.h>

#define TOKENIZER_MAGIC "TOKENIZE"

enum {
    TOKENIZER_VERSION = 2,
    TOKENIZER_VOCAB_MAX = 1 << 22, // entries
    TOKENIZER_PIECE_MAX = 1 << 16, // bytes of one piece
    TOKENIZER_RULES_MAX = 16,      // replacements of normalizer, decoder and splitter together
    TOKENIZER_CODE_PAGES = 0x110000 / 256,
    TOKENIZER_COMMON = 129,       // the ASCII characters and the space mark
    TOKENIZER_COMMON_MARK = 128,  // row and column of the space mark
    TOKENIZER_CROSSING_WORDS = 5, // 32-bit words of one row of the crossing matrix
};

#define TOKENIZER_MARK      0x2581u // the space mark, U+2581
#define TOKENIZER_MARK_TEXT "\xe2\x96\x81"

enum { // BlobHeader.flags
    TOKENIZER_BYTE_FALLBACK = 1,
    TOKENIZER_FUSE_UNKNOWN = 2,
    TOKENIZER_IGNORE_MERGES = 4,
    TOKENIZER_SPLITTABLE = 8,    // see tokenizer_build.c: chunks may be cut at uncrossed pairs
    TOKENIZER_DECODE_BYTES = 16, // the decoder turns byte tokens into bytes
    TOKENIZER_FLAGS = 31,        // all of them
};

enum { // one byte per token in SECTION_KINDS
    KIND_SPECIAL = 1,
    KIND_BYTE = 2, // "<0x41>"
    KIND_LSTRIP = 4,
    KIND_RSTRIP = 8,
};

typedef enum Section {
    SECTION_PIECE_OFFSETS,    // u32 [vocab + 1] into SECTION_PIECES
    SECTION_PIECES,           // text of all pieces
    SECTION_KINDS,            // u8 [vocab]
    SECTION_PIECE_HASH,       // i32 [slots], -1 empty; by hash64 of the text
    SECTION_CODE_INDEX,       // u16 [0x110000 / 256]: which page
    SECTION_CODE_PAGES,       // i32 [pages][256]: token of a code point, -1 none
    SECTION_BYTE_IDS,         // i32 [256]: token of a byte, -1 none
    SECTION_PAIRS,            // TokenizerPair [slots]
    SECTION_PAIR_FILTER,      // u64 [a power of two]: bit set for the hash of every pair
    SECTION_CROSSINGS,        // u32 [129][5]: bit (a, b) set when some merge joins ..a with b..
    SECTION_ADDED_RAW,        // TokenizerAdded, sorted by text: looked for before the normalizer
    SECTION_ADDED_NORMALIZED, // TokenizerAdded, sorted by text: looked for after it
    SECTION_RULES,            // TokenizerRule
    SECTION_TEXT,             // what added tokens and rules point to
    SECTION_COUNT
} Section;

typedef struct TokenizerPair {
    uint32_t left, right; // left is UINT32_MAX in an empty slot
    uint32_t rank;        // UINT32_MAX: no merge, but a place that some merge crosses
    uint32_t merged;
} TokenizerPair;

typedef struct TokenizerAdded {
    uint32_t id, offset, length; // text in SECTION_TEXT
} TokenizerAdded;

typedef enum RuleKind { RULE_NORMALIZE, RULE_DECODE, RULE_SPLIT } RuleKind;

typedef struct TokenizerRule {
    uint32_t kind;
    uint32_t from_offset, from_length; // text in SECTION_TEXT, from_length > 0
    uint32_t to_offset, to_length;
} TokenizerRule;

typedef struct BlobHeader {
    char magic[8];
    uint32_t version, flags;
    uint32_t vocab_size;
    int32_t unknown_id; // -1 none
    uint64_t bytes_total;
    struct {
        uint64_t offset, count; // in bytes, in items
    } sections[SECTION_COUNT];
    uint64_t checksum; // hash64 of all before it
} BlobHeader;

typedef struct AddedSet {
    const TokenizerAdded *items; // sorted by text
    size_t count;
    bool first_byte[256]; // bytes that some item begins with
    bool has_ordinary;    // some item is not special
} AddedSet;

typedef struct ReplaceRule {
    Bytes from, to;
} ReplaceRule;

struct Tokenizer {
    Bytes blob;
    uint8_t *owned;  // the blob when it was built here, else NULL
    uint64_t serial; // never 0, different for every tokenizer of this process
    uint32_t flags, vocab_size;
    int32_t unknown_id;

    const uint32_t *piece_offsets;
    const uint8_t *pieces;
    const uint8_t *kinds;
    const int32_t *piece_hash;
    size_t piece_slots;
    const uint16_t *code_index;
    const int32_t *code_pages;
    const int32_t *byte_ids;
    const TokenizerPair *pairs;
    size_t pair_slots;
    const uint64_t *pair_filter;
    uint64_t pair_filter_mask; // bits - 1
    const uint32_t *crossings;
    AddedSet raw, normalized;
    const uint8_t *text;

    ReplaceRule normalize[TOKENIZER_RULES_MAX];
    ReplaceRule decode[TOKENIZER_RULES_MAX];
    size_t normalize_count, decode_count;
    Bytes split; // length 0: no pre-tokenizer

    // First and last symbol of each common character.
    int32_t common_first[TOKENIZER_COMMON], common_last[TOKENIZER_COMMON];
};

// A hash spread over `slots` without a division (Lemire, "Fast random integer generation in an
// interval", 2019: multiply and keep the high half).
static inline size_t tokenizer_slot(uint64_t hash, size_t slots) {
    return (size_t)(((hash >> 32) * slots) >> 32);
}

static inline uint64_t tokenizer_pair_hash(uint32_t left, uint32_t right) {
    uint64_t key = (uint64_t)left << 32 | right;
    key *= 0x9E3779B97F4A7C15u; // 2^64 / golden ratio: spreads the low bits over the high ones
    key ^= key >> 29;
    return key * 0xBF58476D1CE4E5B9u;
}

// False: there is no such pair. True: there is one, or, for one of 16 others, there is not. The
// filter (Bloom, "Space/time trade-offs in hash coding with allowable errors", CACM 1970, with one
// hash) is a fifteenth of the table, so the answer is in a nearer cache: a fifth more text per
// second with 48 thousand pieces, half as much again with 262 thousand.
static inline bool tokenizer_pair_possible(const Tokenizer *tokenizer, uint64_t hash) {
    uint64_t bit = hash & tokenizer->pair_filter_mask;
    return tokenizer->pair_filter[bit >> 6] >> (bit & 63) & 1;
}

// The slot of the pair, or NULL. Both hashes always keep an empty slot, so the walk ends.
static inline const TokenizerPair *tokenizer_pair(const Tokenizer *tokenizer, uint32_t left,
                                                  uint32_t right) {
    uint64_t hash = tokenizer_pair_hash(left, right);
    if (!tokenizer_pair_possible(tokenizer, hash)) {
        return NULL;
    }
    size_t at = tokenizer_slot(hash, tokenizer->pair_slots);
    for (;;) {
        const TokenizerPair *pair = &tokenizer->pairs[at];
        if (pair->left == left && pair->right == right) {
            return pair;
        }
        if (pair->left == UINT32_MAX) {
            return NULL;
        }
        at = at + 1 < tokenizer->pair_slots ? at + 1 : 0;
    }
}

static inline void tokenizer_pair_prefetch(const Tokenizer *tokenizer, uint32_t left,
                                           uint32_t right) {
    uint64_t hash = tokenizer_pair_hash(left, right);
    if (tokenizer_pair_possible(tokenizer, hash)) {
        __builtin_prefetch(&tokenizer->pairs[tokenizer_slot(hash, tokenizer->pair_slots)]);
    }
}

static inline int32_t tokenizer_code_id(const Tokenizer *tokenizer, uint32_t code) {
    return tokenizer->code_pages[(size_t)tokenizer->code_index[code >> 8] * 256 + (code & 255)];
}

static inline bool tokenizer_crosses(const Tokenizer *tokenizer, unsigned left, unsigned right) {
    const uint32_t *row = tokenizer->crossings + (size_t)left * TOKENIZER_CROSSING_WORDS;
    return row[right >> 5] >> (right & 31) & 1;
}

// The order of the added tokens: by text, the shorter first. No two are equal.
static inline int tokenizer_compare_added(const uint8_t *text, const TokenizerAdded *a,
                                          const TokenizerAdded *b) {
    int order =
        memcmp(text + a->offset, text + b->offset, a->length < b->length ? a->length : b->length);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

// What tokenizer_json.c reads and tokenizer_build.c turns into tables. All Bytes are borrowed.
typedef struct TokenizerMerge {
    uint32_t left, right, merged;
} TokenizerMerge;

typedef struct AddedInput {
    Bytes content;
    uint32_t id;
    bool special, normalized, lstrip, rstrip;
} AddedInput;

typedef struct TokenizerInput {
    uint32_t flags;
    int32_t unknown_id;
    Bytes *pieces; // [vocab_size], every one present
    uint32_t vocab_size;
    int32_t *piece_hash; // [piece_slots] as SECTION_PIECE_HASH
    size_t piece_slots;
    TokenizerMerge *merges; // by rank
    size_t merge_count;
    AddedInput *added;
    size_t added_count;
    ReplaceRule normalize[TOKENIZER_RULES_MAX], decode[TOKENIZER_RULES_MAX];
    size_t normalize_count, decode_count;
    Bytes split;
} TokenizerInput;

// The slot of SECTION_PIECE_HASH that holds `piece`, or the empty slot where it would go.
size_t tokenizer_input_slot(const TokenizerInput *input, Bytes piece);

// Writes the flat form into a new buffer. E_MEMORY, E_TOKENIZER (a special token that plain text
// could spell).
Status tokenizer_build(const TokenizerInput *input, const char *source, Buffer *out, Error *error);

// Appends `text` with every `from` replaced by `to`, left to right.
void tokenizer_replace(Bytes text, ReplaceRule rule, Buffer *out);

// Value of a byte token's piece ("<0x41>" is 65), or -1.
int tokenizer_byte_of_piece(Bytes piece);

// Leaves the tokens of one chunk in scratch->symbols[0..*count). False: no memory. In
// tokenizer_merge.c.
bool tokenizer_merge(const Tokenizer *tokenizer, TokenizerScratch *scratch, Bytes chunk,
                     size_t *count);

#endif
