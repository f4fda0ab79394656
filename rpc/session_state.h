// SPDX-License-Identifier: Apache-2.0
// The inside of a session, shared by session_input.c (bytes in), session.c (connection) and
// stream.c (what is in flight), which call each other in this order only.
#ifndef RPC_SESSION_STATE_H
#define RPC_SESSION_STATE_H

#include "rpc/outbox.h"
#include "rpc/session.h"

typedef enum InFlightState { FLIGHT_FREE, FLIGHT_CALL, FLIGHT_STREAM } InFlightState;

// What one sample of a stream has said and has not been written yet.
typedef struct UnsentText {
    Buffer text, thoughts;
    Buffer ids, logprobs; // MessagePack values, one per token
    uint32_t id_count, logprob_count;
    uint32_t token_count; // of the whole sample
    uint64_t seq;
} UnsentText;

typedef struct InFlight {
    InFlightState state;
    uint32_t generation; // of the slot
    uint32_t id;         // of the request
    uint32_t next_free;
    // FLIGHT_STREAM
    uint64_t tag;
    bool streams;   // token events; else all is held for done
    bool cancelled; // handler.cancel was called; nothing more is held
    bool unread;    // ... because it held too much
    uint32_t sample_count;
    uint64_t credit;
    size_t held;        // bytes of unsent
    UnsentText *unsent; // [sample_count]
    struct PendingDone *done;
} InFlight;

typedef struct PendingDone {
    DoneEvent event;
    char detail[ERROR_TEXT_MAX]; // "" = the catalogue's text
} PendingDone;

#define FLIGHT_NONE UINT32_MAX

struct Session {
    const SessionLimits *limits;
    const SessionHandler *handler;
    void *context;
    SessionState state;
    Error fault;
    SessionUser user;
    SessionPurses purses; // who pays now
    bool told_api;        // api_info was answered
    bool known;           // the user
    char client[CALL_CLIENT_BYTES_MAX + 1];
    uint32_t client_bytes;

    Frame frame;
    Buffer input;        // the message being received
    uint32_t calls_left; // of this turn
    bool more;           // input was left to the next turn
    bool skipping;       // what comes of this message is dropped
    uint64_t opened_ms, now_ms;
    uint64_t active_ms;  // bytes last came or went
    uint64_t partial_ms; // the message being received began

    Outbox outbox;

    InFlight *flights; // [flight_capacity], grown up to in_flight_max
    uint32_t flight_capacity, flight_count, free_first;
    uint32_t resume; // where the next look for streams that may go on begins
    size_t held;     // of all flights
};

// ---- session.c ----------------------------------------------------------------------------------

bool session_is_over(const Session *session);
void session_dispatch(Session *session, Call *call); // owns it
void session_answer_error(Session *session, uint32_t id, Status status, const char *detail,
                          uint32_t retry_after_ms);

// ---- stream.c: whoever appends to the outbox there, session.c looks at its marks afterwards -----

// A place for an unanswered call, or NULL when in_flight_max are taken or memory ran out.
InFlight *flight_take(Session *session, uint32_t id, uint64_t *ticket);
bool flights_grow(Session *session); // false: in_flight_max are there, or there is no room
InFlight *flight_find(Session *session, uint64_t ticket); // NULL when it is over or never was
void flight_drop(Session *session, InFlight *flight);
void flight_drop_all(Session *session); // with handler.cancel

void stream_credit(Session *session, uint64_t ticket, uint32_t count);
void stream_cancel(Session *session, uint64_t ticket);
void stream_resume_all(Session *session); // the outbox has room again
void stream_accept(Session *session, const Call *call, uint64_t tag);
void stream_token(Session *session, uint64_t ticket, const TokenEvent *event);
void stream_done(Session *session, uint64_t ticket, const DoneEvent *event);

#endif
