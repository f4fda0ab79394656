// SPDX-License-Identifier: Apache-2.0
// Turns the facts of a tokenizer.json into the flat form of tokenizer_tables.h.
//
// The one idea here is the crossing table. BPE joins neighbours by rank over the whole text, which
// costs a heap over the whole text. But a merge (a, b) is applied at a place between characters x
// and y only if a ends in x and b begins with y. So between two characters for which no merge of
// that form exists, nothing is ever joined, and the text may be cut there: each side gets exactly
// the tokens it would get in the whole, because ranks order the merges of one side among themselves
// in the same way. We collect those (x, y) of all merges; a pair that is not in the table is a safe
// place to cut. Nothing is assumed about words or spaces.
//
// The argument needs every symbol to spell its own characters. Byte tokens and the unknown token do
// not, so when a merge uses one of them, or when some byte has no token, TOKENIZER_SPLITTABLE stays
// off and every text is merged whole.
#include "base/check.h"
#include "base/num.h"
#include "base/utf8.h"
#include "host/text/tokenizer_tables.h"

#include <stdlib.h>
#include <string.h>

typedef struct Builder {
    const TokenizerInput *input;
    const char *source;
    Buffer *out;
    Buffer text; // SECTION_TEXT
    BlobHeader header;
    uint8_t *kinds;
    uint16_t *code_index;
    Buffer code_pages; // i32 [pages][256]
    int32_t byte_ids[256];
    TokenizerPair *pairs;
    size_t pair_slots;
    uint32_t crossings[TOKENIZER_COMMON * TOKENIZER_CROSSING_WORDS];
    Error *error;
} Builder;

void tokenizer_replace(Bytes text, ReplaceRule rule, Buffer *out) {
    size_t kept = 0;
    while (kept < text.length) {
        const uint8_t *found =
            rule.from.length == 1
                ? memchr(text.data + kept, rule.from.data[0], text.length - kept)
                : memmem(text.data + kept, text.length - kept, rule.from.data, rule.from.length);
        size_t stop = found == NULL ? text.length : (size_t)(found - text.data);
        buffer_append(out, text.data + kept, stop - kept);
        if (found == NULL) {
            return;
        }
        buffer_append(out, rule.to.data, rule.to.length);
        kept = stop + rule.from.length;
    }
}

