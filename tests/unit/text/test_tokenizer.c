// SPDX-License-Identifier: Apache-2.0
// What the tokenizer promises, on a vocabulary small enough to read. Equality with the `tokenizers`
// package on thousands of texts is in test_tokenizer_golden.c.
#include "base/file.h"
#include "tokenizer_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define MARK "\xe2\x96\x81"

static void expect(const char *text, unsigned flags, const char *pieces) {
    Tokenizer *tokenizer = fixture_tokenizer();
    cr_assert_str_eq(fixture_pieces(tokenizer, text, flags), pieces, "of \"%s\": %s", text,
                     fixture_pieces(tokenizer, text, flags));
    tokenizer_close(tokenizer);
}

Test(tokenizer, joins_by_rank_and_then_from_the_left) {
    expect("abc", 0, "abc");
    expect("bcab", 0, "bc|ab");
    expect("abcbc", 0, "abc|bc");
    expect("aab", 0, "a|ab");
    expect("\n\n\n", 0, "\n\n|\n");
}

Test(tokenizer, writes_spaces_as_marks) {
    expect(" a  a", 0, MARK "a|" MARK "|" MARK "a");
    expect("   ", 0, MARK MARK "|" MARK);
    expect("", 0, "");
}

Test(tokenizer, spells_unknown_characters_in_bytes) {
    expect("\xc3\xa9", 0, "\xc3\xa9");
    expect("\xc3\xa8", 0, "<0xC3>|<0xA8>");
    expect("a\xf0\x9f\xa6\x8a", 0, "a|<0xF0>|<0x9F>|<0xA6>|<0x8A>");
}

Test(tokenizer, keeps_bytes_that_are_not_utf8) {
    expect("a\xff"
           "b",
           0, "a|<0xFF>|b");
    expect("\xe2\x96", 0, "<0xE2>|<0x96>");            // a mark cut short
    expect("\xc0\xaf", 0, "<0xC0>|<0xAF>");            // overlong
    expect("\xed\xa0\x80", 0, "<0xED>|<0xA0>|<0x80>"); // a surrogate
}

Test(tokenizer, plain_text_cannot_forge_control_tokens) {
    Tokenizer *tokenizer = fixture_tokenizer();
    TokenizerScratch scratch = {0};
    TokenList tokens = {0};
    const char *text = "<|turn>a<turn|> <bos>";
    cr_assert_eq(
        tokenizer_encode(tokenizer, bytes_of_text(text), TOKENIZER_PLAIN, &scratch, &tokens, NULL),
        OK);
    for (size_t i = 0; i < tokens.count; i++) {
        cr_assert_not(tokenizer_is_special(tokenizer, tokens.ids[i]));
    }
    token_list_free(&tokens);
    tokenizer_scratch_free(&scratch);
    tokenizer_close(tokenizer);
    expect("<|turn>a<turn|>", TOKENIZER_PARSE_SPECIAL, "<|turn>|a|<turn|>");
    expect("<b>a", TOKENIZER_PLAIN, "<b>|a");
}

Test(tokenizer, comes_back_from_its_flat_form) {
    Tokenizer *tokenizer = fixture_tokenizer(), *again;
    Buffer blob = {0};
    Error error = {0};
    Bytes tables = tokenizer_tables(tokenizer);
    buffer_append(&blob, tables.data, tables.length);
    cr_assert_eq(tokenizer_open_blob((Bytes){blob.data, blob.length}, &again, &error), OK, "%s",
                 error.text);
    tokenizer_close(tokenizer);
    cr_assert_str_eq(fixture_pieces(again, "<bos>ab c\n\n", TOKENIZER_PARSE_SPECIAL),
                     "<bos>|ab|" MARK "|c|\n\n");
    cr_assert_eq(tokenizer_find(again, "abc"), 12);
    cr_assert_eq(tokenizer_find(again, "nothing"), -1);
    cr_assert_eq(tokenizer_vocab_size(again), 18 + 256 + 1);
    tokenizer_close(again);
    buffer_free(&blob);
}
