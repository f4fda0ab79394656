// SPDX-License-Identifier: Apache-2.0
#include "weights/fanout.h"

#include "base/machine.h"
#include "base/num.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { FANOUT_THREADS_MAX = 64 };

typedef struct Fanout {
    atomic_size_t next; // the first index nobody has taken; order is of no importance (relaxed)
    size_t count;
    void (*run)(void *context, size_t index);
    void *context;
} Fanout;

static void *fanout_work(void *argument) {
    Fanout *fanout = argument;
    for (;;) {
        size_t index = atomic_fetch_add_explicit(&fanout->next, 1, memory_order_relaxed);
        if (index >= fanout->count) {
            return NULL;
        }
        fanout->run(fanout->context, index);
    }
}

void fanout_run(uint32_t threads, size_t count, void (*run)(void *context, size_t index),
                void *context) {
    Fanout fanout = {.count = count, .run = run, .context = context};
    size_t helpers = threads == 0 ? machine_processors() : threads;
    helpers = num_min(num_min(helpers, FANOUT_THREADS_MAX), num_max(count, 1)) - 1;
    pthread_t thread[FANOUT_THREADS_MAX];
    bool started[FANOUT_THREADS_MAX];
    for (size_t i = 0; i < helpers; i++) {
        started[i] = pthread_create(&thread[i], NULL, fanout_work, &fanout) == 0;
    }
    fanout_work(&fanout);
    for (size_t i = 0; i < helpers; i++) {
        if (started[i]) {
            pthread_join(thread[i], NULL);
        }
    }
}
