// SPDX-License-Identifier: Apache-2.0
// A tokenizer.json or a packed tokenizer that cannot be used is refused with a sentence that names
// the entry. Each case changes one thing of the hand-written file of tokenizer_fixture.c.
#include "base/json.h"
#include "base/prng.h"
#include "host/text/detok.h"
#include "host/text/tokenizer_tables.h"
#include "tokenizer_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

// The fixture with the value at `path` (keys and indices between dots) replaced by `value`, or
// taken away when `value` is NULL.
static char *changed(const char *path, const char *value) {
    json_t *root, *at;
    cr_assert_eq(json_parse(fixture_json(), "fixture", &root, NULL), OK);
    char copy[128];
    snprintf(copy, sizeof copy, "%s", path);
    char *key = copy, *dot;
    at = root;
    while ((dot = strchr(key, '.')) != NULL) {
        *dot = '\0';
        at = json_is_array(at) ? json_array_get(at, strtoul(key, NULL, 10))
                               : json_object_get(at, key);
        key = dot + 1;
    }
    json_t *item = value != NULL ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
    cr_assert(value == NULL || item != NULL, "%s", value);
    if (json_is_array(at) && strcmp(key, "+") == 0) {
        json_array_append_new(at, item);
    } else if (json_is_array(at)) {
        json_array_set_new(at, strtoul(key, NULL, 10), item);
    } else if (item == NULL) {
        json_object_del(at, key);
    } else {
        json_object_set_new(at, key, item);
    }
    char *text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

static void expect_error(const char *path, const char *value, Status status, const char *sentence) {
    char *json = changed(path, value);
    Tokenizer *tokenizer;
    Error error = {0};
    Status have = tokenizer_open_json_bytes(bytes_of_text(json), "file.json", &tokenizer, &error);
    cr_assert_eq(have, status, "%s = %s gives %s: %s", path, value, status_name(have), error.text);
    cr_assert_null(tokenizer);
    cr_assert_not_null(strstr(error.text, "file.json"), "\"%s\" lacks the file", error.text);
    cr_assert_not_null(strstr(error.text, sentence), "%s: \"%s\" lacks \"%s\"", path, error.text,
                       sentence);
    free(json);
}

Test(tokenizer_errors, the_file) {
    Tokenizer *tokenizer;
    Error error = {0};
    cr_assert_eq(tokenizer_open_json("/nonexistent/tokenizer.json", &tokenizer, &error),
                 E_NOT_FOUND);
    cr_assert_eq(tokenizer_open_json_bytes(bytes_of_text("{"), "f", &tokenizer, &error), E_JSON);
    cr_assert_eq(tokenizer_open_json_bytes(bytes_of_text("[]"), "f", &tokenizer, &error),
                 E_TOKENIZER);
}

Test(tokenizer_errors, the_vocabulary) {
    expect_error("model", NULL, E_TOKENIZER, "model must be an object");
    expect_error("model.vocab", NULL, E_TOKENIZER, "model.vocab must be an object");
    expect_error("model.vocab", "[]", E_TOKENIZER, "model.vocab must be an object");
    expect_error("model.vocab", "{}", E_TOKENIZER, "model.vocab must be an object");
    expect_error("model.vocab.abc", "\"12\"", E_TOKENIZER, "model.vocab \"abc\"");
    expect_error("model.vocab.abc", "-1", E_TOKENIZER, "model.vocab \"abc\"");
    expect_error("model.vocab.abc", "12.0", E_TOKENIZER, "model.vocab \"abc\"");
    expect_error("model.vocab.abc", "99999999999", E_TOKENIZER, "model.vocab \"abc\"");
    expect_error("model.vocab.abc", "100000", E_TOKENIZER, "without gaps");
    expect_error("model.vocab.abc", "11", E_TOKENIZER, "\"bc\" and \"abc\"");
    expect_error("model.vocab.\xc3\xa9", NULL, E_TOKENIZER, "no token has the id 17");
    expect_error("model.unk_token", "\"nothing\"", E_TOKENIZER, "model.unk_token \"nothing\"");
    expect_error("model.unk_token", "3", E_TOKENIZER, "model.unk_token must be");
}

Test(tokenizer_errors, the_merges) {
    expect_error("model.merges", NULL, E_TOKENIZER, "model.merges must be a list");
    expect_error("model.merges", "{}", E_TOKENIZER, "model.merges must be a list");
    expect_error("model.merges.2", "\"ab q\"", E_TOKENIZER, "model.merges[2] names \"q\"");
    expect_error("model.merges.2", "[\"q\", \"a\"]", E_TOKENIZER, "model.merges[2] names \"q\"");
    expect_error("model.merges.1", "\"a c\"", E_TOKENIZER, "model.merges[1] names \"ac\"");
    expect_error("model.merges.1", "\"ab\"", E_TOKENIZER, "model.merges[1] must be");
    expect_error("model.merges.1", "\"a b c\"", E_TOKENIZER, "model.merges[1] must be");
    expect_error("model.merges.1", "[\"a\"]", E_TOKENIZER, "model.merges[1] must be");
    expect_error("model.merges.1", "[\"a\", 5]", E_TOKENIZER, "model.merges[1] must be");
    expect_error("model.merges.1", "[\"\", \"a\"]", E_TOKENIZER, "model.merges[1] must be");
}

Test(tokenizer_errors, the_added_tokens) {
    expect_error("added_tokens", "{}", E_TOKENIZER, "added_tokens must be a list");
    expect_error("added_tokens.2", "5", E_TOKENIZER, "added_tokens[2] must be");
    expect_error("added_tokens.2.content", "\"\"", E_TOKENIZER, "added_tokens[2] must be");
    expect_error("added_tokens.2.id", "\"x\"", E_TOKENIZER, "added_tokens[2] \"<bos>\"");
    expect_error("added_tokens.2.id", "3", E_TOKENIZER, "has id 3 here and 2 in model.vocab");
    expect_error("added_tokens.6.id", "5", E_TOKENIZER, "\"<turn|>\" and \"<b>\"");
    expect_error("added_tokens.6.id", "100000", E_TOKENIZER, "without gaps");
    expect_error("added_tokens.2.lstrip", "1", E_TOKENIZER, "added_tokens[2].lstrip");
    expect_error("added_tokens.2.single_word", "true", E_UNSUPPORTED, "single_word");
    expect_error("added_tokens.+", "{\"id\": 2, \"content\": \"<bos>\"}", E_TOKENIZER,
                 "added_tokens[7] \"<bos>\" stands twice");
}

Test(tokenizer_errors, two_added_tokens_of_one_text) {
    char *json = changed("added_tokens.+", "{\"id\": 275, \"content\": \" <x>\"}");
    json_t *root;
    cr_assert_eq(json_parse(bytes_of_text(json), "fixture", &root, NULL), OK);
    json_array_append_new(json_object_get(root, "added_tokens"),
                          json_pack("{s:i,s:s}", "id", 276, "content", "\xe2\x96\x81<x>"));
    char *both = json_dumps(root, 0);
    Tokenizer *tokenizer;
    Error error = {0};
    cr_assert_eq(tokenizer_open_json_bytes(bytes_of_text(both), "f", &tokenizer, &error),
                 E_UNSUPPORTED);
    cr_assert_not_null(strstr(error.text, "one text once they are normalized"), "%s", error.text);
    json_decref(root);
    free(json);
    free(both);
}

Test(tokenizer_errors, control_tokens_that_text_could_spell) {
    expect_error("added_tokens.+", "{\"id\": 12, \"content\": \"abc\", \"special\": true}",
                 E_TOKENIZER, "model.merges[2] gives the special token \"abc\"");
    expect_error("added_tokens.+", "{\"id\": 6, \"content\": \"a\", \"special\": true}",
                 E_TOKENIZER, "added_tokens[7] is special and a single character");
}

Test(tokenizer_errors, what_gemma_does_not_use) {
    expect_error("model.type", "\"WordPiece\"", E_UNSUPPORTED, "\"WordPiece\"");
    expect_error("model.dropout", "0.1", E_UNSUPPORTED, "model.dropout");
    expect_error("model.end_of_word_suffix", "\"</w>\"", E_UNSUPPORTED, "end_of_word_suffix");
    expect_error("model.byte_fallback", "1", E_TOKENIZER, "model.byte_fallback");
    expect_error("normalizer", "{\"type\": \"Prepend\", \"prepend\": \"x\"}", E_UNSUPPORTED,
                 "\"Prepend\"");
    expect_error("normalizer", "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}]}",
                 E_UNSUPPORTED, "\"NFC\"");
    expect_error("normalizer.pattern", "{\"Regex\": \" +\"}", E_UNSUPPORTED, "regular expressions");
    expect_error("pre_tokenizer", "{\"type\": \"ByteLevel\"}", E_UNSUPPORTED, "\"ByteLevel\"");
    expect_error("pre_tokenizer",
                 "{\"type\": \"Split\", \"pattern\": {\"String\": \" \"}, \"behavior\": "
                 "\"Isolated\"}",
                 E_UNSUPPORTED, "MergedWithPrevious");
    expect_error("decoder", "null", E_UNSUPPORTED, "a decoder");
    expect_error("decoder", "{\"type\": \"WordPiece\"}", E_UNSUPPORTED, "\"WordPiece\"");
    expect_error("decoder.decoders.2", "{\"type\": \"Strip\"}", E_UNSUPPORTED, "\"Strip\"");
}

// ---- the flat form ------------------------------------------------------------------------------

static void use(const Tokenizer *tokenizer) {
    TokenizerScratch scratch = {0};
    TokenList tokens = {0};
    Buffer text = {0};
    tokenizer_encode(tokenizer, bytes_of_text("<bos>ab c\xc3\xa9\xff\n\n<b> <|turn>"),
                     TOKENIZER_PARSE_SPECIAL, &scratch, &tokens, NULL);
    detok_all(tokenizer, tokens.ids, tokens.count, false, &text);
    buffer_free(&text);
    token_list_free(&tokens);
    tokenizer_scratch_free(&scratch);
}

Test(tokenizer_blob, a_damaged_one_is_refused_or_harmless) {
    Tokenizer *tokenizer = fixture_tokenizer(), *again;
    Buffer blob = {0};
    Error error = {0};
    Bytes tables = tokenizer_tables(tokenizer);
    buffer_append(&blob, tables.data, tables.length);
    tokenizer_close(tokenizer);
    for (size_t length = 0; length < blob.length; length += length < 512 ? 1 : 997) {
        cr_assert_eq(tokenizer_open_blob((Bytes){blob.data, length}, &again, &error), E_PACK,
                     "cut to %zu bytes", length);
    }
    const uint64_t seed = 41;
    size_t refused = 0;
    for (uint64_t round = 0; round < 4000; round++) {
        size_t at = prng_u64(seed, 0, round) % blob.length;
        uint8_t kept = blob.data[at];
        blob.data[at] ^= (uint8_t)(1 + prng_u64(seed, 1, round) % 255);
        Status status = tokenizer_open_blob((Bytes){blob.data, blob.length}, &again, &error);
        cr_assert(status == OK || status == E_PACK);
        refused += status == E_PACK;
        if (status == OK) {
            use(again);
            tokenizer_close(again);
        }
        blob.data[at] = kept;
    }
    cr_assert_gt(refused, 400, "%zu", refused);
    blob.data[8]++; // the version
    cr_assert_eq(tokenizer_open_blob((Bytes){blob.data, blob.length}, &again, &error), E_PACK);
    cr_assert_not_null(strstr(error.text, "version 3"));
    buffer_free(&blob);
}

// What the readers take for granted between two places of a blob, broken on purpose.
static void swap_added(uint8_t *blob, const BlobHeader *header) {
    TokenizerAdded *items = (void *)(blob + header->sections[SECTION_ADDED_RAW].offset);
    TokenizerAdded first = items[0];
    items[0] = items[1];
    items[1] = first;
}

static void repeat_added(uint8_t *blob, const BlobHeader *header) {
    TokenizerAdded *items = (void *)(blob + header->sections[SECTION_ADDED_RAW].offset);
    items[1] = items[0];
}

static void shorten_added(uint8_t *blob, const BlobHeader *header) {
    TokenizerAdded *items = (void *)(blob + header->sections[SECTION_ADDED_RAW].offset);
    items[header->sections[SECTION_ADDED_RAW].count - 1].length = 1; // "<" after longer ones
}

static void name_a_rule(uint8_t *blob, const BlobHeader *header) {
    TokenizerRule *rules = (void *)(blob + header->sections[SECTION_RULES].offset);
    rules[0].kind = 3;
}

static void split_twice(uint8_t *blob, const BlobHeader *header) {
    TokenizerRule *rules = (void *)(blob + header->sections[SECTION_RULES].offset);
    rules[0].kind = rules[1].kind = RULE_SPLIT;
}

static void set_a_flag(uint8_t *blob, const BlobHeader *header) {
    (void)header;
    ((BlobHeader *)(void *)blob)->flags |= 64;
}

static void lower_the_vocabulary(uint8_t *blob, const BlobHeader *header) {
    (void)header;
    ((BlobHeader *)(void *)blob)->vocab_size -= 1;
}

Test(tokenizer_blob, every_relation_between_its_parts_is_checked) {
    static const struct {
        void (*change)(uint8_t *blob, const BlobHeader *header);
        const char *what;
    } rows[] = {
        {swap_added, "order of the added tokens"},
        {repeat_added, "order of the added tokens"},
        {shorten_added, "order of the added tokens"},
        {name_a_rule, "rules"},
        {split_twice, "two splitters"},
        {set_a_flag, "sizes"},
        {lower_the_vocabulary, "section sizes"},
    };
    Tokenizer *tokenizer = fixture_tokenizer();
    Bytes tables = tokenizer_tables(tokenizer);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Buffer blob = {0};
        Tokenizer *again;
        Error error = {0};
        buffer_append(&blob, tables.data, tables.length);
        BlobHeader *header = (void *)blob.data;
        rows[i].change(blob.data, header);
        header->checksum = hash64((Bytes){blob.data, offsetof(BlobHeader, checksum)}, 0);
        cr_expect_eq(tokenizer_open_blob((Bytes){blob.data, blob.length}, &again, &error), E_PACK,
                     "%zu", i);
        cr_expect_not_null(strstr(error.text, rows[i].what), "%zu: %s", i, error.text);
        buffer_free(&blob);
    }
    tokenizer_close(tokenizer);
}
