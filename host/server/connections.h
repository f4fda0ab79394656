// SPDX-License-Identifier: Apache-2.0
// The table of connections, each with its session: bytes in, bytes out, turns. Two lists stand
// beside the table: `dirty` has the connections that may have something to write or may end, and
// `asked` those that have calls for the next turn. What a call says is not known here: the session
// hands it to the handler. Memory is taken once, in connections_open.
//
//   FREE -> connections_add -> open: receive, turn, output, written -> connections_remove -> FREE
#ifndef HOST_SERVER_CONNECTIONS_H
#define HOST_SERVER_CONNECTIONS_H

#include "host/server/metrics.h"
#include "rpc/session.h"

#define NO_CONNECTION UINT32_MAX

typedef struct Connection {
    void *owner;      // of the table: for the handler, whose context is the Connection
    Session *session; // NULL: free
    uint32_t index;
    uint32_t generation; // counts uses, so that a late answer to the last one goes nowhere
    bool greeted;        // it has said hello, as
    uint32_t user;
    bool dirty;          // on the list of that name
    bool asked;          // on the list of that name
    bool writing;        // bytes are with the socket
    uint64_t writing_ms; // since when
    uint32_t next_free;
} Connection;

typedef struct ConnectionRules {
    uint32_t connections_max;
    SessionLimits session;
    SessionHandler handler; // its context is the Connection
    void *owner;
    Metrics *metrics; // borrowed
} ConnectionRules;

typedef struct Connections {
    ConnectionRules rules;
    Connection *table; // [connections_max]
    uint32_t count, first_free;
    uint32_t *dirty; // [connections_max]
    uint32_t dirty_count;
    uint32_t *asked; // [connections_max]
    uint32_t asked_count;
    bool has_more; // another turn has something to do
} Connections;

Status connections_open(Connections *connections, const ConnectionRules *rules,
                        Error *error);            // E_MEMORY
void connections_close(Connections *connections); // no connection is left

// There must be a free one (connections_left). E_MEMORY.
Status connections_add(Connections *connections, uint64_t now_ms, uint32_t *index, Error *error);
void connections_remove(Connections *connections, uint32_t index); // cancels its streams
uint32_t connections_left(const Connections *connections);

Connection *connections_at(const Connections *connections, uint32_t index); // an open one
// The session of this use of the connection, marked dirty; NULL when it is gone.
Session *connections_session(Connections *connections, uint32_t index, uint32_t generation);
void connections_mark(Connections *connections, Connection *connection); // dirty

void connections_receive(Connections *connections, uint32_t index, Bytes bytes, uint64_t now_ms);
// Everybody on the list of those that asked gets a turn.
void connections_turn(Connections *connections, uint64_t now_ms);

Bytes connections_output(Connections *connections, uint32_t index, uint64_t now_ms);
void connections_written(Connections *connections, uint32_t index, size_t count, uint64_t now_ms);
// Empties the list of the dirty ones: `output` is called for each that is open.
void connections_flush(Connections *connections, void (*output)(void *context, uint32_t index),
                       void *context);

void connections_tick(Connections *connections, uint64_t now_ms); // deadlines, the gauge of memory
// Says goodbye to every connection that has nothing in flight.
void connections_end_idle(Connections *connections, Status why);
uint64_t connections_bytes(const Connections *connections); // memory of all sessions

#endif
