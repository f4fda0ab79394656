// SPDX-License-Identifier: Apache-2.0
#include "host/queue.h"

#include "base/check.h"
#include "base/clock.h"

#include <stdlib.h>

Status queue_open(Queue *queue, uint32_t capacity, Error *error) {
    *queue = (Queue){.capacity = capacity};
    queue->items = calloc(capacity, sizeof *queue->items);
    if (queue->items == NULL) {
        return error_set(error, E_MEMORY, "no memory for a queue of %u", capacity);
    }
    REQUIRE(uv_mutex_init(&queue->mutex) == 0);
    REQUIRE(uv_cond_init(&queue->filled) == 0);
    return OK;
}

void queue_free(Queue *queue) {
    if (queue->items != NULL) {
        uv_cond_destroy(&queue->filled);
        uv_mutex_destroy(&queue->mutex);
        free(queue->items);
    }
    *queue = (Queue){0};
}

void queue_push(Queue *queue, void *item) {
    uv_mutex_lock(&queue->mutex);
    REQUIRE(queue->count < queue->capacity);
    queue->items[(queue->first + queue->count) % queue->capacity] = item;
    queue->count++;
    uv_cond_signal(&queue->filled);
    uv_mutex_unlock(&queue->mutex);
}

void *queue_pop(Queue *queue, uint64_t wait_ms) {
    uint64_t deadline_ns = wait_ms == UINT64_MAX ? 0 : clock_ns() + wait_ms * 1000000u;
    void *item = NULL;
    uv_mutex_lock(&queue->mutex);
    while (queue->count == 0 && !queue->closed) {
        if (wait_ms == UINT64_MAX) {
            uv_cond_wait(&queue->filled, &queue->mutex);
            continue;
        }
        uint64_t now_ns = clock_ns();
        if (now_ns >= deadline_ns) {
            break;
        }
        uv_cond_timedwait(&queue->filled, &queue->mutex, deadline_ns - now_ns);
    }
    if (queue->count > 0 && !queue->closed) {
        item = queue->items[queue->first];
        queue->first = (queue->first + 1) % queue->capacity;
        queue->count--;
    }
    uv_mutex_unlock(&queue->mutex);
    return item;
}

void queue_close(Queue *queue) {
    uv_mutex_lock(&queue->mutex);
    queue->closed = true;
    uv_cond_broadcast(&queue->filled);
    uv_mutex_unlock(&queue->mutex);
}
