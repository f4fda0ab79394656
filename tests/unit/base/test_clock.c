// SPDX-License-Identifier: Apache-2.0
// clock.h: time goes on, and a thread that waits uses no processor time.
#include "base/clock.h"

#include <criterion/criterion.h>
#include <pthread.h>

enum { WORK_NS = 50 * 1000 * 1000 };

static void *work(void *argument) {
    uint64_t used = clock_thread_ns();
    while (clock_thread_ns() - used < WORK_NS) {
    }
    return argument;
}

Test(clock, a_waiting_thread_uses_time_but_no_processor) {
    uint64_t time = clock_ns(), used = clock_thread_ns();
    pthread_t other;
    cr_assert_eq(pthread_create(&other, NULL, work, NULL), 0);
    cr_assert_eq(pthread_join(other, NULL), 0);
    cr_expect_geq(clock_ns() - time, (uint64_t)WORK_NS);
    cr_expect_lt(clock_thread_ns() - used, (uint64_t)WORK_NS / 2);
}

Test(clock, a_working_thread_uses_processor_time) {
    uint64_t used = clock_thread_ns();
    work(NULL);
    cr_expect_geq(clock_thread_ns() - used, (uint64_t)WORK_NS);
}
