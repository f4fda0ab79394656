// SPDX-License-Identifier: Apache-2.0
// Tokens per minute of one user: a bucket that fills evenly and holds one minute's worth. Asked
// before a picture is decoded.
#ifndef HOST_SERVER_ALLOWANCE_H
#define HOST_SERVER_ALLOWANCE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Allowance {
    double tokens; // the bucket holds
    uint64_t filled_ms;
} Allowance;

void allowance_fill(Allowance *allowance, uint32_t per_minute, uint64_t now_ms); // to the brim

// Takes `tokens`, or says how many milliseconds to wait for them. per_minute 0 allows everything;
// one request larger than the bucket may use a whole full one.
bool allowance_take(Allowance *allowance, uint32_t per_minute, uint64_t tokens, uint64_t now_ms,
                    uint32_t *wait_ms);

#endif
