// SPDX-License-Identifier: Apache-2.0
#include "host/text/detok.h"

#include "base/text.h"

Detok detok_begin(const Tokenizer *tokenizer, bool skip_special) {
    return (Detok){.tokenizer = tokenizer, .skip_special = skip_special};
}

void detok_flush(Detok *detok, Buffer *out) {
    Bytes run = {detok->run.data, detok->run.length};
    if (text_is_utf8(run, NULL)) {
        buffer_append(out, run.data, run.length);
    } else {
        for (size_t i = 0; i < run.length; i++) {
            buffer_append_text(out, TEXT_REPLACEMENT);
        }
    }
    out->failed = out->failed || detok->run.failed;
    buffer_clear(&detok->run);
}

void detok_push(Detok *detok, int32_t id, Buffer *out) {
    bool outside = id < 0 || (uint32_t)id >= tokenizer_vocab_size(detok->tokenizer);
    if (outside || (detok->skip_special && tokenizer_is_special(detok->tokenizer, id))) {
        return; // as if it were not there: a run of bytes goes on after it
    }
    if (tokenizer_is_byte(detok->tokenizer, id)) {
        tokenizer_decode_piece(detok->tokenizer, id, &detok->run);
    } else {
        detok_flush(detok, out);
        tokenizer_decode_piece(detok->tokenizer, id, out);
    }
}

void detok_end(Detok *detok) {
    buffer_free(&detok->run);
}

void detok_all(const Tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
               Buffer *out) {
    Detok detok = detok_begin(tokenizer, skip_special);
    for (size_t i = 0; i < count; i++) {
        detok_push(&detok, ids[i], out);
    }
    detok_flush(&detok, out);
    detok_end(&detok);
}
