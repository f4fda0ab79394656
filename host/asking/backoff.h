// SPDX-License-Identifier: Apache-2.0
// The pauses between tries to reach a server that was lost: each may be twice as long as the one
// before, up to BACKOFF_MOST_MS, and is drawn from the upper half, so that clients that lost it
// together do not come back together. Pure: a seed has always the same pauses.
#ifndef HOST_ASKING_BACKOFF_H
#define HOST_ASKING_BACKOFF_H

#include <stdint.h>

enum { BACKOFF_FIRST_MS = 100, BACKOFF_MOST_MS = 5000 };

uint32_t backoff_ms(uint64_t seed, uint32_t attempt); // attempts count from 0

#endif
