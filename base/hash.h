// SPDX-License-Identifier: Apache-2.0
// Content hashes, by xxHash (XXH3). For identity and damage checks among friends, not against an
// attacker. With a seed that he cannot know, he cannot construct two inputs of the same hash either
// (short ones: host/request/secret.h has a cryptographic hash for what may be long).
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/bytes.h"

typedef struct Hash128 {
    uint64_t high, low;
} Hash128;

uint64_t hash64(Bytes bytes, uint64_t seed);
Hash128 hash128(Bytes bytes);
Hash128 hash128_seeded(Bytes bytes, uint64_t seed);
void hash128_text(Hash128 hash, char out[33]); // 32 hexadecimal digits and a zero

#endif
