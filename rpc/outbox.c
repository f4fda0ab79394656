// SPDX-License-Identifier: Apache-2.0
#include "rpc/outbox.h"

#include "base/check.h"
#include "base/num.h"

bool outbox_open(Outbox *outbox, Purse *purse) {
    *outbox = (Outbox){.queued = {.purse = purse}, .writing = {.purse = purse}};
    return buffer_grow(&outbox->queued, OUTBOX_FIRST_BYTES) &&
           buffer_grow(&outbox->writing, OUTBOX_FIRST_BYTES);
}

void outbox_free(Outbox *outbox) {
    buffer_free(&outbox->queued);
    buffer_free(&outbox->writing);
}

void outbox_drop_queued(Outbox *outbox) {
    buffer_free(&outbox->queued);
}

size_t outbox_unwritten(const Outbox *outbox) {
    return outbox->queued.length + outbox->writing.length - outbox->written;
}

size_t outbox_bytes(const Outbox *outbox) {
    return outbox->queued.capacity + outbox->writing.capacity;
}

void outbox_paid_by(Outbox *outbox, Purse *purse) {
    outbox->queued.purse = outbox->writing.purse = purse;
}

void outbox_added(Outbox *outbox, uint64_t now_ms) {
    if (!outbox->waiting && outbox_unwritten(outbox) > 0) {
        outbox->waiting = true;
        outbox->wait_unseen = true;
        outbox->write_ms = now_ms;
    }
}

Bytes outbox_output(Outbox *outbox, size_t most) {
    if (outbox->written == outbox->writing.length && outbox->queued.length > 0) {
        Buffer empty = outbox->writing;
        buffer_clear(&empty);
        outbox->writing = outbox->queued;
        outbox->queued = empty;
        outbox->written = 0;
    }
    size_t count = num_min(outbox->writing.length - outbox->written, most);
    return (Bytes){count > 0 ? outbox->writing.data + outbox->written : NULL, count};
}

void outbox_written(Outbox *outbox, size_t count, uint64_t now_ms) {
    REQUIRE(count <= outbox->writing.length - outbox->written);
    outbox->write_ms = now_ms;
    outbox->wait_unseen = false;
    outbox->written += count;
    if (outbox->written == outbox->writing.length) {
        outbox->written = 0;
        buffer_empty(&outbox->writing, OUTBOX_KEEP_BYTES, OUTBOX_FIRST_BYTES);
    }
    outbox->waiting = outbox_unwritten(outbox) > 0;
}

void outbox_tick(Outbox *outbox, uint64_t now_ms) {
    if (outbox->wait_unseen) {
        outbox->wait_unseen = false;
        outbox->write_ms = now_ms;
    }
}
