// SPDX-License-Identifier: Apache-2.0
// niceness.h: a thread stands back alone, and the thread that started it does not.
#include "base/niceness.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdint.h>

enum { LAST = 19 }; // of Linux: sched(7)

static void *stand_back(void *steps) {
    niceness_add((int)(intptr_t)steps);
    return (void *)(intptr_t)niceness_get();
}

static int niceness_after(int steps) {
    pthread_t thread;
    void *result;
    cr_assert_eq(pthread_create(&thread, NULL, stand_back, (void *)(intptr_t)steps), 0);
    cr_assert_eq(pthread_join(thread, &result), 0);
    return (int)(intptr_t)result;
}

Test(niceness, is_of_one_thread) {
    int before = niceness_get();
    cr_expect_eq(niceness_after(3), before + 3 < LAST ? before + 3 : LAST);
    cr_expect_eq(niceness_after(0), before);
    cr_expect_eq(niceness_get(), before);
}

Test(niceness, ends_at_the_last_step) {
    cr_expect_eq(niceness_after(100), LAST);
}
