// SPDX-License-Identifier: Apache-2.0
// A bounded ring of equal items between threads. A push waits while the ring is full; whoever gives
// a mailbox room for everything that can ever be in it has pushes that never wait. A pop waits for
// an item, for the end or for a time. A reader that must not wait (the loop thread) has itself
// woken through a function and then takes all there is.
#ifndef HOST_STEP_MAILBOX_H
#define HOST_STEP_MAILBOX_H

#include "base/status.h"

#include <stddef.h>
#include <uv.h>

typedef struct Mailbox {
    uv_mutex_t mutex;
    uv_cond_t filled, emptied;
    uint8_t *items; // ring [capacity][item_bytes]
    size_t item_bytes;
    uint32_t capacity, first, count;
    bool closed;
    void (*wake)(void *context); // after a push, outside the lock; NULL = the reader waits in pop
    void *wake_context;
} Mailbox;

Status mailbox_open(Mailbox *mailbox, size_t item_bytes, uint32_t capacity, Error *error);
void mailbox_free(Mailbox *mailbox); // no thread may use it any more

// Set before another thread knows the mailbox. Called by pushing threads.
void mailbox_on_push(Mailbox *mailbox, void (*wake)(void *context), void *context);

void mailbox_push(Mailbox *mailbox, const void *item); // dropped when closed
void mailbox_push_all(Mailbox *mailbox, const void *items, size_t count);

// The oldest item; false when none came within `wait_ms` or the mailbox was closed. UINT64_MAX
// waits for ever.
bool mailbox_pop(Mailbox *mailbox, void *item, uint64_t wait_ms);

// Up to `most` items, oldest first, without waiting; their number. Also of a closed mailbox.
uint32_t mailbox_take(Mailbox *mailbox, void *items, uint32_t most);

void mailbox_close(Mailbox *mailbox); // wakes every waiting thread; pop hands nothing out any more

#endif
