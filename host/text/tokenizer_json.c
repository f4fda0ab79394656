// SPDX-License-Identifier: Apache-2.0
// Reads the tokenizer.json of the `tokenizers` package, Gemma's form of it: a BPE model, a
// normalizer and a decoder of plain replacements, at most a split at a fixed string. Everything
// else is refused by name rather than read half. Facts that belong to a request and not to the text
// (truncation, padding, post_processor) are left alone: the chat template writes <bos> itself.
#include "base/check.h"
#include "base/file.h"
#include "base/json.h"
#include "base/num.h"
#include "host/text/tokenizer_tables.h"

#include <stdlib.h>
#include <string.h>

enum { JSON_BYTES_MAX = 256 << 20 };

typedef struct Reader {
    const char *source;
    TokenizerInput input;
    Buffer joined;   // the product of the merge at hand
    bool *added_ids; // [room] ids that added_tokens has named
    Error *error;
} Reader;

static Bytes text_of(const json_t *value) {
    return (Bytes){(const uint8_t *)json_string_value(value), json_string_length(value)};
}

static Status wrong(const Reader *reader, const char *where, const char *rule) {
    return error_set(reader->error, E_TOKENIZER, "%s: %s must be %s", reader->source, where, rule);
}

static Status not_supported(const Reader *reader, const char *where, const json_t *type,
                            const char *supported) {
    return error_set(reader->error, E_UNSUPPORTED, "%s: %s of type \"%.64s\" is not supported; %s",
                     reader->source, where,
                     json_is_string(type) ? json_string_value(type) : "(none)", supported);
}

static bool has_type(const json_t *object, const char *name) {
    const char *type = json_string_value(json_object_get(object, "type"));
    return type != NULL && strcmp(type, name) == 0;
}

// An absent or null value is `absent`.
static Status read_flag(const Reader *reader, const json_t *object, const char *where,
                        const char *key, bool absent, bool *out) {
    const json_t *value = json_object_get(object, key);
    *out = value == NULL || json_is_null(value) ? absent : json_is_true(value);
    if (value != NULL && !json_is_null(value) && !json_is_boolean(value)) {
        char name[128];
        snprintf(name, sizeof name, "%s.%s", where, key);
        return wrong(reader, name, "true or false");
    }
    return OK;
}

static Status read_id(const Reader *reader, const json_t *value, const char *where, uint32_t *out) {
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) >= TOKENIZER_VOCAB_MAX) {
        return error_set(reader->error, E_TOKENIZER,
                         "%s: the id of %s must be a whole number below %d", reader->source, where,
                         TOKENIZER_VOCAB_MAX);
    }
    *out = (uint32_t)json_integer_value(value);
    return OK;
}

// ---- the vocabulary -----------------------------------------------------------------------------

static Status place_piece(Reader *reader, uint32_t id, Bytes piece) {
    Bytes *slot = &reader->input.pieces[id];
    if (slot->data != NULL) {
        return error_set(reader->error, E_TOKENIZER,
                         "%s: the id %u belongs to both \"%.*s\" and \"%.*s\"", reader->source, id,
                         (int)num_min(slot->length, 64), slot->data, (int)num_min(piece.length, 64),
                         piece.data);
    }
    *slot = piece;
    return OK;
}

// The name of an entry for an error text: at most 64 bytes of it.
static void entry_name(char out[160], const char *kind, Bytes content) {
    snprintf(out, 160, "%s \"%.*s\"", kind, (int)num_min(content.length, 64),
             (const char *)content.data);
}

