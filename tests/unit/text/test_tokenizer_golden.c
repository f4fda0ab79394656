// SPDX-License-Identifier: Apache-2.0
// Token for token as the `tokenizers` package: 10,000 texts with a vocabulary of 2,320, and every
// tenth of them with eight small vocabularies that use one option each. Every text is encoded with
// control tokens parsed, encoded as plain text, and decoded again.
#include "base/file.h"
#include "golden.h"
#include "host/text/detok.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct Vocabulary {
    char name[32];
    unsigned stride; // every how many texts are in its .hash file
} Vocabulary;

typedef struct Fixture {
    Tokenizer *tokenizer;
    TokenizerScratch scratch;
    TokenList tokens;
    Buffer text;
} Fixture;

static Fixture fixture_open(const char *name) {
    Fixture fixture = {0};
    char path[512];
    Error error = {0};
    snprintf(path, sizeof path, GOLDEN("%s.json"), name);
    cr_assert_eq(tokenizer_open_json(path, &fixture.tokenizer, &error), OK, "%s", error.text);
    return fixture;
}

static void fixture_close(Fixture *fixture) {
    tokenizer_close(fixture->tokenizer);
    tokenizer_scratch_free(&fixture->scratch);
    token_list_free(&fixture->tokens);
    buffer_free(&fixture->text);
}

static uint32_t encoded_hash(Fixture *fixture, Bytes text, unsigned flags) {
    fixture->tokens.count = 0;
    cr_assert_eq(tokenizer_encode(fixture->tokenizer, text, flags, &fixture->scratch,
                                  &fixture->tokens, NULL),
                 OK);
    return golden_hash(fixture->tokens.ids, fixture->tokens.count * sizeof(int32_t));
}

static uint32_t decoded_hash(Fixture *fixture) {
    buffer_clear(&fixture->text);
    detok_all(fixture->tokenizer, fixture->tokens.ids, fixture->tokens.count, false,
              &fixture->text);
    return golden_hash(fixture->text.data, fixture->text.length);
}

static void read_whole(const char *path, Buffer *out) {
    Error error = {0};
    cr_assert_eq(file_read(path, 8 << 20, out, &error), OK, "%s", error.text);
}

ParameterizedTestParameters(tokenizer_golden, equals_the_package) {
    static Vocabulary all[] = {
        {"small", 1},           {"variant_whole", 10},          {"variant_unknown_fused", 10},
        {"variant_spaces", 10}, {"variant_unknown_single", 10}, {"variant_unknown_dropped", 10},
        {"variant_strip", 10},  {"variant_two_steps", 10},      {"variant_ignore_merges", 10},
    };
    return cr_make_param_array(Vocabulary, all, sizeof all / sizeof *all);
}

ParameterizedTest(Vocabulary *vocabulary, tokenizer_golden, equals_the_package) {
    Fixture fixture = fixture_open(vocabulary->name);
    char path[512];
    Buffer texts = {0}, hashes = {0};
    read_whole(GOLDEN("texts.bin"), &texts);
    snprintf(path, sizeof path, GOLDEN("%s.hash"), vocabulary->name);
    read_whole(path, &hashes);
    Bytes all = {texts.data, texts.length}, want = {hashes.data, hashes.length};
    size_t row = 0, index = 0, compared = 0;
    for (size_t at = 0; at < all.length; index++) {
        Bytes text = {all.data + at + 4, golden_u32(all, at)};
        at += 4 + text.length;
        if (index % vocabulary->stride != 0) {
            continue;
        }
        uint32_t parsed = golden_u32(want, row), plain = golden_u32(want, row + 4);
        if (plain != 0) {
            cr_assert_eq(encoded_hash(&fixture, text, TOKENIZER_PLAIN), plain,
                         "text %zu as plain text with %s", index, vocabulary->name);
        }
        if (parsed != 0) {
            cr_assert_eq(encoded_hash(&fixture, text, TOKENIZER_PARSE_SPECIAL), parsed,
                         "text %zu with %s", index, vocabulary->name);
            cr_assert_eq(decoded_hash(&fixture), golden_u32(want, row + 8),
                         "text %zu decoded with %s", index, vocabulary->name);
        }
        compared += (plain != 0) + (parsed != 0);
        row += 12;
    }
    cr_assert_eq(row, want.length, "every row of the fixture is used");
    cr_assert_gt(compared, row / 12 * 2 * 9 / 10, "only a few texts are not compared");
    buffer_free(&texts);
    buffer_free(&hashes);
    fixture_close(&fixture);
}