static int hex_digit(uint8_t byte) {
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    uint8_t lower = byte | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

int tokenizer_byte_of_piece(Bytes piece) {
    if (piece.length != 6 || memcmp(piece.data, "<0x", 3) != 0 || piece.data[5] != '>') {
        return -1;
    }
    int high = hex_digit(piece.data[3]), low = hex_digit(piece.data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

size_t tokenizer_input_slot(const TokenizerInput *input, Bytes piece) {
    size_t at = tokenizer_slot(hash64(piece, 0), input->piece_slots);
    while (input->piece_hash[at] >= 0 &&
           !bytes_equal(input->pieces[input->piece_hash[at]], piece)) {
        at = at + 1 < input->piece_slots ? at + 1 : 0;
    }
    return at;
}

static int32_t find_piece(const TokenizerInput *input, Bytes piece) {
    return input->piece_hash[tokenizer_input_slot(input, piece)];
}

// The single code point that `piece` is, or false.
static bool single_code(Bytes piece, uint32_t *code) {
    return piece.length > 0 && utf8_decode(piece, 0, code) == piece.length;
}

static Status no_memory(Builder *builder) {
    return error_set(builder->error, E_MEMORY, "%s: not enough memory for the tokenizer's tables",
                     builder->source);
}

static int32_t *code_page(const Builder *builder, uint16_t page) {
    return (int32_t *)builder->code_pages.data + (size_t)page * 256;
}

static uint16_t add_code_page(Builder *builder) {
    int32_t empty[256];
    memset(empty, 0xff, sizeof empty);
    uint16_t page = (uint16_t)(builder->code_pages.length / sizeof empty);
    buffer_append(&builder->code_pages, empty, sizeof empty);
    return page;
}

// Kinds, code point pages and byte tokens, one look at every piece.
static Status index_pieces(Builder *builder) {
    const TokenizerInput *input = builder->input;
    builder->kinds = calloc(input->vocab_size, 1);
    builder->code_index = calloc(TOKENIZER_CODE_PAGES, sizeof *builder->code_index);
    if (builder->kinds == NULL || builder->code_index == NULL) {
        return no_memory(builder);
    }
    // Page 0 is the page of nothing; another is added when its first code point is seen.
    add_code_page(builder);
    if (builder->code_pages.failed) {
        return no_memory(builder);
    }
    for (uint32_t id = 0; id < input->vocab_size; id++) {
        uint32_t code;
        if (tokenizer_byte_of_piece(input->pieces[id]) >= 0) {
            builder->kinds[id] |= KIND_BYTE;
        } else if (single_code(input->pieces[id], &code)) {
            uint16_t *page = &builder->code_index[code >> 8];
            if (*page == 0) {
                *page = add_code_page(builder);
            }
            if (builder->code_pages.failed) {
                return no_memory(builder);
            }
            code_page(builder, *page)[code & 255] = (int32_t)id;
        }
    }
    bool all_bytes = true;
    for (int byte = 0; byte < 256; byte++) {
        char name[] = "<0x00>"; // only the upper-case spelling is looked up, as tokenizers does
        static const char digits[] = "0123456789ABCDEF";
        name[3] = digits[byte >> 4];
        name[4] = digits[byte & 15];
        builder->byte_ids[byte] = find_piece(input, bytes_of_text(name));
        all_bytes = all_bytes && builder->byte_ids[byte] >= 0;
    }
    if (all_bytes && (input->flags & TOKENIZER_BYTE_FALLBACK)) {
        builder->header.flags |= TOKENIZER_SPLITTABLE;
    }
    return OK;
}

// Control tokens must be out of reach of plain text: neither a character nor a merge may give one.
static Status check_special(Builder *builder) {
    const TokenizerInput *input = builder->input;
    for (size_t i = 0; i < input->added_count; i++) {
        const AddedInput *added = &input->added[i];
        builder->kinds[added->id] |= (added->special ? KIND_SPECIAL : 0) |
                                     (added->lstrip ? KIND_LSTRIP : 0) |
                                     (added->rstrip ? KIND_RSTRIP : 0);
        uint32_t code;
        if (added->special && single_code(added->content, &code)) {
            return error_set(builder->error, E_TOKENIZER,
                             "%s: added_tokens[%zu] is special and a single character, so any text "
                             "with that character would hold a control token",
                             builder->source, i);
        }
    }
    for (size_t i = 0; i < input->merge_count; i++) {
        if (builder->kinds[input->merges[i].merged] & KIND_SPECIAL) {
            Bytes piece = input->pieces[input->merges[i].merged];
            return error_set(
                builder->error, E_TOKENIZER,
                "%s: model.merges[%zu] gives the special token \"%.*s\", so plain text "
                "could spell a control token",
                builder->source, i, (int)num_min(piece.length, 64), piece.data);
        }
    }
    return OK;
}

static TokenizerPair *pair_slot(Builder *builder, uint32_t left, uint32_t right) {
    size_t at = tokenizer_slot(tokenizer_pair_hash(left, right), builder->pair_slots);
    while (builder->pairs[at].left != UINT32_MAX &&
           (builder->pairs[at].left != left || builder->pairs[at].right != right)) {
        at = at + 1 < builder->pair_slots ? at + 1 : 0;
    }
    return &builder->pairs[at];
}

// Row or column of the crossing matrix, or -1.
static int common_of(uint32_t code) {
    return code < 128 ? (int)code : code == TOKENIZER_MARK ? TOKENIZER_COMMON_MARK : -1;
}

static uint32_t last_code(Bytes piece) {
    size_t at = piece.length - 1;
    while (at > 0 && (piece.data[at] & 0xc0) == 0x80) {
        at--;
    }
    uint32_t code = 0;
    utf8_decode(piece, at, &code);
    return code;
}

static int32_t id_of_code(const Builder *builder, uint32_t code) {
    return code_page(builder, builder->code_index[code >> 8])[code & 255];
}

static void mark_crossing(Builder *builder, Bytes left, Bytes right) {
    uint32_t x = last_code(left), y = 0;
    utf8_decode(right, 0, &y);
    int32_t x_id = id_of_code(builder, x), y_id = id_of_code(builder, y);
    if (x_id < 0 || y_id < 0) {
        return; // a character without a piece comes as byte tokens, and no merge takes those
    }
    int row = common_of(x), column = common_of(y);
    if (row >= 0 && column >= 0) {
        builder->crossings[row * TOKENIZER_CROSSING_WORDS + (column >> 5)] |= 1u << (column & 31);
    }
    TokenizerPair *slot = pair_slot(builder, (uint32_t)x_id, (uint32_t)y_id);
    if (slot->left == UINT32_MAX) {
        *slot = (TokenizerPair){(uint32_t)x_id, (uint32_t)y_id, UINT32_MAX, 0};
    }
}

static Status index_merges(Builder *builder) {
    const TokenizerInput *input = builder->input;
    // At most one merge and one crossing per merge. The slots are sized for the pairs that are
    // really there by building once into the large table and once into the small one.
    size_t slots = input->merge_count * 3 + 16;
    for (int round = 0; round < 2; round++) {
        builder->pair_slots = slots;
        free(builder->pairs);
        builder->pairs = malloc(slots * sizeof *builder->pairs);
        if (builder->pairs == NULL) {
            return no_memory(builder);
        }
        memset(builder->pairs, 0xff, slots * sizeof *builder->pairs);
        for (size_t i = 0; i < input->merge_count; i++) {
            const TokenizerMerge *merge = &input->merges[i];
            // A pair that is listed twice counts where it stands last, as in tokenizers.
            *pair_slot(builder, merge->left, merge->right) =
                (TokenizerPair){merge->left, merge->right, (uint32_t)i, merge->merged};
        }
        for (size_t i = 0; i < input->merge_count; i++) {
            const TokenizerMerge *merge = &input->merges[i];
            uint8_t kinds = builder->kinds[merge->left] | builder->kinds[merge->right] |
                            builder->kinds[merge->merged];
            if ((kinds & KIND_BYTE) || (int32_t)merge->left == input->unknown_id ||
                (int32_t)merge->right == input->unknown_id) {
                builder->header.flags &= ~(uint32_t)TOKENIZER_SPLITTABLE;
            }
            mark_crossing(builder, input->pieces[merge->left], input->pieces[merge->right]);
        }
        size_t used = 0;
        for (size_t i = 0; i < slots; i++) {
            used += builder->pairs[i].left != UINT32_MAX;
        }
        slots = used + used / 2 + 16;
    }
    return OK;
}

// ---- writing ------------------------------------------------------------------------------------

static void begin_section(Builder *builder, Section section, size_t count) {
    static const uint8_t zeros[8] = {0};
    buffer_append(builder->out, zeros,
                  num_round_up(builder->out->length, 8) - builder->out->length);
    builder->header.sections[section].offset = builder->out->length;
    builder->header.sections[section].count = count;
}

static void write_section(Builder *builder, Section section, const void *data, size_t count,
                          size_t item_bytes) {
    begin_section(builder, section, count);
    buffer_append(builder->out, data, count * item_bytes);
}

// One bit per pair, at least 16 bits for each of them.
static Status write_pair_filter(Builder *builder) {
    size_t used = 0, words = 1;
    for (size_t i = 0; i < builder->pair_slots; i++) {
        used += builder->pairs[i].left != UINT32_MAX;
    }
    while (words * 64 < used * 16) {
        words *= 2;
    }
    uint64_t *filter = calloc(words, sizeof *filter);
    if (filter == NULL) {
        return no_memory(builder);
    }
    for (size_t i = 0; i < builder->pair_slots; i++) {
        const TokenizerPair *pair = &builder->pairs[i];
        if (pair->left != UINT32_MAX) {
            uint64_t bit = tokenizer_pair_hash(pair->left, pair->right) & (words * 64 - 1);
            filter[bit >> 6] |= (uint64_t)1 << (bit & 63);
        }
    }
    write_section(builder, SECTION_PAIR_FILTER, filter, words, sizeof *filter);
    free(filter);
    return OK;
}

static void write_pieces(Builder *builder) {
    const TokenizerInput *input = builder->input;
    begin_section(builder, SECTION_PIECE_OFFSETS, input->vocab_size + 1);
    uint32_t offset = 0;
    for (uint32_t id = 0; id <= input->vocab_size; id++) {
        buffer_append(builder->out, &offset, sizeof offset);
        offset += id < input->vocab_size ? (uint32_t)input->pieces[id].length : 0;
    }
    begin_section(builder, SECTION_PIECES, offset);
    for (uint32_t id = 0; id < input->vocab_size; id++) {
        buffer_append(builder->out, input->pieces[id].data, input->pieces[id].length);
    }
}

static uint32_t write_text(Builder *builder, Bytes text) {
    uint32_t offset = (uint32_t)builder->text.length;
    buffer_append(&builder->text, text.data, text.length);
    return offset;
}

static int compare_added(const void *a, const void *b, void *context) {
    return tokenizer_compare_added(((const Builder *)context)->text.data, a, b);
}

// Contents differ, but a normalizer may make one text of two; which of them the original then finds
// depends on more than their order.
static Status check_distinct(const Builder *builder, const TokenizerAdded *items, size_t count) {
    for (size_t i = 1; i < count; i++) {
        if (tokenizer_compare_added(builder->text.data, &items[i - 1], &items[i]) == 0) {
            return error_set(builder->error, E_UNSUPPORTED,
                             "%s: the added tokens %u and %u are one text once they are "
                             "normalized, which is not supported",
                             builder->source, items[i - 1].id, items[i].id);
        }
    }
    return OK;
}

static Status write_added(Builder *builder, Section section, bool normalized) {
    const TokenizerInput *input = builder->input;
    TokenizerAdded *items = malloc((input->added_count + 1) * sizeof *items);
    Buffer text = {0}, other = {0};
    size_t count = 0;
    for (size_t i = 0; items != NULL && i < input->added_count; i++) {
        const AddedInput *added = &input->added[i];
        if (added->normalized != normalized) {
            continue;
        }
        buffer_clear(&text);
        buffer_append(&text, added->content.data, added->content.length);
        for (size_t rule = 0; normalized && rule < input->normalize_count; rule++) {
            buffer_clear(&other);
            tokenizer_replace((Bytes){text.data, text.length}, input->normalize[rule], &other);
            Buffer swap = text;
            text = other;
            other = swap;
        }
        if (text.length > 0) {
            Bytes content = {text.data, text.length};
            items[count++] =
                (TokenizerAdded){added->id, write_text(builder, content), (uint32_t)text.length};
        }
    }
    bool failed = items == NULL || text.failed || other.failed || builder->text.failed;
    buffer_free(&text);
    buffer_free(&other);
    if (!failed) {
        qsort_r(items, count, sizeof *items, compare_added, builder);
        write_section(builder, section, items, count, sizeof *items);
    }
    Status status = failed ? no_memory(builder) : check_distinct(builder, items, count);
    free(items);
    return status;
}

static void write_rule(Builder *builder, RuleKind kind, ReplaceRule rule) {
    TokenizerRule row = {kind, write_text(builder, rule.from), (uint32_t)rule.from.length,
                         write_text(builder, rule.to), (uint32_t)rule.to.length};
    buffer_append(builder->out, &row, sizeof row);
}

static void write_rules(Builder *builder) {
    const TokenizerInput *input = builder->input;
    size_t split = input->split.length > 0;
    begin_section(builder, SECTION_RULES, input->normalize_count + input->decode_count + split);
    for (size_t i = 0; i < input->normalize_count; i++) {
        write_rule(builder, RULE_NORMALIZE, input->normalize[i]);
    }
    for (size_t i = 0; i < input->decode_count; i++) {
        write_rule(builder, RULE_DECODE, input->decode[i]);
    }
    if (split) {
        write_rule(builder, RULE_SPLIT, (ReplaceRule){.from = input->split});
    }
}

static Status write_all(Builder *builder) {
    const TokenizerInput *input = builder->input;
    Buffer *out = builder->out;
    buffer_append(out, &builder->header, sizeof builder->header);
    write_pieces(builder);
    write_section(builder, SECTION_KINDS, builder->kinds, input->vocab_size, 1);
    write_section(builder, SECTION_PIECE_HASH, input->piece_hash, input->piece_slots,
                  sizeof *input->piece_hash);
    write_section(builder, SECTION_CODE_INDEX, builder->code_index, TOKENIZER_CODE_PAGES,
                  sizeof *builder->code_index);
    write_section(builder, SECTION_CODE_PAGES, builder->code_pages.data,
                  builder->code_pages.length / sizeof(int32_t), sizeof(int32_t));
    write_section(builder, SECTION_BYTE_IDS, builder->byte_ids, 256, sizeof *builder->byte_ids);
    write_section(builder, SECTION_PAIRS, builder->pairs, builder->pair_slots,
                  sizeof *builder->pairs);
    TRY(write_pair_filter(builder));
    write_section(builder, SECTION_CROSSINGS, builder->crossings,
                  TOKENIZER_COMMON * TOKENIZER_CROSSING_WORDS, sizeof *builder->crossings);
    TRY(write_added(builder, SECTION_ADDED_RAW, false));
    TRY(write_added(builder, SECTION_ADDED_NORMALIZED, true));
    write_rules(builder);
    write_section(builder, SECTION_TEXT, builder->text.data, builder->text.length, 1);
    if (out->failed || builder->text.failed) {
        return no_memory(builder);
    }
    return OK;
}

Status tokenizer_build(const TokenizerInput *input, const char *source, Buffer *out, Error *error) {
    REQUIRE(out->length == 0);
    Builder builder = {.input = input, .source = source, .out = out, .error = error};
    builder.header = (BlobHeader){.magic = TOKENIZER_MAGIC,
                                  .version = TOKENIZER_VERSION,
                                  .flags = input->flags,
                                  .vocab_size = input->vocab_size,
                                  .unknown_id = input->unknown_id};
    Status status = index_pieces(&builder);
    if (status == OK) {
        status = check_special(&builder);
    }
    if (status == OK) {
        status = index_merges(&builder);
    }
    if (status == OK) {
        status = write_all(&builder);
    }
    if (status == OK) {
        builder.header.bytes_total = out->length;
        builder.header.checksum =
            hash64((Bytes){(const uint8_t *)&builder.header, offsetof(BlobHeader, checksum)}, 0);
        memcpy(out->data, &builder.header, sizeof builder.header);
    }
    free(builder.kinds);
    free(builder.code_index);
    buffer_free(&builder.code_pages);
    free(builder.pairs);
    buffer_free(&builder.text);
    return status;
}
