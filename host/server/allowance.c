// SPDX-License-Identifier: Apache-2.0
#include "host/server/allowance.h"

void allowance_fill(Allowance *allowance, uint32_t per_minute, uint64_t now_ms) {
    *allowance = (Allowance){per_minute, now_ms};
}

bool allowance_take(Allowance *allowance, uint32_t per_minute, uint64_t tokens, uint64_t now_ms,
                    uint32_t *wait_ms) {
    *wait_ms = 0;
    if (per_minute == 0) {
        return true;
    }
    double per_ms = per_minute / 60000.0;
    double asked = (double)tokens;
    double full = per_minute > asked ? per_minute : asked;
    allowance->tokens += (double)(now_ms - allowance->filled_ms) * per_ms;
    allowance->tokens = allowance->tokens < full ? allowance->tokens : full;
    allowance->filled_ms = now_ms;
    if (allowance->tokens < asked) {
        double wait = (asked - allowance->tokens) / per_ms;
        *wait_ms = wait < UINT32_MAX - 1.0 ? (uint32_t)wait + 1 : UINT32_MAX;
        return false;
    }
    allowance->tokens -= asked;
    return true;
}
