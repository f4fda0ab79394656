// SPDX-License-Identifier: Apache-2.0
#include "host/asking/backoff.h"

#include "base/num.h"
#include "base/prng.h"

uint32_t backoff_ms(uint64_t seed, uint32_t attempt) {
    uint64_t doublings = num_min(attempt, 16);
    uint64_t most = num_min((uint64_t)BACKOFF_FIRST_MS << doublings, BACKOFF_MOST_MS);
    uint64_t half = most / 2;
    return (uint32_t)(half + prng_u64(seed, 0, attempt) % (most - half + 1));
}
