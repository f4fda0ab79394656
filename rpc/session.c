// SPDX-License-Identifier: Apache-2.0
// The connection: messages in, hello, dispatch, the outbox, deadlines. What is in flight: stream.c.
#include "rpc/session.h"

#include "base/check.h"
#include "base/num.h"
#include "rpc/msg.h"
#include "rpc/session_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FULL_RETRY_MS = 100,
};

SessionLimits session_limits_default(void) {
    return (SessionLimits){
        .server = "tessera " TESSERA_VERSION,
        .frame = frame_limits_default(),
        .hello_bytes_max = 64 << 10,
        .in_flight_max = 1024,
        .credit_first = 64,
        .stream_bytes_max = 512 << 10,
        .outbox_high = 1 << 20,
        .outbox_hard = 16 << 20,
        .write_bytes_max = 256 << 10,
        .calls_at_once = 64,
        .hello_ms = 10000,
        .partial_ms = 30000,
        .idle_ms = 3600000,
        .write_ms = 30000,
    };
}

Status session_open(const SessionLimits *limits, const SessionHandler *handler, void *context,
                    uint64_t now_ms, Session **out, Error *error) {
    REQUIRE(limits->in_flight_max > 0 && limits->write_bytes_max > 0 && limits->calls_at_once > 0);
    Session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        return error_set(error, E_MEMORY, "no memory for a connection");
    }
    SessionPurses purses = handler->strangers;
    *session = (Session){
        .purses = purses,
        .input = {.purse = purses.input},
        .limits = limits,
        .handler = handler,
        .context = context,
        .opened_ms = now_ms,
        .now_ms = now_ms,
        .active_ms = now_ms,
        .free_first = FLIGHT_NONE,
        .calls_left = limits->calls_at_once,
    };
    FrameLimits first = limits->frame;
    first.message_bytes_max = num_min(first.message_bytes_max, limits->hello_bytes_max);
    frame_open(&session->frame, &first);
    if (!purse_take(purses.input, sizeof *session)) {
        free(session);
        return purse_error(purses.input, "a connection", error);
    }
    bool output = outbox_open(&session->outbox, purses.output);
    if (!output || !buffer_grow(&session->input, OUTBOX_FIRST_BYTES) || !flights_grow(session)) {
        Purse *purse = output ? purses.input : purses.output;
        session_close(session);
        return purse_error(purse, "a connection", error);
    }
    *out = session;
    return OK;
}

// Who it is is known: what the session holds is the user's from here. False: that has no room.
static bool session_pay(Session *session, SessionPurses purses) {
    SessionPurses before = session->purses;
    size_t input = sizeof *session + session->input.capacity +
                   session->flight_capacity * sizeof *session->flights;
    size_t output = outbox_bytes(&session->outbox);
    if (!purse_take(purses.input, input)) {
        return false;
    }
    if (!purse_take(purses.output, output)) {
        purse_give(purses.input, input);
        return false;
    }
    purse_give(before.input, input);
    purse_give(before.output, output);
    session->purses = purses;
    session->input.purse = purses.input;
    outbox_paid_by(&session->outbox, purses.output);
    return true;
}

void session_close(Session *session) {
    if (session != NULL) {
        session->state = SESSION_DEAD;
        flight_drop_all(session);
        free(session->flights);
        purse_give(session->purses.input, session->flight_capacity * sizeof *session->flights);
        buffer_free(&session->input);
        outbox_free(&session->outbox);
        purse_give(session->purses.input, sizeof *session);
        free(session);
    }
}

// ---- Ending -------------------------------------------------------------------------------------

bool session_is_over(const Session *session) {
    return session->state == SESSION_ENDING || session->state == SESSION_DEAD;
}

static void session_leave(Session *session, SessionState state) {
    session->state = state;
    session->more = false;
    buffer_free(&session->input);
    flight_drop_all(session);
}

static void session_die(Session *session, Status status, const char *text) {
    error_set(&session->fault, status, "%s", text);
    session_leave(session, SESSION_DEAD);
    outbox_drop_queued(&session->outbox);
}

