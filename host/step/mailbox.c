// SPDX-License-Identifier: Apache-2.0
#include "host/step/mailbox.h"

#include "base/check.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

Status mailbox_open(Mailbox *mailbox, size_t item_bytes, uint32_t capacity, Error *error) {
    *mailbox = (Mailbox){.item_bytes = item_bytes, .capacity = capacity};
    mailbox->items = calloc(capacity, item_bytes);
    if (mailbox->items == NULL) {
        return error_set(error, E_MEMORY, "no memory for a mailbox of %u", capacity);
    }
    int failed = uv_mutex_init(&mailbox->mutex);
    REQUIRE(failed == 0);
    failed = uv_cond_init(&mailbox->filled);
    REQUIRE(failed == 0);
    failed = uv_cond_init(&mailbox->emptied);
    REQUIRE(failed == 0);
    return OK;
}

void mailbox_free(Mailbox *mailbox) {
    if (mailbox->items != NULL) {
        uv_cond_destroy(&mailbox->emptied);
        uv_cond_destroy(&mailbox->filled);
        uv_mutex_destroy(&mailbox->mutex);
        free(mailbox->items);
    }
    *mailbox = (Mailbox){0};
}

void mailbox_on_push(Mailbox *mailbox, void (*wake)(void *context), void *context) {
    mailbox->wake = wake;
    mailbox->wake_context = context;
}

void mailbox_push_all(Mailbox *mailbox, const void *items, size_t count) {
    const uint8_t *from = items;
    uv_mutex_lock(&mailbox->mutex);
    for (size_t i = 0; i < count; i++) {
        if (mailbox->count == mailbox->capacity && mailbox->wake != NULL) {
            mailbox->wake(mailbox->wake_context); // or the reader would never make room
        }
        while (mailbox->count == mailbox->capacity && !mailbox->closed) {
            uv_cond_wait(&mailbox->emptied, &mailbox->mutex);
        }
        if (mailbox->closed) {
            break;
        }
        size_t at = (mailbox->first + mailbox->count) % mailbox->capacity;
        memcpy(mailbox->items + at * mailbox->item_bytes, from + i * mailbox->item_bytes,
               mailbox->item_bytes);
        mailbox->count++;
        uv_cond_signal(&mailbox->filled);
    }
    uv_mutex_unlock(&mailbox->mutex);
    if (mailbox->wake != NULL && count > 0) {
        mailbox->wake(mailbox->wake_context);
    }
}

void mailbox_push(Mailbox *mailbox, const void *item) {
    mailbox_push_all(mailbox, item, 1);
}

static void mailbox_take_first(Mailbox *mailbox, void *item) {
    memcpy(item, mailbox->items + mailbox->first * mailbox->item_bytes, mailbox->item_bytes);
    mailbox->first = (mailbox->first + 1) % mailbox->capacity;
    mailbox->count--;
    uv_cond_signal(&mailbox->emptied);
}

bool mailbox_pop(Mailbox *mailbox, void *item, uint64_t wait_ms) {
    bool forever = wait_ms == UINT64_MAX;
    uint64_t deadline_ns = forever ? 0 : clock_ns() + wait_ms * 1000000u;
    uv_mutex_lock(&mailbox->mutex);
    while (mailbox->count == 0 && !mailbox->closed) {
        if (forever) {
            uv_cond_wait(&mailbox->filled, &mailbox->mutex);
            continue;
        }
        uint64_t now_ns = clock_ns();
        if (now_ns >= deadline_ns) {
            break;
        }
        uv_cond_timedwait(&mailbox->filled, &mailbox->mutex, deadline_ns - now_ns);
    }
    bool found = mailbox->count > 0 && !mailbox->closed;
    if (found) {
        mailbox_take_first(mailbox, item);
    }
    uv_mutex_unlock(&mailbox->mutex);
    return found;
}

uint32_t mailbox_take(Mailbox *mailbox, void *items, uint32_t most) {
    uint8_t *to = items;
    uint32_t taken = 0;
    uv_mutex_lock(&mailbox->mutex);
    for (; taken < most && mailbox->count > 0; taken++) {
        mailbox_take_first(mailbox, to + taken * mailbox->item_bytes);
    }
    uv_mutex_unlock(&mailbox->mutex);
    return taken;
}

void mailbox_close(Mailbox *mailbox) {
    uv_mutex_lock(&mailbox->mutex);
    mailbox->closed = true;
    uv_cond_broadcast(&mailbox->filled);
    uv_cond_broadcast(&mailbox->emptied);
    uv_mutex_unlock(&mailbox->mutex);
}
