// SPDX-License-Identifier: Apache-2.0
// Tokenizers and texts from anybody. The first byte of the input chooses:
//   'J'  a tokenizer.json, a zero byte, a text to encode with it
//   'B'  changes to a packed tokenizer: pairs of 2-byte offset and value; the header's checksum is
//        set right again, so that the checks behind it are reached
//   else a text for a fixed tokenizer
// Besides not crashing: a text encoded with safe cuts gives the tokens of the text merged whole, no
// plain text gives a control token, and decoding gives the text back.
#include "base/check.h"
#include "host/text/detok.h"
#include "host/text/tokenizer_tables.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static TokenizerScratch scratch, scratch_whole;

// Letters a to d, the space mark, newlines, every byte; merges that compete and one over a space.
static Buffer make_json(void) {
    static const char *const pieces =
        "\"<bos>\":0,\"<unk>\":1,\"a\":2,\"b\":3,\"c\":4,\"d\":5,\"\xe2\x96\x81\":6,\"\\n\":7,"
        "\"ab\":8,\"bc\":9,\"abc\":10,\"cd\":11,\"\xe2\x96\x81"
        "a\":12,\"\xe2\x96\x81\xe2\x96\x81\":13,"
        "\"\\n\\n\":14,\"aa\":15,\"aaaa\":16,\"d\xe2\x96\x81\":17,\"\xc3\xa9\":18,\"b\xc3\xa9\":19";
    static const char *const merges =
        "\"b c\",\"a b\",\"ab c\",\"a bc\",\"c d\",\"\xe2\x96\x81 a\",\"\xe2\x96\x81 "
        "\xe2\x96\x81\","
        "\"\\n \\n\",\"a a\",\"aa aa\",\"d \xe2\x96\x81\",\"b \xc3\xa9\"";
    Buffer json = {0};
    buffer_printf(&json,
                  "{\"added_tokens\":[{\"id\":0,\"content\":\"<bos>\",\"special\":true},"
                  "{\"id\":276,\"content\":\"<b>\",\"normalized\":false}],\"normalizer\":{\"type\":"
                  "\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"},"
                  "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\","
                  "\"pattern\":{\"String\":\"\xe2\x96\x81\"},\"content\":\" \"},{\"type\":"
                  "\"ByteFallback\"},{\"type\":\"Fuse\"}]},\"model\":{\"unk_token\":\"<unk>\","
                  "\"byte_fallback\":true,\"merges\":[%s],\"vocab\":{%s",
                  merges, pieces);
    for (unsigned byte = 0; byte < 256; byte++) {
        buffer_printf(&json, ",\"<0x%02X>\":%u", byte, 20 + byte);
    }
    buffer_append_text(&json, "}}}");
    return json;
}

// The blob needs 8-byte alignment, which malloc gives.
static void seal(Buffer *blob) {
    BlobHeader *header = (BlobHeader *)blob->data;
    header->checksum = hash64((Bytes){blob->data, offsetof(BlobHeader, checksum)}, 0);
}

typedef struct Fixed {
    Tokenizer *cut, *whole; // the same vocabulary, with and without safe cuts
    Buffer blob, blob_whole;
} Fixed;

static const Fixed *fixed(void) {
    static Fixed fixed;
    if (fixed.cut == NULL) {
        Buffer json = make_json();
        Error error;
        REQUIRE_MESSAGE(tokenizer_open_json_bytes((Bytes){json.data, json.length}, "fixed",
                                                  &fixed.cut, &error) == OK,
                        "%s", error.text);
        buffer_free(&json);
        Bytes tables = tokenizer_tables(fixed.cut);
        buffer_append(&fixed.blob, tables.data, tables.length);
        buffer_append(&fixed.blob_whole, tables.data, tables.length);
        REQUIRE(!fixed.blob.failed && !fixed.blob_whole.failed);
        BlobHeader *header = (BlobHeader *)fixed.blob_whole.data;
        REQUIRE(header->flags & TOKENIZER_SPLITTABLE);
        header->flags &= ~(uint32_t)TOKENIZER_SPLITTABLE;
        seal(&fixed.blob_whole);
        REQUIRE(tokenizer_open_blob((Bytes){fixed.blob_whole.data, fixed.blob_whole.length},
                                    &fixed.whole, NULL) == OK);
    }
    return &fixed;
}

