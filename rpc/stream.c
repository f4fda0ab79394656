// SPDX-License-Identifier: Apache-2.0
// What is in flight in a session: calls without an answer, and streams with their credit, the text
// they hold and their end.
#include "base/check.h"
#include "base/num.h"
#include "rpc/msg.h"
#include "rpc/session_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLIGHTS_FIRST = 8, UNSENT_KEEP_BYTES = 4096, CREDIT_MAX = 1 << 30 };

// ---- The table ----------------------------------------------------------------------------------

static uint64_t flight_ticket(const Session *session, const InFlight *flight) {
    uint64_t index = (uint64_t)(flight - session->flights);
    return (uint64_t)flight->generation * session->limits->in_flight_max + index + 1;
}

bool flights_grow(Session *session) {
    uint32_t capacity = (uint32_t)num_min(num_max(FLIGHTS_FIRST, session->flight_capacity * 2),
                                          session->limits->in_flight_max);
    if (capacity == session->flight_capacity) {
        return false;
    }
    size_t more = (capacity - session->flight_capacity) * sizeof(InFlight);
    if (!purse_take(session->purses.input, more)) {
        return false;
    }
    InFlight *flights = realloc(session->flights, capacity * sizeof *flights);
    if (flights == NULL) {
        purse_give(session->purses.input, more);
        return false;
    }
    session->flights = flights;
    for (uint32_t i = capacity; i-- > session->flight_capacity;) {
        flights[i] = (InFlight){.next_free = session->free_first};
        session->free_first = i;
    }
    session->flight_capacity = capacity;
    return true;
}

InFlight *flight_take(Session *session, uint32_t id, uint64_t *ticket) {
    if (session->free_first == FLIGHT_NONE && !flights_grow(session)) {
        return NULL;
    }
    InFlight *flight = &session->flights[session->free_first];
    session->free_first = flight->next_free;
    session->flight_count++;
    *flight = (InFlight){.state = FLIGHT_CALL, .generation = flight->generation, .id = id};
    *ticket = flight_ticket(session, flight);
    return flight;
}

InFlight *flight_find(Session *session, uint64_t ticket) {
    uint64_t index = (ticket - 1) % session->limits->in_flight_max;
    if (ticket == 0 || index >= session->flight_capacity) {
        return NULL;
    }
    InFlight *flight = &session->flights[index];
    bool found = flight->state != FLIGHT_FREE && flight_ticket(session, flight) == ticket;
    return found ? flight : NULL;
}

static size_t unsent_bytes(const UnsentText *unsent) {
    return unsent->text.length + unsent->thoughts.length + unsent->ids.length +
           unsent->logprobs.length;
}

static void unsent_free(UnsentText *unsent) {
    buffer_free(&unsent->text);
    buffer_free(&unsent->thoughts);
    buffer_free(&unsent->ids);
    buffer_free(&unsent->logprobs);
}

void flight_drop(Session *session, InFlight *flight) {
    for (uint32_t i = 0; i < flight->sample_count; i++) {
        unsent_free(&flight->unsent[i]);
    }
    free(flight->unsent);
    free(flight->done);
    purse_give(session->purses.output, flight->sample_count * sizeof *flight->unsent +
                                           (flight->done != NULL ? sizeof *flight->done : 0));
    session->held -= flight->held;
    session->flight_count--;
    *flight = (InFlight){.generation = flight->generation + 1, .next_free = session->free_first};
    session->free_first = (uint32_t)(flight - session->flights);
}

// The service's part of a stream is over, or it knows that it is.
static void stream_tell_cancel(Session *session, InFlight *flight) {
    if (!flight->cancelled && flight->done == NULL) {
        flight->cancelled = true;
        session->handler->cancel(session->context, session, flight->tag);
    }
}

void flight_drop_all(Session *session) {
    for (uint32_t i = 0; i < session->flight_capacity; i++) {
        InFlight *flight = &session->flights[i];
        if (flight->state == FLIGHT_STREAM) {
            stream_tell_cancel(session, flight);
        }
        if (flight->state != FLIGHT_FREE) {
            flight_drop(session, flight);
        }
    }
}

// ---- Writing events -----------------------------------------------------------------------------

static bool unsent_is_empty(const UnsentText *unsent) {
    return unsent->id_count == 0 && unsent->text.length == 0 && unsent->thoughts.length == 0;
}

static void put_array_pair(Buffer *out, const char *key, const Buffer *values, uint32_t count) {
    msg_put_key(out, key);
    msg_put_array(out, count);
    buffer_append(out, values->data, values->length);
}

// The pairs text, ids and perhaps thoughts and logprobs; unsent_pairs says how many.
static uint32_t unsent_pairs(const UnsentText *unsent) {
    return 2u + (unsent->thoughts.length > 0) + (unsent->logprob_count > 0);
}

