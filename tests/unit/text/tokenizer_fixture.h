// SPDX-License-Identifier: Apache-2.0
// A small tokenizer.json of Gemma's form, written by hand, and helpers that the text tests share.
#ifndef TESTS_UNIT_TEXT_TOKENIZER_FIXTURE_H
#define TESTS_UNIT_TEXT_TOKENIZER_FIXTURE_H

#include "host/text/tokenizer.h"

// Ids: 0..3 <pad> <eos> <bos> <unk>, 4 <|turn>, 5 <turn|>, 6.. pieces as listed in the .c file,
// then 256 byte tokens, then the added word "<b>" that is not special.
Tokenizer *fixture_tokenizer(void);
Bytes fixture_json(void);

// The pieces of `text`, joined by "|", in a buffer that the next call reuses.
const char *fixture_pieces(const Tokenizer *tokenizer, const char *text, unsigned flags);

#endif
