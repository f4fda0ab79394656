// SPDX-License-Identifier: Apache-2.0
// clock.h: time goes on, and a thread that waits uses no processor time.
#include "base/clock.h"

#include <criterion/criterion.h>
#include <unistd.h>

Test(clock, a_sleeping_thread_uses_time_but_no_processor) {
    uint64_t time = clock_ns(), used = clock_thread_ns();
    usleep(50 * 1000);
    cr_expect_geq(clock_ns() - time, 50u * 1000 * 1000);
    cr_expect_lt(clock_thread_ns() - used, 25u * 1000 * 1000);
}

Test(clock, a_working_thread_uses_processor_time) {
    uint64_t used = clock_thread_ns();
    while (clock_thread_ns() - used < 1000 * 1000) {
    }
    cr_expect_geq(clock_thread_ns() - used, 1000u * 1000);
}