static void unsent_put(Buffer *out, const UnsentText *unsent) {
    msg_pair_text_repaired(out, "text", (Bytes){unsent->text.data, unsent->text.length});
    if (unsent->thoughts.length > 0) {
        msg_pair_text_repaired(out, "thoughts",
                               (Bytes){unsent->thoughts.data, unsent->thoughts.length});
    }
    put_array_pair(out, "ids", &unsent->ids, unsent->id_count);
    if (unsent->logprob_count > 0) {
        put_array_pair(out, "logprobs", &unsent->logprobs, unsent->logprob_count);
    }
}

static void buffer_drop(Buffer *buffer) {
    if (buffer->capacity > UNSENT_KEEP_BYTES) {
        buffer_free(buffer);
    }
    buffer_clear(buffer);
}

static void unsent_clear(Session *session, InFlight *flight, UnsentText *unsent) {
    session->held -= unsent_bytes(unsent);
    flight->held -= unsent_bytes(unsent);
    buffer_drop(&unsent->text);
    buffer_drop(&unsent->thoughts);
    buffer_drop(&unsent->ids);
    buffer_drop(&unsent->logprobs);
    unsent->id_count = unsent->logprob_count = 0;
}

static void stream_put_token(Session *session, InFlight *flight, uint32_t index) {
    UnsentText *unsent = &flight->unsent[index];
    Buffer *out = &session->outbox.queued;
    msg_put_notification(out, event_rows[EVENT_TOKEN].name);
    msg_put_map(out, 3 + unsent_pairs(unsent));
    msg_pair_uint(out, "id", flight_ticket(session, flight));
    msg_pair_uint(out, "index", index);
    msg_pair_uint(out, "seq", unsent->seq++);
    unsent_put(out, unsent);
    flight->credit--;
    unsent_clear(session, flight, unsent);
}

static Status done_status(const InFlight *flight, const DoneEvent *event) {
    Status status = flight->unread ? E_UNREAD : event->status;
    for (uint32_t i = 0; i < flight->sample_count && status == OK; i++) {
        status = event->reasons[i] == DONE_DEADLINE ? E_DEADLINE : OK;
        REQUIRE(event->reasons[i] != DONE_ERROR);
    }
    return status;
}

static void done_put_samples(Buffer *out, const InFlight *flight, const DoneEvent *event) {
    msg_put_key(out, "samples");
    msg_put_array(out, flight->sample_count);
    for (uint32_t i = 0; i < flight->sample_count; i++) {
        const UnsentText *unsent = &flight->unsent[i];
        DoneReason reason = event->reasons[i];
        if (flight->unread && reason == DONE_CANCEL) {
            reason = DONE_ERROR;
        }
        msg_put_map(out, 3 + (flight->streams ? 0 : unsent_pairs(unsent)));
        msg_pair_word(out, "reason", done_reason_name(reason));
        msg_pair_uint(out, "tokens", unsent->token_count);
        msg_pair_uint(out, "cached_tokens", event->cached_tokens[i]);
        if (!flight->streams) {
            unsent_put(out, unsent);
        }
    }
}

static void done_put_error(const Session *session, Buffer *out, const InFlight *flight,
                           const PendingDone *done) {
    char unread[160];
    const char *detail = done->detail[0] != '\0' ? done->detail : NULL;
    if (flight->unread) {
        snprintf(unread, sizeof unread, "more than %u bytes of the answer were held: %s",
                 session->limits->stream_bytes_max,
                 flight->streams ? "read the stream and grant credit" : "ask with stream: true");
        detail = unread;
    }
    msg_put_key(out, "error");
    msg_put_fault(out, done_status(flight, &done->event), detail, done->event.retry_after_ms);
}

static void stream_put_done(Session *session, InFlight *flight) {
    const PendingDone *done = flight->done;
    Buffer *out = &session->outbox.queued;
    bool error = done_status(flight, &done->event) != OK;
    msg_put_notification(out, event_rows[EVENT_DONE].name);
    msg_put_map(out, error ? 5 : 4);
    msg_pair_uint(out, "id", flight_ticket(session, flight));
    done_put_samples(out, flight, &done->event);
    event_put_usage(out, &done->event);
    if (error) {
        done_put_error(session, out, flight, done);
    }
    flight_drop(session, flight);
}

// Writes what may be written of a stream: held text while it has credit, and after all of it
// `done`.
static void stream_flush(Session *session, InFlight *flight) {
    for (uint32_t i = 0; flight->streams && i < flight->sample_count; i++) {
        if (unsent_is_empty(&flight->unsent[i])) {
            continue;
        }
        if (flight->credit == 0 ||
            outbox_unwritten(&session->outbox) >= session->limits->outbox_high) {
            return;
        }
        stream_put_token(session, flight, i);
    }
    if (flight->done != NULL) {
        stream_put_done(session, flight);
    }
}

void stream_resume_all(Session *session) {
    for (uint32_t i = 0; i < session->flight_capacity; i++) {
        uint32_t at = (session->resume + i) % session->flight_capacity;
        InFlight *flight = &session->flights[at];
        if (outbox_unwritten(&session->outbox) >= session->limits->outbox_high) {
            session->resume = at; // the others come first next time
            break;
        }
        if (flight->state == FLIGHT_STREAM && flight->held > 0) {
            stream_flush(session, flight);
        }
    }
}

