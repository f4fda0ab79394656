// SPDX-License-Identifier: Apache-2.0
// Opening the flat form, and the plain questions to it. A blob may come from a file that anybody
// wrote, so one pass looks at every index in it before the first text is encoded; after that no
// reader checks again.
#include "base/check.h"
#include "base/num.h"
#include "base/utf8.h"
#include "host/text/tokenizer_tables.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static Status damaged(Error *error, const char *what) {
    return error_set(error, E_PACK,
                     "the packed tokenizer is damaged (%s); make the packed file again with "
                     "`tessera quantize`",
                     what);
}

static const void *section(const Tokenizer *tokenizer, Section which, size_t *count) {
    const BlobHeader *header = (const BlobHeader *)tokenizer->blob.data;
    *count = header->sections[which].count;
    return tokenizer->blob.data + header->sections[which].offset;
}

static Status check_header(Bytes blob, Error *error) {
    static const size_t item_bytes[SECTION_COUNT] = {4,
                                                     1,
                                                     1,
                                                     4,
                                                     2,
                                                     4,
                                                     4,
                                                     sizeof(TokenizerPair),
                                                     8,
                                                     4,
                                                     sizeof(TokenizerAdded),
                                                     sizeof(TokenizerAdded),
                                                     sizeof(TokenizerRule),
                                                     1};
    const BlobHeader *header = (const BlobHeader *)blob.data;
    if (blob.length < sizeof *header || (uintptr_t)blob.data % 8 != 0 ||
        memcmp(header->magic, TOKENIZER_MAGIC, sizeof header->magic) != 0) {
        return damaged(error, "no header");
    }
    if (header->version != TOKENIZER_VERSION) {
        return error_set(error, E_PACK,
                         "the packed tokenizer has version %u and this program reads %d; make the "
                         "packed file again with `tessera quantize`",
                         header->version, TOKENIZER_VERSION);
    }
    if (header->checksum != hash64((Bytes){blob.data, offsetof(BlobHeader, checksum)}, 0)) {
        return damaged(error, "header checksum");
    }
    if (header->bytes_total != blob.length || header->vocab_size == 0 ||
        header->vocab_size > TOKENIZER_VOCAB_MAX || header->unknown_id < -1 ||
        header->unknown_id >= (int32_t)header->vocab_size ||
        (header->flags & ~(uint32_t)TOKENIZER_FLAGS) != 0) {
        return damaged(error, "sizes");
    }
    for (int i = 0; i < SECTION_COUNT; i++) {
        uint64_t bytes;
        if (header->sections[i].offset % 8 != 0 ||
            !num_mul(header->sections[i].count, item_bytes[i], &bytes) ||
            !num_in_range(header->sections[i].offset, bytes, blob.length)) {
            return damaged(error, "section bounds");
        }
    }
    if (header->sections[SECTION_PIECE_OFFSETS].count != header->vocab_size + (uint64_t)1 ||
        header->sections[SECTION_KINDS].count != header->vocab_size ||
        header->sections[SECTION_CODE_INDEX].count != TOKENIZER_CODE_PAGES ||
        header->sections[SECTION_BYTE_IDS].count != 256 ||
        header->sections[SECTION_PIECE_HASH].count > UINT32_MAX ||
        header->sections[SECTION_PAIRS].count > UINT32_MAX ||
        header->sections[SECTION_CROSSINGS].count != TOKENIZER_COMMON * TOKENIZER_CROSSING_WORDS) {
        return damaged(error, "section sizes");
    }
    return OK;
}

// Whether every id is -1 or a token, and, when asked, one is -1 so that a probe ends.
static bool ids_valid(const int32_t *ids, size_t count, uint32_t vocab_size, bool needs_empty) {
    size_t bad = 0, empty = 0;
    for (size_t i = 0; i < count; i++) {
        bad += ids[i] < -1 || ids[i] >= (int32_t)vocab_size;
        empty += ids[i] == -1;
    }
    return bad == 0 && (empty > 0 || !needs_empty);
}

static Status take_pieces(Tokenizer *tokenizer, Error *error) {
    size_t count, bytes;
    tokenizer->piece_offsets = section(tokenizer, SECTION_PIECE_OFFSETS, &count);
    tokenizer->pieces = section(tokenizer, SECTION_PIECES, &bytes);
    size_t bad = 0;
    for (size_t i = 0; i + 1 < count; i++) {
        bad += tokenizer->piece_offsets[i] > tokenizer->piece_offsets[i + 1];
    }
    if (bad != 0 || tokenizer->piece_offsets[count - 1] > bytes) {
        return damaged(error, "piece offsets");
    }
    tokenizer->kinds = section(tokenizer, SECTION_KINDS, &count);
    for (size_t i = 0; i < count; i++) {
        if ((tokenizer->kinds[i] & KIND_BYTE) &&
            tokenizer_byte_of_piece(tokenizer_piece(tokenizer, (int32_t)i)) < 0) {
            return damaged(error, "byte tokens");
        }
    }
    tokenizer->piece_hash = section(tokenizer, SECTION_PIECE_HASH, &tokenizer->piece_slots);
    if (!ids_valid(tokenizer->piece_hash, tokenizer->piece_slots, tokenizer->vocab_size, true)) {
        return damaged(error, "piece hash");
    }
    return OK;
}

