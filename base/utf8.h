// SPDX-License-Identifier: Apache-2.0
// Strict UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF.
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/bytes.h"

// Decodes the code point that starts at bytes[at]. Returns its length in bytes (1..4), or 0 when
// the bytes there are not a whole, valid code point.
size_t utf8_decode(Bytes bytes, size_t at, uint32_t *code);

// The same for the code point that ends before bytes[at].
size_t utf8_decode_before(Bytes bytes, size_t at, uint32_t *code);

// Writes the UTF-8 form of `code` (a valid scalar value) and returns its length.
size_t utf8_encode(uint32_t code, uint8_t out[4]);

#endif