// ---- From the client ----------------------------------------------------------------------------

void stream_credit(Session *session, uint64_t ticket, uint32_t count) {
    InFlight *flight = flight_find(session, ticket);
    if (flight != NULL && flight->state == FLIGHT_STREAM) {
        flight->credit = num_min(flight->credit + count, CREDIT_MAX);
        stream_flush(session, flight);
    }
}

void stream_cancel(Session *session, uint64_t ticket) {
    InFlight *flight = flight_find(session, ticket);
    if (flight == NULL || flight->state != FLIGHT_STREAM) {
        return;
    }
    for (uint32_t i = 0; flight->streams && i < flight->sample_count; i++) {
        unsent_clear(session, flight, &flight->unsent[i]); // `done` need not wait for credit
    }
    stream_tell_cancel(session, flight);
    flight = flight_find(session, ticket); // the service may have ended it meanwhile
    if (flight != NULL) {
        stream_flush(session, flight);
    }
}

// ---- From the service ---------------------------------------------------------------------------

// Zeroed memory of a stream; flight_drop gives it back. NULL: the session ends at its next check.
static void *stream_take(Session *session, size_t count, size_t bytes) {
    void *memory = NULL;
    if (purse_take(session->purses.output, count * bytes)) {
        memory = calloc(count, bytes);
        if (memory == NULL) {
            purse_give(session->purses.output, count * bytes);
        }
    }
    session->outbox.queued.failed = session->outbox.queued.failed || memory == NULL;
    return memory;
}

void stream_accept(Session *session, const Call *call, uint64_t tag) {
    InFlight *flight = flight_find(session, call->ticket);
    if (flight == NULL) {
        session->handler->cancel(session->context, session, tag);
        return;
    }
    REQUIRE(flight->state == FLIGHT_CALL && call->method == METHOD_GENERATE);
    const GenerateCall *generate = &call->generate;
    flight->unsent = stream_take(session, generate->samples, sizeof *flight->unsent);
    flight->sample_count = flight->unsent != NULL ? generate->samples : 0;
    for (uint32_t i = 0; i < flight->sample_count; i++) {
        Purse *purse = session->purses.output;
        flight->unsent[i] = (UnsentText){.text = {.purse = purse},
                                         .thoughts = {.purse = purse},
                                         .ids = {.purse = purse},
                                         .logprobs = {.purse = purse}};
    }
    flight->state = FLIGHT_STREAM;
    flight->tag = tag;
    flight->streams = generate->stream;
    flight->credit = session->limits->credit_first;
    msg_put_result(&session->outbox.queued, flight->id);
    msg_put_map(&session->outbox.queued, 1);
    msg_pair_uint(&session->outbox.queued, "stream", call->ticket);
}

// Adds an event to what the sample holds. False: out of memory.
static bool unsent_add(UnsentText *unsent, const TokenEvent *event) {
    buffer_append(&unsent->text, event->text.data, event->text.length);
    buffer_append(&unsent->thoughts, event->thoughts.data, event->thoughts.length);
    for (uint32_t i = 0; i < event->id_count; i++) {
        msg_put_int(&unsent->ids, event->id[i]);
        if (event->logprobs != NULL) {
            event_put_logprob(&unsent->logprobs, &event->logprobs[i]);
            unsent->logprob_count++;
        }
    }
    unsent->id_count += event->id_count;
    unsent->token_count += event->id_count;
    return !unsent->text.failed && !unsent->thoughts.failed && !unsent->ids.failed &&
           !unsent->logprobs.failed;
}

void stream_token(Session *session, uint64_t ticket, const TokenEvent *event) {
    InFlight *flight = flight_find(session, ticket);
    if (flight == NULL || flight->state != FLIGHT_STREAM || flight->cancelled ||
        flight->done != NULL) {
        return;
    }
    REQUIRE(event->index < flight->sample_count);
    UnsentText *unsent = &flight->unsent[event->index];
    size_t before = unsent_bytes(unsent);
    session->outbox.queued.failed = !unsent_add(unsent, event) || session->outbox.queued.failed;
    flight->held += unsent_bytes(unsent) - before;
    session->held += unsent_bytes(unsent) - before;
    stream_flush(session, flight);
    if (flight->held > session->limits->stream_bytes_max) {
        flight->unread = true;
        stream_tell_cancel(session, flight);
    }
}

void stream_done(Session *session, uint64_t ticket, const DoneEvent *event) {
    InFlight *flight = flight_find(session, ticket);
    if (flight == NULL || flight->state != FLIGHT_STREAM || flight->done != NULL) {
        return;
    }
    flight->done = stream_take(session, 1, sizeof *flight->done);
    if (flight->done != NULL) {
        flight->done->event = *event;
        flight->done->event.detail = NULL;
        snprintf(flight->done->detail, sizeof flight->done->detail, "%s",
                 event->detail != NULL ? event->detail : "");
        stream_flush(session, flight);
    }
}
