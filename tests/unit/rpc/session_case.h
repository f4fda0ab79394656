// SPDX-License-Identifier: Apache-2.0
// A session with a service made of variables, for the tests of rpc/: calls are kept, cancels are
// counted, and what the session writes is read back as messages.
#ifndef TESTS_UNIT_RPC_SESSION_CASE_H
#define TESTS_UNIT_RPC_SESSION_CASE_H

#include "rpc/msg.h"
#include "rpc/session.h"

enum { CASE_CALLS_MAX = 64 };

typedef struct SessionCase {
    SessionLimits limits;
    SessionHandler handler;
    Session *session;
    Call *calls[CASE_CALLS_MAX]; // in order of arrival
    uint32_t call_count;
    uint64_t cancelled[CASE_CALLS_MAX]; // tags
    uint32_t cancel_count;
    bool refuse_calls; // answer every call with E_BUSY, retry in 250 ms
    bool accept_calls; // accept every generate; its tag is its place in `calls`
    uint64_t now_ms;
    Buffer seen; // what was written and not yet looked at
    size_t seen_at;
    Msg msg; // the last one looked at
} SessionCase;

// Opens a session with default limits, or those that `change` makes of them (NULL: none).
void case_open(SessionCase *c, void (*change)(SessionLimits *limits));
void case_hello(SessionCase *c); // says hello as alice and reads the answer
void case_close(SessionCase *c);

void case_receive(SessionCase *c, const Buffer *bytes); // and frees them
void case_drain(SessionCase *c);                        // the socket takes everything

// The next message the session wrote, by msg_open, valid until the next; NULL: none.
const Msg *case_next(SessionCase *c);
const Msg *case_expect(SessionCase *c, MsgKind kind, const char *method_or_null);
void case_expect_error(SessionCase *c, uint32_t id, Status status, const char *says);
const msgpack_object *case_field(const msgpack_object *map, const char *key); // NULL: absent

void case_put_hi(Buffer *out); // the pair messages: one of the user, "hi"

// A generate request with one user message "hi"; `extra` appends pairs to its params.
Buffer case_generate(uint32_t id, uint32_t extra_count, void (*extra)(Buffer *out));
// hello, accept_calls and one generate with stream true: the ticket of its stream.
uint64_t case_stream(SessionCase *c);

#endif