static Status take_codes(Tokenizer *tokenizer, Error *error) {
    size_t count, pages;
    tokenizer->code_index = section(tokenizer, SECTION_CODE_INDEX, &count);
    tokenizer->code_pages = section(tokenizer, SECTION_CODE_PAGES, &pages);
    for (size_t i = 0; i < count; i++) {
        if (tokenizer->code_index[i] >= pages / 256) {
            return damaged(error, "code point index");
        }
    }
    if (!ids_valid(tokenizer->code_pages, pages, tokenizer->vocab_size, false)) {
        return damaged(error, "code points");
    }
    tokenizer->byte_ids = section(tokenizer, SECTION_BYTE_IDS, &count);
    // Splitting relies on every unknown character having its bytes.
    bool all = tokenizer->flags & TOKENIZER_SPLITTABLE;
    for (size_t i = 0; i < count; i++) {
        if (tokenizer->byte_ids[i] < (all ? 0 : -1) ||
            tokenizer->byte_ids[i] >= (int32_t)tokenizer->vocab_size) {
            return damaged(error, "byte ids");
        }
    }
    return OK;
}

static Status take_pairs(Tokenizer *tokenizer, Error *error) {
    size_t bad = 0, empty = 0, count;
    tokenizer->pairs = section(tokenizer, SECTION_PAIRS, &tokenizer->pair_slots);
    for (size_t i = 0; i < tokenizer->pair_slots; i++) {
        const TokenizerPair *pair = &tokenizer->pairs[i];
        bad += pair->merged >= tokenizer->vocab_size && pair->left != UINT32_MAX;
        empty += pair->left == UINT32_MAX;
    }
    if (bad != 0 || empty == 0) {
        return damaged(error, "merges");
    }
    tokenizer->pair_filter = section(tokenizer, SECTION_PAIR_FILTER, &count);
    if (count == 0 || (count & (count - 1)) != 0) {
        return damaged(error, "pair filter");
    }
    tokenizer->pair_filter_mask = (uint64_t)count * 64 - 1;
    tokenizer->crossings = section(tokenizer, SECTION_CROSSINGS, &count);
    return OK;
}

// The search (added_at of tokenizer.c) looks one byte behind what two neighbours have in common, so
// their texts must rise.
static Status take_added(Tokenizer *tokenizer, Section which, AddedSet *set, Error *error) {
    size_t bytes;
    const uint8_t *text = section(tokenizer, SECTION_TEXT, &bytes);
    set->items = section(tokenizer, which, &set->count);
    for (size_t i = 0; i < set->count; i++) {
        const TokenizerAdded *item = &set->items[i];
        if (item->id >= tokenizer->vocab_size || item->length == 0 ||
            !num_in_range(item->offset, item->length, bytes)) {
            return damaged(error, "added tokens");
        }
        if (i > 0 && tokenizer_compare_added(text, item - 1, item) >= 0) {
            return damaged(error, "order of the added tokens");
        }
        set->first_byte[text[item->offset]] = true;
        set->has_ordinary = set->has_ordinary || !(tokenizer->kinds[item->id] & KIND_SPECIAL);
    }
    return OK;
}

static Status take_rules(Tokenizer *tokenizer, Error *error) {
    size_t bytes, count;
    tokenizer->text = section(tokenizer, SECTION_TEXT, &bytes);
    const TokenizerRule *rules = section(tokenizer, SECTION_RULES, &count);
    if (count > TOKENIZER_RULES_MAX) {
        return damaged(error, "rules");
    }
    for (size_t i = 0; i < count; i++) {
        const TokenizerRule *rule = &rules[i];
        if (rule->kind > RULE_SPLIT || rule->from_length == 0 ||
            !num_in_range(rule->from_offset, rule->from_length, bytes) ||
            !num_in_range(rule->to_offset, rule->to_length, bytes)) {
            return damaged(error, "rules");
        }
        ReplaceRule replace = {{tokenizer->text + rule->from_offset, rule->from_length},
                               {tokenizer->text + rule->to_offset, rule->to_length}};
        if (rule->kind == RULE_NORMALIZE) {
            tokenizer->normalize[tokenizer->normalize_count++] = replace;
        } else if (rule->kind == RULE_DECODE) {
            tokenizer->decode[tokenizer->decode_count++] = replace;
        } else if (tokenizer->split.length > 0) {
            return damaged(error, "two splitters");
        } else {
            tokenizer->split = replace.from;
        }
    }
    return OK;
}