static Status read_vocabulary(Reader *reader, const json_t *vocab, const json_t *added) {
    TokenizerInput *input = &reader->input;
    if (!json_is_object(vocab) || json_object_size(vocab) == 0) {
        return wrong(reader, "model.vocab", "an object of pieces and ids, with at least one entry");
    }
    if (added != NULL && !json_is_null(added) && !json_is_array(added)) {
        return wrong(reader, "added_tokens", "a list");
    }
    size_t room = json_object_size(vocab) + json_array_size(added);
    if (room > TOKENIZER_VOCAB_MAX) {
        return error_set(reader->error, E_LIMIT, "%s: %zu tokens are more than the limit of %d",
                         reader->source, room, TOKENIZER_VOCAB_MAX);
    }
    input->pieces = calloc(room, sizeof *input->pieces);
    input->piece_slots = room * 2 + 1;
    input->piece_hash = malloc(input->piece_slots * sizeof *input->piece_hash);
    if (input->pieces == NULL || input->piece_hash == NULL) {
        return error_set(reader->error, E_MEMORY, "%s: not enough memory for %zu tokens",
                         reader->source, room);
    }
    memset(input->piece_hash, 0xff, input->piece_slots * sizeof *input->piece_hash);

    const char *key;
    json_t *value;
    size_t key_length;
    json_object_keylen_foreach((json_t *)vocab, key, key_length, value) {
        Bytes piece = {(const uint8_t *)key, key_length};
        char name[160];
        entry_name(name, "model.vocab", piece);
        uint32_t id = 0;
        TRY(read_id(reader, value, name, &id));
        if (id >= room || piece.length > TOKENIZER_PIECE_MAX) {
            return error_set(reader->error, E_TOKENIZER,
                             id >= room ? "%s: %s has id %u, but the ids of %zu tokens must run "
                                          "from 0 without gaps"
                                        : "%s: %s (id %u of %zu) is longer than 65536 bytes",
                             reader->source, name, id, room);
        }
        TRY(place_piece(reader, id, piece));
        input->piece_hash[tokenizer_input_slot(input, piece)] = (int32_t)id;
    }
    return OK;
}

static Status read_added_token(Reader *reader, const json_t *entry, size_t index, size_t room) {
    TokenizerInput *input = &reader->input;
    AddedInput *token = &input->added[input->added_count];
    char where[64], name[160];
    snprintf(where, sizeof where, "added_tokens[%zu]", index);
    const json_t *content = json_object_get(entry, "content");
    if (!json_is_string(content) || json_string_length(content) == 0 ||
        json_string_length(content) > TOKENIZER_PIECE_MAX) {
        return wrong(reader, where, "an object with a content of 1 to 65536 bytes");
    }
    token->content = text_of(content);
    entry_name(name, where, token->content);
    TRY(read_id(reader, json_object_get(entry, "id"), name, &token->id));
    bool single_word;
    TRY(read_flag(reader, entry, where, "single_word", false, &single_word));
    TRY(read_flag(reader, entry, where, "lstrip", false, &token->lstrip));
    TRY(read_flag(reader, entry, where, "rstrip", false, &token->rstrip));
    TRY(read_flag(reader, entry, where, "special", false, &token->special));
    TRY(read_flag(reader, entry, where, "normalized", !token->special, &token->normalized));
    if (single_word) {
        return error_set(reader->error, E_UNSUPPORTED,
                         "%s: %s asks for single_word, which is not supported", reader->source,
                         name);
    }
    size_t slot = tokenizer_input_slot(input, token->content);
    if (input->piece_hash[slot] >= 0) {
        if ((uint32_t)input->piece_hash[slot] != token->id) {
            return error_set(reader->error, E_TOKENIZER,
                             "%s: %s has id %u here and %d in model.vocab", reader->source, name,
                             token->id, input->piece_hash[slot]);
        }
    } else if (token->id >= room) {
        return error_set(reader->error, E_TOKENIZER,
                         "%s: %s has id %u, but the ids of %zu tokens must run from 0 without gaps",
                         reader->source, name, token->id, room);
    } else {
        TRY(place_piece(reader, token->id, token->content));
        input->piece_hash[slot] = (int32_t)token->id;
    }
    if (reader->added_ids[token->id]) {
        return error_set(reader->error, E_TOKENIZER, "%s: %s stands twice", reader->source, name);
    }
    reader->added_ids[token->id] = true;
    input->added_count++;
    return OK;
}