// As plain text no text of the fixture, control tokens written out or not, gives a control token.
Test(tokenizer_golden, plain_text_never_gives_a_control_token) {
    static const char *const names[] = {"small", "variant_ignore_merges", "variant_strip"};
    Buffer texts = {0};
    read_whole(GOLDEN("texts.bin"), &texts);
    Bytes all = {texts.data, texts.length};
    for (size_t i = 0; i < 3; i++) {
        Fixture fixture = fixture_open(names[i]);
        for (size_t at = 0; at < all.length;) {
            Bytes text = {all.data + at + 4, golden_u32(all, at)};
            at += 4 + text.length;
            encoded_hash(&fixture, text, TOKENIZER_PLAIN);
            for (size_t k = 0; k < fixture.tokens.count; k++) {
                cr_assert_not(tokenizer_is_special(fixture.tokenizer, fixture.tokens.ids[k]),
                              "\"%.*s\" with %s", (int)text.length, text.data, names[i]);
            }
        }
        fixture_close(&fixture);
    }
    buffer_free(&texts);
}

// All texts of the fixture in one: long chunks (the heap) agree with short ones (the scan), and the
// cache, by now full of other words, changes nothing.
Test(tokenizer_golden, a_long_text_is_its_lines_one_after_another) {
    Fixture fixture = fixture_open("small"), whole = fixture_open("variant_whole");
    Buffer texts = {0};
    TokenList parts = {0};
    read_whole(GOLDEN("texts.bin"), &texts);
    Bytes all = {texts.data, texts.length};
    // U+0001 has no piece, so it is a byte token, which no merge joins to anything.
    Buffer joined = {0};
    for (size_t at = 0; at < all.length;) {
        Bytes text = {all.data + at + 4, golden_u32(all, at)};
        at += 4 + text.length;
        buffer_append(&joined, text.data, text.length);
        buffer_append(&joined, "\x01", 1);
        encoded_hash(&fixture, text, TOKENIZER_PARSE_SPECIAL);
        token_list_append(&parts, fixture.tokens.ids, fixture.tokens.count);
        token_list_push(&parts, tokenizer_find(fixture.tokenizer, "<0x01>"));
    }
    encoded_hash(&fixture, (Bytes){joined.data, joined.length}, TOKENIZER_PARSE_SPECIAL);
    cr_assert_eq(fixture.tokens.count, parts.count);
    cr_assert_eq(memcmp(fixture.tokens.ids, parts.ids, parts.count * sizeof(int32_t)), 0);
    // The vocabulary without cuts merges the 560 KB as one chunk.
    encoded_hash(&whole, (Bytes){joined.data, joined.length}, TOKENIZER_PARSE_SPECIAL);
    TokenList at_once = whole.tokens;
    whole.tokens = (TokenList){0};
    size_t seen = 0;
    for (size_t at = 0; at < all.length;) {
        Bytes text = {all.data + at + 4, golden_u32(all, at)};
        at += 4 + text.length;
        encoded_hash(&whole, text, TOKENIZER_PARSE_SPECIAL);
        cr_assert_leq(seen + whole.tokens.count + 1, at_once.count);
        cr_assert_eq(
            memcmp(at_once.ids + seen, whole.tokens.ids, whole.tokens.count * sizeof(int32_t)), 0);
        seen += whole.tokens.count + 1;
    }
    cr_assert_eq(seen, at_once.count);
    token_list_free(&at_once);
    token_list_free(&parts);
    buffer_free(&joined);
    buffer_free(&texts);
    fixture_close(&fixture);
    fixture_close(&whole);
}

// Token lists no encoder would make: cut and wrong byte runs, ids outside the vocabulary.
Test(detok_golden, equals_decode_of_the_package) {
    Fixture fixture = fixture_open("small");
    Buffer file = {0};
    read_whole(GOLDEN("decode.bin"), &file);
    Bytes all = {file.data, file.length};
    size_t lists = 0;
    for (size_t at = 0; at < all.length; lists++) {
        size_t count = golden_u16(all, at), first = at + 2;
        at = first + count * 2;
        for (int skip = 0; skip < 2; skip++) {
            Bytes want = {all.data + at + 2, golden_u16(all, at)};
            at += 2 + want.length;
            buffer_clear(&fixture.text);
            Detok detok = detok_begin(fixture.tokenizer, skip);
            for (size_t i = 0; i < count; i++) {
                detok_push(&detok, golden_u16(all, first + i * 2), &fixture.text);
            }
            detok_flush(&detok, &fixture.text);
            detok_end(&detok);
            cr_assert(bytes_equal((Bytes){fixture.text.data, fixture.text.length}, want),
                      "list %zu, skip_special %d: \"%.*s\", expected \"%.*s\"", lists, skip,
                      (int)fixture.text.length, fixture.text.data, (int)want.length, want.data);
        }
    }
    cr_assert_eq(lists, 1500);
    buffer_free(&file);
    fixture_close(&fixture);
}