// After everything that may have appended to the outbox: memory and the hard mark.
static void session_check(Session *session) {
    if (session->state == SESSION_DEAD) {
        return;
    }
    outbox_added(&session->outbox, session->now_ms);
    bool stranger = session->state == SESSION_HELLO;
    size_t hard = stranger ? session->limits->hello_bytes_max : session->limits->outbox_hard;
    if (session->outbox.queued.failed) {
        Error error = {0};
        purse_error(session->purses.output, "what is to be sent", &error);
        session_die(session, error.status, error.text);
    } else if (outbox_unwritten(&session->outbox) + session->held > hard) {
        session_die(session, E_UNREAD, "too much waits to be read by the client");
    }
}

void session_end(Session *session, Status status, const char *detail) {
    if (session_is_over(session)) {
        return;
    }
    error_set(&session->fault, status, "%s", detail != NULL ? detail : status_text(status));
    session_leave(session, SESSION_ENDING);
    msg_put_notification(&session->outbox.queued, event_rows[EVENT_GOODBYE].name);
    msg_put_fault(&session->outbox.queued, status, session->fault.text, 0);
    session_check(session);
}

// ---- Answers ------------------------------------------------------------------------------------

void session_answer_error(Session *session, uint32_t id, Status status, const char *detail,
                          uint32_t retry_after_ms) {
    msg_put_error(&session->outbox.queued, id, status, detail, retry_after_ms);
    session_check(session);
}

// The one place where a result is looked at before it goes out: half a map would make the next
// message its values.
static void answer_result(Session *session, uint32_t id, const Buffer *result) {
    if (result->failed) {
        session_answer_error(session, id, E_MEMORY, "no memory for the answer", 0);
        return;
    }
    msg_put_result(&session->outbox.queued, id);
    buffer_append(&session->outbox.queued, result->data, result->length);
    session_check(session);
}

void session_result(Session *session, uint64_t ticket, const Buffer *result) {
    InFlight *flight = flight_find(session, ticket);
    if (flight != NULL) {
        REQUIRE(flight->state == FLIGHT_CALL);
        uint32_t id = flight->id;
        flight_drop(session, flight);
        answer_result(session, id, result);
    }
}

void session_error(Session *session, uint64_t ticket, Status status, const char *detail,
                   uint32_t retry_after_ms) {
    InFlight *flight = flight_find(session, ticket);
    if (flight != NULL) {
        REQUIRE(flight->state == FLIGHT_CALL && status != OK);
        uint32_t id = flight->id;
        flight_drop(session, flight);
        session_answer_error(session, id, status, detail, retry_after_ms);
    }
}

void session_accept(Session *session, const Call *call, uint64_t tag) {
    stream_accept(session, call, tag);
    session_check(session);
}

void session_token(Session *session, uint64_t ticket, const TokenEvent *event) {
    stream_token(session, ticket, event);
    session_check(session);
}

void session_done(Session *session, uint64_t ticket, const DoneEvent *event) {
    stream_done(session, ticket, event);
    session_check(session);
}

// ---- Calls that the session answers -------------------------------------------------------------

static void hello_put(Buffer *out, const Session *session) {
    static const char *const features[] = {"images", "blobs", "thinking", "logprobs"};
    const SessionLimits *limits = session->limits;
    uint32_t count = sizeof features / sizeof features[0];
    msg_put_map(out, 9);
    msg_pair_uint(out, "version", PROTOCOL_VERSION);
    msg_pair_word(out, "server", limits->server);
    msg_pair_word(out, "user", session->user.name);
    msg_put_key(out, "features");
    msg_put_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        msg_put_key(out, features[i]);
    }
    msg_pair_uint(out, "message_bytes", limits->frame.message_bytes_max);
    msg_pair_uint(out, "in_flight", limits->in_flight_max);
    msg_pair_uint(out, "credit", limits->credit_first);
    msg_pair_uint(out, "stream_bytes", limits->stream_bytes_max);
    msg_pair_uint(out, "idle_ms", limits->idle_ms);
}

// A wrong hello is answered and ends the session: nobody guesses tokens on one connection.
static void hello_refuse(Session *session, uint32_t id, const Error *error) {
    uint32_t retry_ms = error->status == E_AUTH || error->status == E_HELLO ? 0 : FULL_RETRY_MS;
    session_answer_error(session, id, error->status, error->text, retry_ms);
    if (!session_is_over(session)) {
        session->fault = *error;
        session_leave(session, SESSION_ENDING);
    }
}

