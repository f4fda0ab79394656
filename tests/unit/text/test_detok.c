// SPDX-License-Identifier: Apache-2.0
// Streaming: every push gives whole UTF-8, and all pushes together give the whole text.
#include "host/text/detok.h"
#include "tokenizer_fixture.h"

#include <criterion/criterion.h>

enum { FIRST_BYTE = 18 }; // id of <0x00> in the fixture

static const char *push(Detok *detok, int32_t id) {
    static Buffer out;
    buffer_clear(&out);
    buffer_append_text(&out, "");
    detok_push(detok, id, &out);
    return (const char *)out.data;
}

Test(detok, bytes_wait_for_the_end_of_their_run) {
    Tokenizer *tokenizer = fixture_tokenizer();
    Detok detok = detok_begin(tokenizer, true);
    cr_assert_str_eq(push(&detok, 13), " a"); // the mark is a space
    cr_assert_str_eq(push(&detok, FIRST_BYTE + 0xc3), "");
    cr_assert_str_eq(push(&detok, FIRST_BYTE + 0xa8), "");
    cr_assert_str_eq(push(&detok, 7), "\xc3\xa8"
                                      "b");
    cr_assert_str_eq(push(&detok, FIRST_BYTE + 0xc3), "");
    cr_assert_str_eq(push(&detok, 2), "", "<bos> is skipped and does not end the run");
    cr_assert_str_eq(push(&detok, FIRST_BYTE + 0xa8), "");
    Buffer rest = {0};
    detok_flush(&detok, &rest);
    cr_assert_str_eq((char *)rest.data, "\xc3\xa8");
    buffer_free(&rest);
    detok_end(&detok);
    tokenizer_close(tokenizer);
}

Test(detok, wrong_bytes_are_one_replacement_each) {
    Tokenizer *tokenizer = fixture_tokenizer();
    const int32_t ids[] = {6, FIRST_BYTE + 0xc3, FIRST_BYTE + 0xa8, FIRST_BYTE + 0xff, 7};
    Buffer out = {0};
    detok_all(tokenizer, ids, 5, true, &out);
    cr_assert_str_eq((char *)out.data, "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                                       "b");
    buffer_free(&out);
    tokenizer_close(tokenizer);
}

Test(detok, shows_control_tokens_only_when_asked) {
    Tokenizer *tokenizer = fixture_tokenizer();
    const int32_t ids[] = {2, 4, 6, 5, -1, 100000};
    Buffer out = {0};
    detok_all(tokenizer, ids, 6, false, &out);
    cr_assert_str_eq((char *)out.data, "<bos><|turn>a<turn|>");
    buffer_clear(&out);
    detok_all(tokenizer, ids, 6, true, &out);
    cr_assert_str_eq((char *)out.data, "a");
    buffer_free(&out);
    tokenizer_close(tokenizer);
}