static Status read_added(Reader *reader, const json_t *vocab, const json_t *added) {
    TokenizerInput *input = &reader->input;
    size_t room = json_object_size(vocab) + json_array_size(added);
    input->added = calloc(json_array_size(added) + 1, sizeof *input->added);
    reader->added_ids = calloc(room, sizeof *reader->added_ids);
    if (input->added == NULL || reader->added_ids == NULL) {
        return error_set(reader->error, E_MEMORY, "%s: not enough memory for the added tokens",
                         reader->source);
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        TRY(read_added_token(reader, json_array_get(added, i), i, room));
    }
    // All ids lie below `room`, none is taken twice: the vocabulary ends at the last one taken, and
    // every id before it must be taken.
    for (size_t id = 0; id < room; id++) {
        if (input->pieces[id].data != NULL) {
            input->vocab_size = (uint32_t)id + 1;
        }
    }
    for (uint32_t id = 0; id < input->vocab_size; id++) {
        if (input->pieces[id].data == NULL) {
            return error_set(reader->error, E_TOKENIZER,
                             "%s: no token has the id %u, but ids must run from 0 to %u without "
                             "gaps",
                             reader->source, id, input->vocab_size - 1);
        }
    }
    return OK;
}

// ---- the model ----------------------------------------------------------------------------------

static Status find_part(Reader *reader, size_t index, Bytes part, uint32_t *out) {
    int32_t id = reader->input.piece_hash[tokenizer_input_slot(&reader->input, part)];
    if (id < 0) {
        return error_set(reader->error, E_TOKENIZER,
                         "%s: model.merges[%zu] names \"%.*s\", which model.vocab does not have",
                         reader->source, index, (int)num_min(part.length, 64), part.data);
    }
    *out = (uint32_t)id;
    return OK;
}

// "a b" or ["a", "b"].
static Status split_merge(Reader *reader, const json_t *entry, size_t index, Bytes *left,
                          Bytes *right) {
    if (json_is_array(entry) && json_array_size(entry) == 2) {
        *left = text_of(json_array_get(entry, 0));
        *right = text_of(json_array_get(entry, 1));
    } else if (json_is_string(entry)) {
        Bytes whole = text_of(entry);
        const uint8_t *space = memchr(whole.data, ' ', whole.length);
        if (space != NULL) {
            *left = (Bytes){whole.data, (size_t)(space - whole.data)};
            *right = (Bytes){space + 1, whole.length - left->length - 1};
        }
        if (space == NULL || memchr(right->data, ' ', right->length) != NULL) {
            left->data = NULL;
        }
    }
    if (left->data == NULL || right->data == NULL || left->length == 0 || right->length == 0) {
        char name[64];
        snprintf(name, sizeof name, "model.merges[%zu]", index);
        return wrong(reader, name, "\"a b\" or [\"a\", \"b\"] with two pieces that are not empty");
    }
    return OK;
}

static Status read_merges(Reader *reader, const json_t *merges) {
    TokenizerInput *input = &reader->input;
    if (!json_is_array(merges) || json_array_size(merges) > TOKENIZER_VOCAB_MAX) {
        return wrong(reader, "model.merges", "a list of at most 4194304 merges");
    }
    input->merge_count = json_array_size(merges);
    input->merges = calloc(input->merge_count + 1, sizeof *input->merges);
    if (input->merges == NULL) {
        return error_set(reader->error, E_MEMORY, "%s: not enough memory for %zu merges",
                         reader->source, input->merge_count);
    }
    for (size_t i = 0; i < input->merge_count; i++) {
        Bytes left = {0}, right = {0};
        TRY(split_merge(reader, json_array_get(merges, i), i, &left, &right));
        buffer_clear(&reader->joined);
        buffer_append(&reader->joined, left.data, left.length);
        buffer_append(&reader->joined, right.data, right.length);
        TRY(find_part(reader, i, left, &input->merges[i].left));
        TRY(find_part(reader, i, right, &input->merges[i].right));
        TRY(find_part(reader, i, (Bytes){reader->joined.data, reader->joined.length},
                      &input->merges[i].merged));
    }
    return OK;
}

