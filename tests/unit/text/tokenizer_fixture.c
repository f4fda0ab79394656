// SPDX-License-Identifier: Apache-2.0
#include "tokenizer_fixture.h"

#include <criterion/criterion.h>

static const char *const pieces[] = {
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<|turn>",
    "<turn|>",
    "a",
    "b",
    "c",
    "\xe2\x96\x81",
    "ab",
    "bc",
    "abc",
    "\xe2\x96\x81"
    "a",
    "\xe2\x96\x81\xe2\x96\x81",
    "\\n",
    "\\n\\n",
    "\xc3\xa9",
};
static const char *const merges[] = {
    "a b", "b c", "ab c", "\xe2\x96\x81 a", "\xe2\x96\x81 \xe2\x96\x81", "\\n \\n",
};

Bytes fixture_json(void) {
    static Buffer json;
    if (json.length > 0) {
        return (Bytes){json.data, json.length};
    }
    unsigned id = 0;
    buffer_printf(&json, "{\"added_tokens\": [");
    for (unsigned i = 0; i < 6; i++) {
        buffer_printf(&json, "{\"id\": %u, \"content\": \"%s\", \"special\": true}, ", i,
                      pieces[i]);
    }
    buffer_printf(&json,
                  "{\"id\": %zu, \"content\": \"<b>\", \"special\": false, \"normalized\": false}]",
                  sizeof pieces / sizeof *pieces + 256);
    buffer_printf(&json,
                  ", \"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, "
                  "\"content\": \"\xe2\x96\x81\"}, \"pre_tokenizer\": null, \"decoder\": "
                  "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", "
                  "\"pattern\": {\"String\": \"\xe2\x96\x81\"}, \"content\": \" \"}, "
                  "{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}]}, ");
    buffer_printf(&json,
                  "\"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\", \"fuse_unk\": true, "
                  "\"byte_fallback\": true, \"vocab\": {");
    for (; id < sizeof pieces / sizeof *pieces; id++) {
        buffer_printf(&json, "\"%s\": %u, ", pieces[id], id);
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        buffer_printf(&json, "%s\"<0x%02X>\": %u", byte > 0 ? ", " : "", byte, id + byte);
    }
    buffer_printf(&json, "}, \"merges\": [");
    for (unsigned i = 0; i < sizeof merges / sizeof *merges; i++) {
        buffer_printf(&json, "%s\"%s\"", i > 0 ? ", " : "", merges[i]);
    }
    buffer_printf(&json, "]}}");
    return (Bytes){json.data, json.length};
}

Tokenizer *fixture_tokenizer(void) {
    Tokenizer *tokenizer;
    Error error = {0};
    cr_assert_eq(tokenizer_open_json_bytes(fixture_json(), "fixture", &tokenizer, &error), OK, "%s",
                 error.text);
    return tokenizer;
}

const char *fixture_pieces(const Tokenizer *tokenizer, const char *text, unsigned flags) {
    static Buffer joined;
    TokenizerScratch scratch = {0};
    TokenList tokens = {0};
    Error error = {0};
    cr_assert_eq(tokenizer_encode(tokenizer, bytes_of_text(text), flags, &scratch, &tokens, &error),
                 OK, "%s", error.text);
    buffer_clear(&joined);
    buffer_append_text(&joined, "");
    for (size_t i = 0; i < tokens.count; i++) {
        Bytes piece = tokenizer_piece(tokenizer, tokens.ids[i]);
        buffer_append_text(&joined, i > 0 ? "|" : "");
        buffer_append(&joined, piece.data, piece.length);
    }
    token_list_free(&tokens);
    tokenizer_scratch_free(&scratch);
    return joined.length > 0 ? (const char *)joined.data : "";
}
