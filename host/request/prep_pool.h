// SPDX-License-Identifier: Apache-2.0
// The prep threads. Work goes in and comes back through mailboxes with room for all of it, so
// neither side ever waits for the other. Who must not wait is woken through `wake`, called from a
// prep thread when something has come back, and takes; others wait.
#ifndef HOST_REQUEST_PREP_POOL_H
#define HOST_REQUEST_PREP_POOL_H

#include "host/request/prep_work.h"
#include "host/step/mailbox.h"

typedef struct PrepPool {
    PrepRules rules;
    Mailbox asked, done; // of PrepWork *
    uv_thread_t *threads;
    uint32_t thread_count;
    int niceness;
} PrepPool;

typedef struct PrepPoolOptions {
    PrepRules rules;
    uint32_t threads;            // at least 1
    uint32_t work_max;           // out at a time
    int niceness;                // of the threads (base/niceness.h)
    void (*wake)(void *context); // may be NULL
    void *wake_context;
} PrepPoolOptions;

// The pool must not move afterwards. E_MEMORY; prep_pool_close in any case.
Status prep_pool_open(PrepPool *pool, const PrepPoolOptions *options, Error *error);
void prep_pool_close(PrepPool *pool); // waits for the threads; a zero PrepPool is fine

void prep_pool_push(PrepPool *pool, PrepWork *work);
PrepWork *prep_pool_take(PrepPool *pool);                   // what has come back, or NULL
PrepWork *prep_pool_wait(PrepPool *pool, uint64_t wait_ms); // the same, within a time

#endif