static void encode_anyhow(const Tokenizer *tokenizer, Bytes text) {
    TokenList tokens = {0};
    Buffer back = {0};
    for (unsigned flags = TOKENIZER_PLAIN; flags <= TOKENIZER_PARSE_SPECIAL; flags++) {
        tokens.count = 0;
        REQUIRE(tokenizer_encode(tokenizer, text, flags, &scratch, &tokens, NULL) == OK);
        for (size_t i = 0; i < tokens.count; i++) {
            REQUIRE((uint32_t)tokens.ids[i] < tokenizer_vocab_size(tokenizer));
        }
        buffer_clear(&back);
        detok_all(tokenizer, tokens.ids, tokens.count, true, &back);
    }
    token_list_free(&tokens);
    buffer_free(&back);
}

static void try_json(Bytes input) {
    const uint8_t *zero = input.length > 0 ? memchr(input.data, 0, input.length) : NULL;
    size_t length = zero != NULL ? (size_t)(zero - input.data) : input.length;
    Tokenizer *tokenizer;
    Error error = {0};
    if (tokenizer_open_json_bytes((Bytes){input.data, length}, "fuzz", &tokenizer, &error) != OK) {
        REQUIRE(error.status != OK && error.text[0] != '\0' && tokenizer == NULL);
        return;
    }
    encode_anyhow(tokenizer, (Bytes){input.data + length, input.length - length});
    tokenizer_close(tokenizer);
}

static void try_blob(Bytes input) {
    // Of its exact size, so that a byte read behind it is seen.
    size_t length = fixed()->blob.length;
    Buffer blob = {.data = malloc(length), .length = length, .capacity = length};
    Tokenizer *tokenizer;
    REQUIRE(blob.data != NULL);
    memcpy(blob.data, fixed()->blob.data, blob.length);
    for (size_t i = 0; i + 2 < input.length; i += 3) {
        blob.data[(input.data[i] | (size_t)input.data[i + 1] << 8) % blob.length] =
            input.data[i + 2];
    }
    seal(&blob);
    if (tokenizer_open_blob((Bytes){blob.data, blob.length}, &tokenizer, NULL) == OK) {
        encode_anyhow(tokenizer,
                      bytes_of_text("<bos>abcd  a\xc3\xa9\xff\n\n\n<b> daaaa \xe4\xb8\xad"));
        tokenizer_close(tokenizer);
    }
    buffer_free(&blob);
}

// Whether what is decoded must be the text again: the text has no mark of its own, and is UTF-8 or
// at least no byte of it was replaced.
static bool is_faithful(Bytes text, Bytes back) {
    return memmem(text.data, text.length, TOKENIZER_MARK_TEXT, 3) == NULL &&
           memmem(back.data, back.length, "\xef\xbf\xbd", 3) == NULL;
}

static void try_text(Bytes text) {
    TokenList cut = {0}, whole = {0};
    Buffer back = {0};
    for (unsigned flags = TOKENIZER_PLAIN; flags <= TOKENIZER_PARSE_SPECIAL; flags++) {
        cut.count = whole.count = 0;
        REQUIRE(tokenizer_encode(fixed()->cut, text, flags, &scratch, &cut, NULL) == OK);
        REQUIRE(tokenizer_encode(fixed()->whole, text, flags, &scratch_whole, &whole, NULL) == OK);
        REQUIRE(cut.count == whole.count);
        for (size_t i = 0; i < cut.count; i++) {
            REQUIRE(cut.ids[i] == whole.ids[i]);
            REQUIRE(flags != TOKENIZER_PLAIN || !tokenizer_is_special(fixed()->cut, cut.ids[i]));
        }
        buffer_clear(&back);
        detok_all(fixed()->cut, cut.ids, cut.count, false, &back);
        Bytes decoded = {back.data, back.length};
        REQUIRE(text.length == 0 || !is_faithful(text, decoded) || bytes_equal(text, decoded));
    }
    token_list_free(&cut);
    token_list_free(&whole);
    buffer_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Bytes rest = {data + (size > 0), size - (size > 0)};
    if (size > 0 && data[0] == 'J') {
        try_json(rest);
    } else if (size > 0 && data[0] == 'B') {
        try_blob(rest);
    } else {
        try_text(rest);
    }
    return 0;
}