static void session_greet(Session *session, const HelloCall *hello) {
    session->state = SESSION_READY;
    session->known = true;
    session->frame.limits = session->limits->frame;
    session->client_bytes = (uint32_t)hello->client.length;
    memcpy(session->client, hello->client.data != NULL ? (const char *)hello->client.data : "",
           hello->client.length);
}

static void session_hello(Session *session, const Call *call) {
    Error error = {0};
    const HelloCall *hello = &call->hello;
    if (session->state == SESSION_READY) {
        session_answer_error(session, call->id, E_HELLO, "hello was said already", 0);
        return;
    }
    if (hello->version != PROTOCOL_VERSION) {
        error_set(&error, E_HELLO, "version %u is not spoken here; this server speaks %d",
                  hello->version, PROTOCOL_VERSION);
        hello_refuse(session, call->id, &error);
        return;
    }
    if (session->handler->authenticate(session->context, hello->token, &session->user, &error) !=
        OK) {
        hello_refuse(session, call->id, &error);
        return;
    }
    if (!session_pay(session, session->user.purses)) {
        purse_error(session->user.purses.input, "a connection", &error);
        hello_refuse(session, call->id, &error);
        return;
    }
    Buffer result = {0};
    hello_put(&result, session);
    if (!result.failed) {
        session_greet(session, hello);
    }
    answer_result(session, call->id, &result);
    buffer_free(&result);
}

static void session_api_info(Session *session, const Call *call) {
    if (session->state == SESSION_HELLO && session->told_api) {
        session_answer_error(session, call->id, E_HELLO, "api_info was answered; hello comes next",
                             0);
        return;
    }
    session->told_api = true;
    Buffer result = {0};
    methods_put_api_info(&result);
    answer_result(session, call->id, &result);
    buffer_free(&result);
}

static void session_stream_call(Session *session, const Call *call) {
    uint8_t empty_map[] = {0x80};
    const Buffer result = {.data = empty_map, .length = sizeof empty_map};
    if (!call->notification) {
        answer_result(session, call->id, &result);
    }
    if (call->method == METHOD_CREDIT) {
        stream_credit(session, call->stream.id, call->stream.count);
    } else {
        stream_cancel(session, call->stream.id);
    }
    session_check(session);
}

// A call that stays longer than this input.
static bool session_pays_for(Session *session, Call *call) {
    bool stays = call->method == METHOD_GENERATE || call->method == METHOD_TOKENIZE ||
                 call->method == METHOD_PUT_BLOB;
    if (!stays || call_pay(call, session->purses.input)) {
        return true;
    }
    Error error = {0};
    purse_error(session->purses.input, "a call", &error);
    session_answer_error(session, call->id, error.status, error.text, FULL_RETRY_MS);
    return false;
}

// Hands the call to the service. True: it is the service's now.
static bool session_hand_on(Session *session, Call *call) {
    if (!session_pays_for(session, call)) {
        return false;
    }
    if (flight_take(session, call->id, &call->ticket) == NULL) {
        char text[120];
        if (session->flight_count < session->limits->in_flight_max) {
            Error error = {0};
            purse_error(session->purses.input, "another call", &error);
            session_answer_error(session, call->id, error.status, error.text, FULL_RETRY_MS);
            return false;
        }
        snprintf(text, sizeof text,
                 "this connection has %u calls and streams in flight, the most "
                 "it may have",
                 session->flight_count);
        session_answer_error(session, call->id, E_BUSY, text, FULL_RETRY_MS);
        return false;
    }
    call->began_ms = session->partial_ms;
    call->received_ms = session->now_ms;
    session->handler->call(session->context, session, call);
    return true;
}

void session_dispatch(Session *session, Call *call) {
    bool ready = session->state == SESSION_READY;
    if (!ready && method_rows[call->method].auth == METHOD_AUTH_USER) {
        if (call->notification) {
            session_end(session, E_HELLO, "hello comes first");
        } else {
            session_answer_error(session, call->id, E_HELLO, "hello comes first", 0);
        }
        call_free(call);
        return;
    }
    bool handed_on = false;
    switch (call->method) {
    case METHOD_HELLO:
        session_hello(session, call);
        break;
    case METHOD_API_INFO:
        session_api_info(session, call);
        break;
    case METHOD_CANCEL:
    case METHOD_CREDIT:
        session_stream_call(session, call);
        break;
    default:
        handed_on = session_hand_on(session, call);
        break;
    }
    if (!handed_on) {
        call_free(call);
    }
}

