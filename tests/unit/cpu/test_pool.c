// SPDX-License-Identifier: Apache-2.0
// The pool: every task once, all writes visible, any number of threads on this machine.
#include "cpu/pool.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
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

// Does the kernel say that this thread sleeps?
static bool thread_sleeps(const char *tid) {
    char path[300], text[512] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/stat", tid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return false;
    }
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    const char *after_name = strrchr(text, ')');
    return after_name != NULL && strncmp(after_name, ") S", 3) == 0;
}

static bool all_others_sleep(void) {
    char self[16];
    snprintf(self, sizeof self, "%d", (int)gettid());
    DIR *tasks = opendir("/proc/self/task");
    bool sleep = true;
    for (const struct dirent *task; (task = readdir(tasks)) != NULL;) {
        bool other = task->d_name[0] != '.' && strcmp(task->d_name, self) != 0;
        sleep = sleep && (!other || thread_sleeps(task->d_name));
    }
    closedir(tasks);
    return sleep;
}

Test(pool, workers_that_fell_asleep_wake_up) {
    Pool *pool = open_pool(3);
    uint32_t times[64] = {0}, by[64];
    Counted counted = {.threads = 3, .times = times, .by = by};
    for (int run = 0; run < 5; run++) {
        while (!all_others_sleep()) {
            sched_yield();
        }
        pool_run(pool, 64, count_task, &counted);
        for (uint32_t t = 0; t < 64; t++) {
            cr_assert_eq(times[t], (uint32_t)run + 1);
        }
    }
    pool_close(pool);
}

// Two tasks of which neither ends before both have begun; the caller's ends first.
typedef struct Pair {
    Counted counted;
    char caller[16];
    atomic_uint begun;
} Pair;

static void pair_task(void *argument, uint32_t task, uint32_t worker) {
    Pair *pair = argument;
    atomic_fetch_add(&pair->begun, 1);
    while (atomic_load(&pair->begun) < 2 || (worker != 0 && !thread_sleeps(pair->caller))) {
        sched_yield();
    }
    count_task(&pair->counted, task, worker);
}

Test(pool, two_threads_work_at_once_and_a_caller_that_is_done_early_waits_for_the_last_task) {
    Pool *pool = open_pool(2);
    uint32_t times[2] = {0}, by[2];
    Pair pair = {.counted = {.threads = 2, .times = times, .by = by}};
    snprintf(pair.caller, sizeof pair.caller, "%d", (int)gettid());
    for (uint32_t run = 0; run < 20; run++) {
        atomic_store(&pair.begun, 0);
        pool_run(pool, 2, pair_task, &pair);
        cr_assert_eq(times[0] + times[1], 2 * (run + 1));
        cr_assert_neq(by[0], by[1]);
    }
    pool_close(pool);
}

Test(pool, opens_and_closes_without_work) {
    for (int i = 0; i < 50; i++) {
        pool_close(open_pool(4));
    }
    pool_close(NULL);
}
