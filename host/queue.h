// SPDX-License-Identifier: Apache-2.0
// A bounded queue of pointers between threads. Whoever makes the queue gives it room for everything
// that can ever be in it, so a push never waits; a pop waits for an item, for the end or for a
// time.
#ifndef HOST_QUEUE_H
#define HOST_QUEUE_H

#include "base/status.h"

#include <uv.h>

typedef struct Queue {
    uv_mutex_t mutex;
    uv_cond_t filled;
    void **items; // ring
    uint32_t capacity, first, count;
    bool closed;
} Queue;

Status queue_open(Queue *queue, uint32_t capacity, Error *error); // E_MEMORY
void queue_free(Queue *queue);                                    // no thread may use it any more

void queue_push(Queue *queue, void *item); // REQUIRE: there is room
// The oldest item, or NULL when none came within `wait_ms` or the queue was closed. UINT64_MAX
// waits for ever.
void *queue_pop(Queue *queue, uint64_t wait_ms);
void queue_close(Queue *queue); // wakes every waiting thread; what is queued is not handed out

#endif
