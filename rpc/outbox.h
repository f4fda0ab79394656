// SPDX-License-Identifier: Apache-2.0
// What a session has to write: messages are appended to `queued` while `writing` goes out, so that
// what the socket has been given does not move. Knows since when the client has taken no byte. No
// limits: the session judges how much may wait.
#ifndef RPC_OUTBOX_H
#define RPC_OUTBOX_H

#include "base/bytes.h"

enum {
    OUTBOX_FIRST_BYTES = 2 * 1024, // that a buffer of a session has from the start: small things go
    OUTBOX_KEEP_BYTES = 64 * 1024, // capacity that it keeps when it is empty
};

typedef struct Outbox {
    Buffer queued; // appended to by anybody; outbox_added after it
    Buffer writing;
    size_t written;    // of `writing`
    bool waiting;      // something is to be written
    bool wait_unseen;  // since the last time anybody told the time
    uint64_t write_ms; // it last shrank, or began to wait
} Outbox;

// The purse pays for it. False: there is no room; outbox_free nevertheless.
bool outbox_open(Outbox *outbox, Purse *purse);
void outbox_free(Outbox *outbox);
void outbox_drop_queued(Outbox *outbox);

size_t outbox_unwritten(const Outbox *outbox);
size_t outbox_bytes(const Outbox *outbox);         // memory it holds
void outbox_paid_by(Outbox *outbox, Purse *purse); // which has paid outbox_bytes

// Something may have been appended.
void outbox_added(Outbox *outbox, uint64_t now_ms);
// At most `most` bytes to write now; valid and unmoved until outbox_written.
Bytes outbox_output(Outbox *outbox, size_t most);
void outbox_written(Outbox *outbox, size_t count, uint64_t now_ms);
// Nobody tells the time when events are appended: what began to wait since then begins now.
void outbox_tick(Outbox *outbox, uint64_t now_ms);

#endif
