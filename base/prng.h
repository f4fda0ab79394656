// SPDX-License-Identifier: Apache-2.0
// A counter-based random generator: the number depends on (seed, stream, counter) and on nothing
// else, so a request draws the same numbers alone and in a crowd, on the host and on the device.
// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011); the known
// answers of that paper are in tests/unit/base/test_prng.c.
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stdint.h>

typedef struct Philox4 {
    uint32_t word[4];
} Philox4;

static inline Philox4 philox4x32(const uint32_t counter[4], const uint32_t key[2]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (Philox4){{c0, c1, c2, c3}};
}

static inline uint64_t prng_u64(uint64_t seed, uint64_t stream, uint64_t counter) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t block[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), (uint32_t)stream,
                               (uint32_t)(stream >> 32)};
    Philox4 out = philox4x32(block, key);
    return (uint64_t)out.word[1] << 32 | out.word[0];
}

// Uniform in [0, 1) with 53 random bits.
static inline double prng_uniform(uint64_t seed, uint64_t stream, uint64_t counter) {
    return (double)(prng_u64(seed, stream, counter) >> 11) * 0x1.0p-53;
}

// Standard normal by Box-Muller from two uniforms of one Philox block.
// For tests.
float prng_normal(uint64_t seed, uint64_t stream, uint64_t counter);

#endif
