// SPDX-License-Identifier: Apache-2.0
// The requests of a run that a server answers, each in an item: reading its pictures, asking,
// taking the pieces of the answer, ending. What the server refuses as busy is asked again when it
// says; what a server that was lost had not answered, at once when there is one again.
//
//   FREE -> ASKED -> STREAM -> FREE
//             |        |
//             +--------+-> LATER -> ASKED
#ifndef HOST_ASKING_REMOTE_ITEM_H
#define HOST_ASKING_REMOTE_ITEM_H

#include "host/asking/asker.h"

enum { REMOTE_MESSAGE_ROOM = 64 * 1024 }; // of a message, for all but pictures and texts

typedef enum RemoteItemState {
    REMOTE_FREE,
    REMOTE_ASKED,  // the call is out
    REMOTE_STREAM, // the server has taken it
    REMOTE_LATER,  // to be asked again
} RemoteItemState;

typedef struct RemoteItem {
    Request request;
    RemoteItemState state;
    uint32_t call;     // ASKED
    uint64_t stream;   // STREAM
    uint64_t again_ns; // LATER
    bool told;         // `text` was told something of the answer
} RemoteItem;

typedef struct RemoteRun {
    Remote *remote;
    const AskerRun *calls;
    AskerStats *stats;
    bool batch; // their class
    RemoteItem *items;
    uint32_t item_count, busy_count;
    Buffer files;    // of the request being asked, one after the other
    Bytes *images;   // [image_capacity]
    CallPart *parts; // [image_capacity + 2]
    uint32_t image_capacity;
    uint64_t lost_ns;   // when the server was lost, until an answer comes again; 0: it is not
    uint32_t try_count; // to reach it, since then
    bool draining;      // the server takes no more
    bool dry;           // there are no more questions
    bool stopped;       // a callback said so
} RemoteRun;

// Asks what is new and what is due, as long as little waits to be written.
void remote_item_ask_all(RemoteRun *run);

// What the server said. An error is not of one request: nothing more can be asked on this
// connection.
Status remote_item_event(RemoteRun *run, const ClientEvent *event, Error *error);

uint32_t remote_item_open_count(const RemoteRun *run); // that are with the server

// The server was lost: what it had is to be asked again. False: `text` was told part of it.
bool remote_item_reset_all(RemoteRun *run);

void remote_item_free(RemoteItem *item);

#endif