static void take_common(Tokenizer *tokenizer) {
    for (uint32_t i = 0; i < TOKENIZER_COMMON; i++) {
        uint32_t code = i == TOKENIZER_COMMON_MARK ? TOKENIZER_MARK : i;
        int32_t id = tokenizer_code_id(tokenizer, code);
        uint8_t text[4];
        size_t length = utf8_encode(code, text);
        tokenizer->common_first[i] = id >= 0 ? id : tokenizer->byte_ids[text[0]];
        tokenizer->common_last[i] = id >= 0 ? id : tokenizer->byte_ids[text[length - 1]];
    }
}

Status tokenizer_open_blob(Bytes blob, Tokenizer **out, Error *error) {
    static atomic_uint_fast64_t serial; // only uniqueness matters, so relaxed order is enough
    *out = NULL;
    TRY(check_header(blob, error));
    Tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (tokenizer == NULL) {
        return error_set(error, E_MEMORY, "not enough memory to open the tokenizer");
    }
    const BlobHeader *header = (const BlobHeader *)blob.data;
    tokenizer->blob = blob;
    tokenizer->serial = atomic_fetch_add_explicit(&serial, 1, memory_order_relaxed) + 1;
    tokenizer->flags = header->flags;
    tokenizer->vocab_size = header->vocab_size;
    tokenizer->unknown_id = header->unknown_id;
    Status status = take_pieces(tokenizer, error);
    status = status == OK ? take_codes(tokenizer, error) : status;
    status = status == OK ? take_pairs(tokenizer, error) : status;
    status =
        status == OK ? take_added(tokenizer, SECTION_ADDED_RAW, &tokenizer->raw, error) : status;
    status = status == OK
                 ? take_added(tokenizer, SECTION_ADDED_NORMALIZED, &tokenizer->normalized, error)
                 : status;
    status = status == OK ? take_rules(tokenizer, error) : status;
    if (status != OK) {
        free(tokenizer);
        return status;
    }
    take_common(tokenizer);
    *out = tokenizer;
    return OK;
}

Bytes tokenizer_tables(const Tokenizer *tokenizer) {
    return tokenizer->blob;
}

void tokenizer_close(Tokenizer *tokenizer) {
    if (tokenizer != NULL) {
        free(tokenizer->owned);
        free(tokenizer);
    }
}

static bool in_vocabulary(const Tokenizer *tokenizer, int32_t id) {
    return id >= 0 && (uint32_t)id < tokenizer->vocab_size;
}

Bytes tokenizer_piece(const Tokenizer *tokenizer, int32_t id) {
    if (!in_vocabulary(tokenizer, id)) {
        return (Bytes){0};
    }
    uint32_t begin = tokenizer->piece_offsets[id];
    return (Bytes){tokenizer->pieces + begin, tokenizer->piece_offsets[id + 1] - begin};
}

int32_t tokenizer_find_bytes(const Tokenizer *tokenizer, Bytes piece) {
    size_t at = tokenizer_slot(hash64(piece, 0), tokenizer->piece_slots);
    for (;;) {
        int32_t id = tokenizer->piece_hash[at];
        if (id < 0 || bytes_equal(tokenizer_piece(tokenizer, id), piece)) {
            return id;
        }
        at = at + 1 < tokenizer->piece_slots ? at + 1 : 0;
    }
}

int32_t tokenizer_find(const Tokenizer *tokenizer, const char *piece) {
    return tokenizer_find_bytes(tokenizer, bytes_of_text(piece));
}

bool tokenizer_is_special(const Tokenizer *tokenizer, int32_t id) {
    return in_vocabulary(tokenizer, id) && (tokenizer->kinds[id] & KIND_SPECIAL);
}

uint32_t tokenizer_vocab_size(const Tokenizer *tokenizer) {
    return tokenizer->vocab_size;
}

bool tokenizer_is_byte(const Tokenizer *tokenizer, int32_t id) {
    return in_vocabulary(tokenizer, id) && (tokenizer->kinds[id] & KIND_BYTE) &&
           (tokenizer->flags & TOKENIZER_DECODE_BYTES);
}

void tokenizer_decode_piece(const Tokenizer *tokenizer, int32_t id, Buffer *out) {
    Bytes piece = tokenizer_piece(tokenizer, id);
    if (tokenizer_is_byte(tokenizer, id)) {
        buffer_append_byte(out, (uint8_t)tokenizer_byte_of_piece(piece));
        return;
    }
    // Two rules in a row need the text between them; one rule, Gemma's case, does not.
    size_t rules = tokenizer->decode_count;
    Buffer between = {0}, next = {0};
    for (size_t i = 0; i + 1 < rules; i++) {
        buffer_clear(&next);
        tokenizer_replace(piece, tokenizer->decode[i], &next);
        Buffer swap = between;
        between = next;
        next = swap;
        piece = (Bytes){between.data, between.length};
    }
    if (rules > 0) {
        tokenizer_replace(piece, tokenizer->decode[rules - 1], out);
    } else {
        buffer_append(out, piece.data, piece.length);
    }
    out->failed = out->failed || between.failed || next.failed;
    buffer_free(&between);
    buffer_free(&next);
}