static Status read_model(Reader *reader, const json_t *model, const json_t *added) {
    if (!json_is_object(model)) {
        return wrong(reader, "model", "an object");
    }
    // Old files do not name the type; a vocabulary with merges is BPE.
    if (json_object_get(model, "type") != NULL && !has_type(model, "BPE")) {
        return not_supported(reader, "model", json_object_get(model, "type"),
                             "only \"BPE\" is, Gemma's kind");
    }
    static const char *const refused[] = {"dropout", "continuing_subword_prefix",
                                          "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const json_t *value = json_object_get(model, refused[i]);
        bool off = value == NULL || json_is_null(value) ||
                   (json_is_number(value) && json_number_value(value) == 0) ||
                   (json_is_string(value) && json_string_length(value) == 0);
        if (!off) {
            return error_set(reader->error, E_UNSUPPORTED, "%s: model.%s is not supported",
                             reader->source, refused[i]);
        }
    }
    bool byte_fallback, fuse_unknown, ignore_merges;
    TRY(read_flag(reader, model, "model", "byte_fallback", false, &byte_fallback));
    TRY(read_flag(reader, model, "model", "fuse_unk", false, &fuse_unknown));
    TRY(read_flag(reader, model, "model", "ignore_merges", false, &ignore_merges));
    reader->input.flags |= (byte_fallback ? TOKENIZER_BYTE_FALLBACK : 0u) |
                           (fuse_unknown ? TOKENIZER_FUSE_UNKNOWN : 0u) |
                           (ignore_merges ? TOKENIZER_IGNORE_MERGES : 0u);

    const json_t *vocab = json_object_get(model, "vocab");
    TRY(read_vocabulary(reader, vocab, added));
    TRY(read_merges(reader, json_object_get(model, "merges")));
    const json_t *unknown = json_object_get(model, "unk_token");
    reader->input.unknown_id = -1;
    if (json_is_string(unknown)) {
        reader->input.unknown_id =
            reader->input.piece_hash[tokenizer_input_slot(&reader->input, text_of(unknown))];
        if (reader->input.unknown_id < 0) {
            return error_set(reader->error, E_TOKENIZER,
                             "%s: model.unk_token \"%.64s\" is not in model.vocab", reader->source,
                             json_string_value(unknown));
        }
    } else if (unknown != NULL && !json_is_null(unknown)) {
        return wrong(reader, "model.unk_token", "a string or null");
    }
    return read_added(reader, vocab, added);
}

// ---- normalizer, pre-tokenizer, decoder ---------------------------------------------------------

static Status read_replace(Reader *reader, const json_t *step, const char *where,
                           ReplaceRule *rules, size_t *count) {
    TokenizerInput *input = &reader->input;
    const json_t *from = json_object_get(json_object_get(step, "pattern"), "String");
    const json_t *to = json_object_get(step, "content");
    if (!json_is_string(from) || json_string_length(from) == 0 || !json_is_string(to)) {
        return error_set(reader->error, E_UNSUPPORTED,
                         "%s: the Replace of %s must have a pattern {\"String\": ...} that is not "
                         "empty and a content; regular expressions are not supported",
                         reader->source, where);
    }
    if (input->normalize_count + input->decode_count >= TOKENIZER_RULES_MAX - 1) {
        return error_set(reader->error, E_LIMIT, "%s: more than %d replacements", reader->source,
                         TOKENIZER_RULES_MAX - 1);
    }
    rules[(*count)++] = (ReplaceRule){text_of(from), text_of(to)};
    return OK;
}

// Step `i` of a Sequence with steps under `key`, or the object itself as its only step; NULL at the
// end.
static const json_t *step_at(const json_t *object, const char *key, size_t i) {
    if (has_type(object, "Sequence")) {
        return json_array_get(json_object_get(object, key), i);
    }
    return i == 0 && json_is_object(object) ? object : NULL;
}

static Status read_normalizer(Reader *reader, const json_t *normalizer) {
    const json_t *step;
    for (size_t i = 0; (step = step_at(normalizer, "normalizers", i)) != NULL; i++) {
        if (!has_type(step, "Replace")) {
            return not_supported(reader, "a normalizer", json_object_get(step, "type"),
                                 "only \"Replace\" and a \"Sequence\" of it are");
        }
        TRY(read_replace(reader, step, "the normalizer", reader->input.normalize,
                         &reader->input.normalize_count));
    }
    return OK;
}

