// SPDX-License-Identifier: Apache-2.0
// Content hashes, by xxHash (XXH3). For identity and damage checks among friends, not against an
// attacker.
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/bytes.h"

typedef struct Hash128 {
    uint64_t high, low;
} Hash128;

uint64_t hash64(Bytes bytes, uint64_t seed);
Hash128 hash128(Bytes bytes);
void hash128_text(Hash128 hash, char out[33]); // 32 hexadecimal digits and a zero

#endif