// ---- The socket's side --------------------------------------------------------------------------

Bytes session_output(Session *session) {
    if (session->state == SESSION_DEAD) {
        return (Bytes){0};
    }
    return outbox_output(&session->outbox, session->limits->write_bytes_max);
}

void session_written(Session *session, size_t count, uint64_t now_ms) {
    bool above = outbox_unwritten(&session->outbox) >= session->limits->outbox_high;
    session->now_ms = now_ms;
    session->active_ms = now_ms;
    outbox_written(&session->outbox, count, now_ms);
    if (above && outbox_unwritten(&session->outbox) < session->limits->outbox_high) {
        stream_resume_all(session);
        session_check(session);
    }
}

// ---- Deadlines ----------------------------------------------------------------------------------

typedef struct Overdue {
    uint64_t at_ms;
    const char *text; // for the client
} Overdue;

static void overdue_consider(Overdue *first, uint64_t since_ms, uint32_t after_ms,
                             const char *text) {
    if (since_ms + after_ms < first->at_ms) {
        *first = (Overdue){since_ms + after_ms, text};
    }
}

// The deadline that comes first. `text` NULL: of writing, which no message can tell about.
static Overdue session_overdue(const Session *session) {
    const SessionLimits *limits = session->limits;
    bool unwritten = outbox_unwritten(&session->outbox) > 0;
    Overdue first = {UINT64_MAX, NULL};
    if (session->state == SESSION_DEAD) {
        return first;
    }
    if (unwritten) {
        overdue_consider(&first, session->outbox.write_ms, limits->write_ms, NULL);
    }
    if (session->state == SESSION_HELLO) {
        overdue_consider(&first, session->opened_ms, limits->hello_ms, "no hello came in time");
    }
    if (session->input.length > 0 || session->skipping) {
        overdue_consider(&first, session->partial_ms, limits->partial_ms,
                         "a message was begun and did not become whole in time");
    } else if (session->state == SESSION_READY && session->flight_count == 0 && !unwritten) {
        overdue_consider(&first, session->active_ms, limits->idle_ms, "nothing came for too long");
    }
    return first;
}

uint64_t session_deadline_ms(const Session *session) {
    return session_overdue(session).at_ms;
}

void session_tick(Session *session, uint64_t now_ms) {
    session->now_ms = now_ms;
    outbox_tick(&session->outbox, now_ms);
    Overdue first = session_overdue(session);
    if (now_ms < first.at_ms) {
        return;
    }
    if (first.text == NULL) {
        session_die(session, E_UNREAD, "the client took no byte for too long");
    } else {
        session_end(session, E_TIMEOUT, first.text);
    }
}

// ---- Looking in ---------------------------------------------------------------------------------

SessionState session_state(const Session *session) {
    return session->state;
}

const SessionUser *session_user(const Session *session) {
    return session->known ? &session->user : NULL;
}

Bytes session_client(const Session *session) {
    return (Bytes){(const uint8_t *)session->client, session->client_bytes};
}

size_t session_bytes(const Session *session) {
    size_t bytes = sizeof *session + session->input.capacity + outbox_bytes(&session->outbox) +
                   session->flight_capacity * sizeof(InFlight);
    for (uint32_t i = 0; i < session->flight_capacity; i++) {
        const InFlight *flight = &session->flights[i];
        bytes += flight->done != NULL ? sizeof *flight->done : 0;
        for (uint32_t k = 0; k < flight->sample_count; k++) {
            const UnsentText *unsent = &flight->unsent[k];
            bytes += sizeof *unsent + unsent->text.capacity + unsent->thoughts.capacity +
                     unsent->ids.capacity + unsent->logprobs.capacity;
        }
    }
    return bytes;
}

uint32_t session_in_flight(const Session *session) {
    return session->flight_count;
}

const Error *session_fault(const Session *session) {
    return &session->fault;
}
