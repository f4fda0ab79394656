// SPDX-License-Identifier: Apache-2.0
// One connection as a pure state machine: bytes in, typed calls out; results and events in, bytes
// out. Owns hello and authentication, the table of what is in flight, credit, the outbox with its
// marks, and every deadline of the connection. No socket, no thread, no clock: the time is passed
// in, in milliseconds of a clock that never goes back.
//
//            session_receive(bytes)          handler.call(Call)
//   socket ------------------------> Session ------------------> service
//          <------------------------         <------------------
//            session_output / _written         session_accept, _token, _done, _result, _error
//
//   HELLO -> READY -> ENDING -> DEAD      ENDING: write what session_output gives, then close.
//     any of them ------------> DEAD      DEAD: close at once; nothing can be written any more.
//
// generate: `call` -> session_accept -> session_token ... -> session_done, or -> session_error.
// The others: `call` -> session_result or session_error, now or later. hello, api_info, credit and
// cancel are answered here; a cancel, a cut and the end of the session all reach the service as
// handler.cancel, once per stream. While the session is READY its session_done must still come;
// when ENDING or DEAD every ticket is over.
//
// The session keeps the text of answers, so that the service need not: token events leave while the
// stream has credit and the outbox is below its high mark, and are merged otherwise; without
// `stream` everything is held for `done`. A stream that holds more than stream_bytes_max ends with
// E_UNREAD. A `done` waits for the text before it, and counts as in flight until it is written.
//
// Memory: a message being received (message_bytes_max, before hello hello_bytes_max), and
// outbox_hard for what waits to be written and what is held (before hello hello_bytes_max, and one
// api_info). Buffers grow by doubling, so each may have twice that reserved. session_bytes says how
// much it is now. All of it is asked of a purse before it is taken: a message for which there is no
// room is answered with E_BUSY or E_USER_BUSY and skipped, the other calls of the connection go on.
#ifndef RPC_SESSION_H
#define RPC_SESSION_H

#include "rpc/calls.h"
#include "rpc/frame.h"
#include "rpc/results.h"

typedef struct Session Session;

typedef struct SessionLimits {
    const char *server; // name and version, told in hello
    FrameLimits frame;
    uint32_t hello_bytes_max;  // of a message before hello
    uint32_t in_flight_max;    // calls not answered and streams not done
    uint32_t credit_first;     // of a new stream
    uint32_t stream_bytes_max; // held for one stream
    uint32_t outbox_high;      // above it token events are held
    uint32_t outbox_hard;      // outbox and held text together: above it the session is DEAD
    uint32_t write_bytes_max;  // of one session_output
    uint32_t calls_at_once;    // taken between two session_turn
    uint32_t hello_ms;         // from the start until a hello that is right
    uint32_t partial_ms;       // from a message's first byte to its last
    uint32_t idle_ms;          // with nothing in flight and nothing heard
    uint32_t write_ms;         // with something to write and no byte taken
} SessionLimits;

// frame_limits_default; 64 KiB before hello; 1,024 in flight; credit 64; 512 KiB a stream (1 MiB
// of memory); outbox 1 MiB and 16 MiB; 256 KiB a write; 64 calls at once; 10 s for hello, 30 s
// for a message; 1 h idle; 30 s without a byte taken.
SessionLimits session_limits_default(void);

// Who pays for what a session holds; NULL: nobody counts.
typedef struct SessionPurses {
    Purse *input;  // messages, and the calls made of them until call_free
    Purse *output; // what is to be written, and what is held for it
} SessionPurses;

typedef struct SessionUser {
    uint32_t number;
    char name[64];
    SessionPurses purses;
} SessionUser;

// What the session asks of the service. Calls back from inside session_receive, session_tick and
// the writing functions; may call the session's writing functions, but not session_close.
typedef struct SessionHandler {
    // Who has this token (length 0: none was given)? E_AUTH when nobody.
    Status (*authenticate)(void *context, Bytes token, SessionUser *out, Error *error);
    // A call of an authenticated user (health: of anybody). The handler owns `call` from here. It
    // must answer call->ticket, now or later.
    void (*call)(void *context, Session *session, Call *call);
    // The stream accepted with `tag` is not wanted any more.
    void (*cancel)(void *context, Session *session, uint64_t tag);
    SessionPurses strangers; // pay before hello
} SessionHandler;

typedef enum SessionState {
    SESSION_HELLO,
    SESSION_READY,
    SESSION_ENDING,
    SESSION_DEAD
} SessionState;

// `handler` and `limits` are borrowed for the session's life. E_MEMORY.
Status session_open(const SessionLimits *limits, const SessionHandler *handler, void *context,
                    uint64_t now_ms, Session **out, Error *error);
// Cancels every stream (handler.cancel) and frees. NULL is fine.
void session_close(Session *session);

// ---- The socket's side --------------------------------------------------------------------------

// Takes bytes that have come; any number, cut anywhere. What a broken message means shows in the
// state afterwards. Ignored when ENDING or DEAD.
void session_receive(Session *session, Bytes bytes, uint64_t now_ms);
// True: calls_at_once were taken and more input is here. Nothing should be received before
// session_turn takes it.
bool session_has_more(const Session *session);
// Everybody has had a turn: takes the next calls of what is here.
void session_turn(Session *session, uint64_t now_ms);

// Bytes to write now; empty when there are none. Valid and unmoved until session_written.
Bytes session_output(Session *session);
// The first `count` bytes of the last session_output are gone.
void session_written(Session *session, size_t count, uint64_t now_ms);

// Closes what is overdue. session_deadline_ms: when to call it next (UINT64_MAX: not before
// something else happens).
void session_tick(Session *session, uint64_t now_ms);
uint64_t session_deadline_ms(const Session *session);

SessionState session_state(const Session *session);
const SessionUser *session_user(const Session *session); // NULL before hello
// For tests.
Bytes session_client(const Session *session); // hello's client; perhaps empty
size_t session_bytes(const Session *session); // memory it holds
uint32_t session_in_flight(const Session *session);
const Error *session_fault(const Session *session); // why it is ENDING or DEAD; status OK: no fault

// ---- The service's side -------------------------------------------------------------------------
// A ticket or stream that is over, cancelled by the session or never was: the call does nothing.

// Answers a call other than generate with one MessagePack value (results.h); E_MEMORY when it
// found none and is not whole.
void session_result(Session *session, uint64_t ticket, const Buffer *result);
// Refuses a call. `detail`: a sentence for the client, or NULL for the catalogue's text.
void session_error(Session *session, uint64_t ticket, Status status, const char *detail,
                   uint32_t retry_after_ms);

// Accepts a generate call: the client learns the stream's id. Events use the same `ticket`.
void session_accept(Session *session, const Call *call, uint64_t tag);
void session_token(Session *session, uint64_t ticket, const TokenEvent *event);
void session_done(Session *session, uint64_t ticket, const DoneEvent *event);

// Says goodbye with this reason and ends: E_DRAIN at shutdown, E_TIMEOUT, ...
void session_end(Session *session, Status status, const char *detail);

#endif
