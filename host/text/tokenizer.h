// SPDX-License-Identifier: Apache-2.0
// Gemma's tokenizer: byte pair encoding over code points with byte fallback, as the `tokenizers`
// package runs it from tokenizer.json, token for token (docs/text.md says what is promised and how
// it is tested). A Tokenizer never changes after it is opened, so any number of threads share it;
// each thread brings its own TokenizerScratch.
//
//     Tokenizer *tokenizer;
//     TRY(tokenizer_open_json("tokenizer.json", &tokenizer, error));
//     TokenizerScratch scratch = {0};
//     TokenList tokens = {0};
//     TRY(tokenizer_encode(tokenizer, text, TOKENIZER_PLAIN, &scratch, &tokens, error));
//
// Text that is not UTF-8: every byte that belongs to no valid code point becomes its own byte
// token, so that decoding gives the bytes back.
#ifndef HOST_TEXT_TOKENIZER_H
#define HOST_TEXT_TOKENIZER_H

#include "base/bytes.h"
#include "base/status.h"
#include "host/text/token_list.h"

typedef struct Tokenizer Tokenizer;

enum { TOKENIZER_TEXT_MAX = 1 << 28 }; // bytes in one call of tokenizer_encode

// How control tokens written out in a text are read. PLAIN: as ordinary letters, so that no user
// text can forge one. PARSE_SPECIAL: as the tokens themselves. Added tokens that are not special
// (newline runs, tags) are found either way: they are words, not controls.
enum { TOKENIZER_PLAIN = 0, TOKENIZER_PARSE_SPECIAL = 1 };

// The memory one thread needs to encode. Zero-initialized before first use; it grows to the longest
// text seen and keeps a bounded cache of words (2 MiB). May serve several tokenizers in turn; the
// cache is emptied when the tokenizer changes.
typedef struct TokenizerScratch {
    Buffer normalized, spare;
    uint32_t *symbols; // token ids of the chunk at work
    uint32_t *ranks;   // rank of the merge of symbol i with its right neighbour
    uint32_t *merged;  // what that merge gives
    uint32_t *links;   // previous and next symbol, for long chunks
    uint64_t *heap;    // rank << 32 | position, for long chunks
    size_t capacity;   // symbols the five arrays hold
    struct TokenizerWord *words;
    uint64_t words_owner; // serial number of the tokenizer that filled the cache
} TokenizerScratch;

void tokenizer_scratch_free(TokenizerScratch *scratch);

// Reads tokenizer.json (at most 256 MiB). The error text names the entry. E_NOT_FOUND, E_IO,
// E_LIMIT, E_JSON, E_MEMORY, E_TOKENIZER (damaged or contradictory), E_UNSUPPORTED (a form of
// normalizer, model, decoder or added token that Gemma does not use).
Status tokenizer_open_json(const char *path, Tokenizer **out, Error *error);

// The same from bytes in memory; `source` is used in error texts only.
// For tests and fuzzers.
Status tokenizer_open_json_bytes(Bytes json, const char *source, Tokenizer **out, Error *error);

// Opens a view of what tokenizer_tables gave. The blob must be 8-byte aligned and outlive the
// tokenizer. Nothing is copied: header and every index are checked in one pass. E_PACK, E_MEMORY.
Status tokenizer_open_blob(Bytes blob, Tokenizer **out, Error *error);

// The flat form: versioned, little endian, offsets relative to its first byte. Lives as long as the
// tokenizer.
Bytes tokenizer_tables(const Tokenizer *tokenizer);

void tokenizer_close(Tokenizer *tokenizer);

// Appends the tokens of `text` to `out`. Adds no begin or end token: those are the template's.
// E_LIMIT (text longer than TOKENIZER_TEXT_MAX), E_MEMORY.
Status tokenizer_encode(const Tokenizer *tokenizer, Bytes text, unsigned flags,
                        TokenizerScratch *scratch, TokenList *out, Error *error);

// The piece as the vocabulary writes it; length 0 for an id outside the vocabulary.
Bytes tokenizer_piece(const Tokenizer *tokenizer, int32_t id);
int32_t tokenizer_find(const Tokenizer *tokenizer, const char *piece); // -1 if absent
int32_t tokenizer_find_bytes(const Tokenizer *tokenizer, Bytes piece);
bool tokenizer_is_special(const Tokenizer *tokenizer, int32_t id);
uint32_t tokenizer_vocab_size(const Tokenizer *tokenizer); // one more than the largest id

// Whether the decoder turns this token into one byte ("<0x41>").
bool tokenizer_is_byte(const Tokenizer *tokenizer, int32_t id);

// Appends what one token contributes to the text before UTF-8 is looked at: that byte, or the piece
// after the decoder's replacements; nothing for an id outside the vocabulary. detok.h is the whole
// decoder.
void tokenizer_decode_piece(const Tokenizer *tokenizer, int32_t id, Buffer *out);

#endif
