// SPDX-License-Identifier: Apache-2.0
// Text out of tokens, one token at a time. What all pushes and the final flush give together equals
// the `tokenizers` package's decode of the whole list; what each gives is whole UTF-8.
//
// Byte tokens wait until the run of them ends, because decode judges a run as a whole: if its bytes
// are UTF-8 they are the text, otherwise every one of them becomes U+FFFD.
#ifndef HOST_TEXT_DETOK_H
#define HOST_TEXT_DETOK_H

#include "host/text/tokenizer.h"

typedef struct Detok {
    const Tokenizer *tokenizer; // borrowed
    bool skip_special;          // control tokens give no text
    Buffer run;                 // bytes of the run of byte tokens so far
} Detok;

Detok detok_begin(const Tokenizer *tokenizer, bool skip_special);

// Appends to `out` the text that token `id` completes, often its own, sometimes nothing. Ids
// outside the vocabulary give nothing. Lack of memory shows in out->failed.
void detok_push(Detok *detok, int32_t id, Buffer *out);

// Appends what still waits. The Detok is then as after detok_begin.
void detok_flush(Detok *detok, Buffer *out);

void detok_end(Detok *detok); // frees

// The whole at once: appends the text of `count` tokens.
void detok_all(const Tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
               Buffer *out);

#endif
