// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

uint64_t hash64(Bytes bytes, uint64_t seed) {
    return XXH3_64bits_withSeed(bytes.data, bytes.length, seed);
}

Hash128 hash128(Bytes bytes) {
    return hash128_seeded(bytes, 0);
}

Hash128 hash128_seeded(Bytes bytes, uint64_t seed) {
    XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data, bytes.length, seed);
    return (Hash128){hash.high64, hash.low64};
}

void hash128_text(Hash128 hash, char out[33]) {
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, hash.high, hash.low);
}
