// SPDX-License-Identifier: Apache-2.0
// The pool. Every run has a number of unclaimed tasks in one atomic word, `claim`; a thread that
// lowers it owns one task. pool_run returns when `unfinished` is zero, so it never waits for a
// worker that claimed nothing: a sleeping or preempted worker costs nothing but its absence.
//
// Why the fields of a run need no lock: they are written while nobody owns a task (the run before
// has no unfinished one), and read only by an owner, whose claim synchronises with the store of
// `claim` that published them. A claim that succeeds is always of the run that is current, however
// long ago the loser loaded the word, because compare-exchange compares the word as it is now.
#include "cpu/pool.h"

#include "base/check.h"
#include "base/niceness.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPINS_BEFORE_SLEEP = 4000 }; // about 50 us, longer than the gaps between ops of one step

typedef struct Worker {
    Pool *pool;
    uint32_t index;
    pthread_t thread;
} Worker;

struct Pool {
    // Set once at open.
    uint32_t thread_count;
    int niceness;
    uint32_t started; // threads that exist, so that a failed open can close
    Worker *workers;  // [thread_count], 0 is the caller and has no thread
    // Written by pool_run between runs, read by owners of a task.
    PoolTask *task;
    void *argument;
    uint32_t task_count;
    // Each on a line of its own: they are written by all.
    _Alignas(64) atomic_uint claim;      // tasks nobody owns yet
    _Alignas(64) atomic_uint unfinished; // tasks not done yet; the futex of the caller
    _Alignas(64) atomic_uint epoch;      // counts runs; the futex of the workers
    atomic_uint workers_asleep;
    atomic_uint caller_asleep;
    atomic_bool closing;
};

static void futex_wait(atomic_uint *word, unsigned seen) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake_all(atomic_uint *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void spin_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

// Owns and does tasks until none is unclaimed.
static void work(Pool *pool, uint32_t worker) {
    for (;;) {
        // The acquire pairs with the release in pool_run, through the read-modify-writes between.
        unsigned left = atomic_load_explicit(&pool->claim, memory_order_relaxed);
        do {
            if (left == 0) {
                return;
            }
        } while (!atomic_compare_exchange_weak_explicit(
            &pool->claim, &left, left - 1, memory_order_acquire, memory_order_relaxed));
        pool->task(pool->argument, pool->task_count - left, worker);
        // The release pairs with the caller's acquire load in pool_run. Sequentially consistent,
        // together with the two accesses of caller_asleep: either we see the sleeper or it sees 0.
        if (atomic_fetch_sub(&pool->unfinished, 1) == 1 && atomic_load(&pool->caller_asleep) != 0) {
            futex_wake_all(&pool->unfinished);
        }
    }
}

static void *worker_main(void *argument) {
    Worker *self = argument;
    Pool *pool = self->pool;
    uint32_t spins = 0;
    niceness_add(pool->niceness);
    while (!atomic_load_explicit(&pool->closing, memory_order_acquire)) {
        unsigned seen = atomic_load(&pool->epoch);
        if (atomic_load_explicit(&pool->claim, memory_order_relaxed) > 0) {
            work(pool, self->index);
            spins = 0;
        } else if (++spins < SPINS_BEFORE_SLEEP) {
            spin_pause();
        } else {
            // pool_run stores claim, raises epoch and then looks for sleepers; we announce
            // ourselves and then wait on epoch, so one of the two notices the other.
            atomic_fetch_add(&pool->workers_asleep, 1);
            futex_wait(&pool->epoch, seen);
            atomic_fetch_sub(&pool->workers_asleep, 1);
            spins = 0;
        }
    }
    return NULL;
}

void pool_run(Pool *pool, uint32_t task_count, PoolTask *task, void *argument) {
    if (pool->thread_count == 1 || task_count <= 1) {
        for (uint32_t i = 0; i < task_count; i++) {
            task(argument, i, 0);
        }
        return;
    }
    pool->task = task;
    pool->argument = argument;
    pool->task_count = task_count;
    atomic_store_explicit(&pool->unfinished, task_count, memory_order_relaxed);
    atomic_store_explicit(&pool->claim, task_count, memory_order_release); // pairs with work()
    atomic_fetch_add(&pool->epoch, 1);
    if (atomic_load(&pool->workers_asleep) != 0) {
        futex_wake_all(&pool->epoch);
    }
    work(pool, 0);
    uint32_t spins = 0;
    while (atomic_load_explicit(&pool->unfinished, memory_order_acquire) != 0) {
        if (++spins < SPINS_BEFORE_SLEEP) {
            spin_pause();
            continue;
        }
        atomic_store(&pool->caller_asleep, 1);
        // Loaded again after the announcement: the last worker may have missed it.
        unsigned left = atomic_load(&pool->unfinished);
        if (left != 0) {
            futex_wait(&pool->unfinished, left);
        }
        atomic_store(&pool->caller_asleep, 0);
    }
}

Status pool_open(uint32_t thread_count, int niceness, Pool **out, Error *error) {
    REQUIRE(thread_count > 0);
    Pool *pool = aligned_alloc(64, (sizeof *pool + 63) / 64 * 64);
    Worker *workers = calloc(thread_count, sizeof *workers);
    if (pool == NULL || workers == NULL) {
        free(pool);
        free(workers);
        return error_set(error, E_MEMORY, "no memory for a pool of %u threads", thread_count);
    }
    memset(pool, 0, sizeof *pool);
    pool->thread_count = thread_count;
    pool->niceness = niceness;
    pool->workers = workers;
    for (uint32_t i = 1; i < thread_count; i++) {
        workers[i] = (Worker){.pool = pool, .index = i};
        int failure = pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
        if (failure != 0) {
            pool_close(pool);
            return error_set(error, E_MEMORY,
                             "thread %u of %u could not be started: %s; ask for fewer threads", i,
                             thread_count, strerror(failure));
        }
        pool->started++;
    }
    *out = pool;
    return OK;
}

void pool_close(Pool *pool) {
    if (pool == NULL) {
        return;
    }
    atomic_store_explicit(&pool->closing, true, memory_order_release); // pairs with worker_main
    atomic_fetch_add(&pool->epoch, 1);
    futex_wake_all(&pool->epoch);
    for (uint32_t i = 1; i <= pool->started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    free(pool->workers);
    free(pool);
}

uint32_t pool_thread_count(const Pool *pool) {
    return pool->thread_count;
}
