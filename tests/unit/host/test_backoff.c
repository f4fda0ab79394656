// SPDX-License-Identifier: Apache-2.0
// The pauses before a lost server is asked again: they grow up to a limit, differ from client to
// client, and are the same for the same seed.
#include "host/asking/backoff.h"

#include <criterion/criterion.h>

Test(backoff, pauses_lie_in_the_upper_half_of_what_doubles_up_to_the_limit) {
    for (uint64_t seed = 0; seed < 200; seed++) {
        uint32_t most = BACKOFF_FIRST_MS;
        for (uint32_t attempt = 0; attempt < 12; attempt++) {
            uint32_t pause = backoff_ms(seed, attempt);
            cr_expect_leq(pause, most);
            cr_expect_geq(pause, most / 2);
            cr_expect_eq(pause, backoff_ms(seed, attempt));
            most = 2 * most < BACKOFF_MOST_MS ? 2 * most : BACKOFF_MOST_MS;
        }
    }
}

Test(backoff, clients_do_not_come_back_together) {
    uint32_t counts[BACKOFF_MOST_MS + 1] = {0};
    for (uint64_t seed = 0; seed < 1000; seed++) {
        uint32_t *count = &counts[backoff_ms(seed, 20)];
        cr_expect_leq(++*count, 10, "of 1000 clients at most ten in one millisecond");
    }
}

Test(backoff, a_long_wait_does_not_overflow) {
    cr_expect_geq(backoff_ms(1, UINT32_MAX), BACKOFF_MOST_MS / 2);
}