static Status read_pre_tokenizer(Reader *reader, const json_t *splitter) {
    if (splitter == NULL || json_is_null(splitter)) {
        return OK;
    }
    const json_t *pattern = json_object_get(json_object_get(splitter, "pattern"), "String");
    const char *behavior = json_string_value(json_object_get(splitter, "behavior"));
    if (!has_type(splitter, "Split") || !json_is_string(pattern) ||
        json_string_length(pattern) == 0 || behavior == NULL ||
        strcmp(behavior, "MergedWithPrevious") != 0 ||
        json_is_true(json_object_get(splitter, "invert"))) {
        return not_supported(reader, "a pre_tokenizer", json_object_get(splitter, "type"),
                             "only \"Split\" at a String, \"MergedWithPrevious\", is");
    }
    reader->input.split = text_of(pattern);
    return OK;
}

static Status read_decoder(Reader *reader, const json_t *decoder) {
    // Fuse joins the pieces, which is what a decoder gives in any case; it may only stand last, and
    // replacements only before the bytes, because there each piece is still alone.
    static const char *const order = "Replace steps, then ByteFallback, then Fuse, are";
    const json_t *step;
    int stage = 0;
    if (step_at(decoder, "decoders", 0) == NULL) {
        return not_supported(reader, "a decoder", NULL, order);
    }
    for (size_t i = 0; (step = step_at(decoder, "decoders", i)) != NULL; i++) {
        const json_t *type = json_object_get(step, "type");
        if (stage == 0 && has_type(step, "Replace")) {
            TRY(read_replace(reader, step, "the decoder", reader->input.decode,
                             &reader->input.decode_count));
        } else if (stage == 0 && has_type(step, "ByteFallback")) {
            reader->input.flags |= TOKENIZER_DECODE_BYTES;
            stage = 1;
        } else if (stage < 2 && has_type(step, "Fuse")) {
            stage = 2;
        } else {
            return not_supported(reader, "a decoder", type, order);
        }
    }
    return OK;
}

// ---- opening ------------------------------------------------------------------------------------

static Status read_root(Reader *reader, const json_t *root, Buffer *tables) {
    if (!json_is_object(root)) {
        return wrong(reader, "the file", "a JSON object");
    }
    const json_t *added = json_object_get(root, "added_tokens");
    TRY(read_model(reader, json_object_get(root, "model"), added));
    TRY(read_normalizer(reader, json_object_get(root, "normalizer")));
    TRY(read_pre_tokenizer(reader, json_object_get(root, "pre_tokenizer")));
    TRY(read_decoder(reader, json_object_get(root, "decoder")));
    return tokenizer_build(&reader->input, reader->source, tables, reader->error);
}

static Status open_root(const json_t *root, const char *source, Tokenizer **out, Error *error) {
    Reader reader = {.source = source, .error = error};
    Buffer tables = {0};
    Status status = read_root(&reader, root, &tables);
    free(reader.input.pieces);
    free(reader.input.piece_hash);
    free(reader.input.merges);
    free(reader.input.added);
    free(reader.added_ids);
    buffer_free(&reader.joined);
    if (status == OK) {
        status = tokenizer_open_blob((Bytes){tables.data, tables.length}, out, error);
    }
    if (status != OK) {
        buffer_free(&tables);
        return status;
    }
    (*out)->owned = tables.data;
    return OK;
}

Status tokenizer_open_json_bytes(Bytes json, const char *source, Tokenizer **out, Error *error) {
    json_t *root;
    *out = NULL;
    TRY(json_parse(json, source, &root, error));
    Status status = open_root(root, source, out, error);
    json_decref(root);
    return status;
}

Status tokenizer_open_json(const char *path, Tokenizer **out, Error *error) {
    json_t *root;
    *out = NULL;
    TRY(json_parse_file(path, JSON_BYTES_MAX, &root, error));
    Status status = open_root(root, path, out, error);
    json_decref(root);
    return status;
}
