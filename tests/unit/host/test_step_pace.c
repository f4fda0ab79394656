// SPDX-License-Identifier: Apache-2.0
// The next plan waits for most of the step under way and never for longer than that step takes.
#include "host/step/step_pace.h"

#include "base/prng.h"

#include <criterion/criterion.h>

enum { MS = 1000000 };

Test(step_pace, nothing_waits_before_two_steps_were_seen) {
    StepPace pace = {0};
    cr_expect_eq(step_pace_wait_ns(&pace, 8), 0);
    step_pace_note(&pace, 8, 40 * MS);
    cr_expect_eq(step_pace_wait_ns(&pace, 8), 0);
    step_pace_note(&pace, 8, 40 * MS);
    cr_expect_eq(step_pace_wait_ns(&pace, 8), 30 * MS);
    cr_expect_eq(step_pace_wait_ns(&pace, 512), 0, "another size of step");
}

Test(step_pace, one_slow_step_holds_nothing_up) {
    StepPace pace = {0};
    for (int i = 0; i < 9; i++) {
        step_pace_note(&pace, 64, i == 4 ? 900 * MS : 8 * MS);
        cr_expect_leq(step_pace_wait_ns(&pace, 64), 6 * MS);
    }
    step_pace_note(&pace, 64, 4 * MS); // faster steps count at once
    cr_expect_eq(step_pace_wait_ns(&pace, 64), 3 * MS);
}

// Any step that reads its weights in some time and computes its rows in some more, whichever takes
// longer, at any number of rows of one power of two: the wait is never longer than three quarters
// of it, nor shorter than three eighths (but for rounding).
Test(step_pace, the_wait_ends_within_the_step_whatever_its_rows) {
    for (uint64_t round = 0; round < 2000; round++) {
        StepPace pace = {0};
        uint64_t weights_ns = 1 + prng_u64(1, round, 0) % (20 * MS),
                 row_ns = prng_u64(1, round, 1) % MS;
        uint32_t size = 1u << prng_u64(1, round, 2) % 12, rows = 0;
        uint64_t ns = 0;
        for (uint64_t i = 0; i < 3; i++) {
            rows = size + (uint32_t)(prng_u64(1, round, 3 + i) % size);
            ns = row_ns * rows > weights_ns ? row_ns * rows : weights_ns;
            if (i < 2) {
                step_pace_note(&pace, rows, ns);
            }
        }
        uint64_t wait_ns = step_pace_wait_ns(&pace, rows);
        cr_expect_leq(wait_ns, ns / 4 * 3 + 3, "round %llu: %llu of %llu",
                      (unsigned long long)round, (unsigned long long)wait_ns,
                      (unsigned long long)ns);
        cr_expect_geq(wait_ns + rows + 3, ns * 3 / 8, "round %llu: %llu of %llu",
                      (unsigned long long)round, (unsigned long long)wait_ns,
                      (unsigned long long)ns);
    }
}
