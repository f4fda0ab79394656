// SPDX-License-Identifier: Apache-2.0
// The pool: every task once, all writes visible, any number of threads on this machine.
#include "cpu/pool.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static Pool *open_pool(uint32_t threads) {
    Pool *pool;
    Error error;
    cr_assert_eq(pool_open(threads, 0, &pool, &error), OK, "%s", error.text);
    cr_assert_eq(pool_thread_count(pool), threads);
    return pool;
}

typedef struct Counted {
    uint32_t threads;
    uint32_t *times; // [tasks], plain on purpose: TSan must see that nobody else writes it
    uint32_t *by;    // [tasks]
} Counted;

static void count_task(void *argument, uint32_t task, uint32_t worker) {
    Counted *counted = argument;
    counted->times[task]++;
    counted->by[task] = worker;
}

Test(pool, every_task_runs_exactly_once_on_a_worker_of_the_pool) {
    static const uint32_t threads[] = {1, 2, 4};
    static const uint32_t tasks[] = {0, 1, 2, 3, 100, 5000};
    for (size_t i = 0; i < 3; i++) {
        Pool *pool = open_pool(threads[i]);
        for (size_t j = 0; j < sizeof tasks / sizeof tasks[0]; j++) {
            Counted counted = {.threads = threads[i],
                               .times = calloc(tasks[j] + 1, sizeof(uint32_t)),
                               .by = calloc(tasks[j] + 1, sizeof(uint32_t))};
            pool_run(pool, tasks[j], count_task, &counted);
            for (uint32_t t = 0; t < tasks[j]; t++) {
                cr_assert_eq(counted.times[t], 1);
                cr_assert_lt(counted.by[t], threads[i]);
            }
            free(counted.times);
            free(counted.by);
        }
        pool_close(pool);
    }
}

Test(pool, many_short_runs_follow_each_other_and_see_the_one_before) {
    enum { TASKS = 7, RUNS = 20000 };
    static const uint32_t threads[] = {1, 2, 4};
    for (size_t i = 0; i < 3; i++) {
        Pool *pool = open_pool(threads[i]);
        uint32_t times[TASKS] = {0}, by[TASKS];
        Counted counted = {.threads = threads[i], .times = times, .by = by};
        for (int run = 0; run < RUNS; run++) {
            pool_run(pool, TASKS, count_task, &counted);
            cr_assert_eq(times[run % TASKS], (uint32_t)run + 1);
        }
        pool_close(pool);
    }
}

Test(pool, workers_that_fell_asleep_wake_up) {
    Pool *pool = open_pool(3);
    uint32_t times[64] = {0}, by[64];
    Counted counted = {.threads = 3, .times = times, .by = by};
    for (int run = 0; run < 5; run++) {
        usleep(20000); // much longer than a worker spins
        pool_run(pool, 64, count_task, &counted);
        for (uint32_t t = 0; t < 64; t++) {
            cr_assert_eq(times[t], (uint32_t)run + 1);
        }
    }
    pool_close(pool);
}

static void slow_task(void *argument, uint32_t task, uint32_t worker) {
    usleep(2000);
    count_task(argument, task, worker);
}

Test(pool, a_caller_that_is_done_early_waits_for_the_last_task) {
    Pool *pool = open_pool(2);
    uint32_t times[3] = {0}, by[3];
    Counted counted = {.threads = 2, .times = times, .by = by};
    for (int run = 0; run < 20; run++) {
        pool_run(pool, 3, slow_task, &counted);
        cr_assert_eq(times[0] + times[1] + times[2], 3 * ((uint32_t)run + 1));
    }
    cr_assert(by[0] != by[1] || by[1] != by[2], "slow tasks are shared by the threads");
    pool_close(pool);
}

Test(pool, opens_and_closes_without_work) {
    for (int i = 0; i < 50; i++) {
        pool_close(open_pool(4));
    }
    pool_close(NULL);
}
