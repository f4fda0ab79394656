// SPDX-License-Identifier: Apache-2.0
// Bytes in: messages are cut out of what arrives, and a message that there is no room for is
// answered and skipped, so that it costs its sender this call and nothing else.
#include "base/check.h"
#include "base/num.h"
#include "rpc/msg.h"
#include "rpc/session_state.h"

#include <string.h>

enum {
    INPUT_MOVE_BYTES = 64 * 1024, // from here on a message takes the input buffer along
    INPUT_SMALL_BYTES = 4 * 1024, // a message that is always read: it may be a cancel
    FULL_RETRY_MS = 1000,         // when there is no room
};

// ---- No room ------------------------------------------------------------------------------------

static bool is_shortage(Status status) {
    return status == E_MEMORY || status == E_BUSY || status == E_USER_BUSY;
}

// The call that begins with these bytes is refused, or the session ends when it cannot be answered.
static void input_refuse(Session *session, Bytes begun, const Error *error) {
    uint32_t id;
    if (session->state == SESSION_READY && msg_request_id(begun, &id)) {
        uint32_t retry_ms = error->status == E_MEMORY ? 0 : FULL_RETRY_MS;
        session_answer_error(session, id, error->status, error->text, retry_ms);
    } else {
        session_end(session, error->status, error->text);
    }
}

// What has come of the message is dropped, and what comes of it will be.
static void input_skip(Session *session) {
    Error error = {0};
    Buffer *input = &session->input;
    purse_error(input->purse, "a message", &error);
    input_refuse(session, (Bytes){input->data, input->length}, &error);
    session->skipping = true;
}

// ---- Messages -----------------------------------------------------------------------------------

// Takes the message input[at, at + length) out. A small one is paid for when it stays
// (session_hand_on). A large one takes the buffer along; the rest of the
// input is then the small part, and is copied. *at moves to the next message.
static Buffer input_take_message(Session *session, size_t *at, size_t length) {
    Buffer *input = &session->input;
    Buffer message = {.purse = length > INPUT_SMALL_BYTES ? input->purse : NULL};
    if (*at > 0 || length < INPUT_MOVE_BYTES) {
        buffer_append(&message, input->data + *at, length);
        *at += length;
        return message;
    }
    Buffer rest = {.purse = input->purse};
    buffer_append(&rest, input->data + length, input->length - length);
    message = *input;
    message.length = length;
    message.data[length] = 0;
    *input = rest;
    return message;
}

static void input_message(Session *session, Buffer *message) {
    Call *call = NULL;
    Error error = {0};
    uint8_t head[MSG_HEAD_BYTES] = {0};
    memcpy(head, message->data, num_min(message->length, sizeof head));
    Status status = call_open(message, &call, &error);
    if (status == OK) {
        session_dispatch(session, call);
    } else if (call != NULL) {
        session_answer_error(session, call->id, status, error.text, 0);
        call_free(call);
    } else if (is_shortage(status)) {
        input_refuse(session, (Bytes){head, sizeof head}, &error);
    } else {
        session_end(session, status, error.text);
    }
}

static void input_whole(Session *session, size_t *at, size_t length) {
    if (session->skipping) {
        session->skipping = false;
        *at += length;
        return;
    }
    Bytes begun = {session->input.data + *at, length};
    Buffer message = input_take_message(session, at, length);
    if (message.failed) { // it was to be copied: the input is as it was
        Error error = {0};
        purse_error(message.purse, "a message", &error);
        input_refuse(session, begun, &error);
        buffer_free(&message);
    } else {
        input_message(session, &message);
    }
}

static void input_shift(Session *session, size_t at) {
    Buffer *input = &session->input;
    if (at == input->length) {
        size_t keep = session->skipping ? OUTBOX_FIRST_BYTES : OUTBOX_KEEP_BYTES;
        buffer_empty(input, keep, OUTBOX_FIRST_BYTES);
    } else if (at > 0) {
        memmove(input->data, input->data + at, input->length - at);
        input->length -= at;
        input->data[input->length] = 0;
    }
}

// The next whole message of the input, or what is understood of one that is skipped. False: more
// bytes must come first.
static bool input_next(Session *session, size_t *at) {
    Error error = {0};
    size_t length = 0;
    const Buffer *input = &session->input;
    Bytes unread = {input->data + *at, input->length - *at};
    Status status = input->failed ? purse_error(input->purse, "a message", &error)
                                  : frame_next(&session->frame, unread, &length, &error);
    if (status != OK) {
        session_end(session, status, error.text);
        return false;
    }
    if (length > 0) {
        input_whole(session, at, length);
        session->partial_ms = session->now_ms; // what follows is another message
        session->calls_left--;
        return true;
    }
    if (session->skipping) {
        size_t count = num_min(unread.length, frame_understood(&session->frame));
        session->skipping = !frame_drop(&session->frame, count);
        *at += count;
    }
    return false;
}

// Takes whole messages out of the input, as many as this turn allows.
static void input_take_calls(Session *session) {
    size_t at = 0;
    bool more = true;
    while (more && !session_is_over(session) && session->calls_left > 0) {
        more = input_next(session, &at);
    }
    session->more = more && !session_is_over(session) && at < session->input.length;
    if (!session_is_over(session)) {
        input_shift(session, at);
    }
}

// ---- Bytes --------------------------------------------------------------------------------------

// How many more bytes the input has room for, at most `wanted`. It grows by doubling, but not
// beyond the message that is being received: what it grows by has come, and is not only announced.
static size_t input_room(Session *session, size_t wanted) {
    Buffer *input = &session->input;
    size_t need = input->length + wanted + 1;
    if (need > input->capacity) {
        size_t message = (size_t)(session->frame.wanted - session->frame.dropped) + 1;
        size_t usual = num_max(need, 2 * input->capacity);
        usual = message > need ? num_min(usual, message) : usual;
        if (!buffer_grow(input, usual)) {
            input->failed = false;
            buffer_grow(input, need);
        }
    }
    input->failed = false;
    size_t room = input->capacity > 0 ? input->capacity - 1 - input->length : 0;
    return num_min(room, wanted);
}

// The payload of a message that is skipped need not be looked at. Returns the bytes gone.
static size_t input_drop(Session *session, size_t count) {
    size_t known = session->input.length == 0 ? frame_understood(&session->frame) : 0;
    size_t gone = session->skipping ? num_min(count, known) : 0;
    if (gone > 0) {
        session->skipping = !frame_drop(&session->frame, gone);
    }
    return gone;
}

// Returns the bytes taken.
static size_t input_take(Session *session, Bytes bytes) {
    size_t count = input_drop(session, bytes.length);
    if (count > 0) {
        return count;
    }
    count = input_room(session, bytes.length);
    if (count < bytes.length) {
        session->calls_left = session->limits->calls_at_once; // what cannot wait is taken now
    }
    if (count == 0 && !session->more) {
        input_skip(session);
    }
    buffer_append(&session->input, bytes.data, count);
    input_take_calls(session);
    return count;
}

void session_receive(Session *session, Bytes bytes, uint64_t now_ms) {
    session->now_ms = now_ms;
    session->active_ms = now_ms;
    if (session->input.length == 0 && !session->skipping) {
        session->partial_ms = now_ms;
    }
    while (bytes.length > 0 && !session_is_over(session)) {
        size_t count = input_take(session, bytes);
        bytes = (Bytes){bytes.data + count, bytes.length - count};
    }
}

bool session_has_more(const Session *session) {
    return session->more;
}

void session_turn(Session *session, uint64_t now_ms) {
    session->now_ms = now_ms;
    session->calls_left = session->limits->calls_at_once;
    if (session->more) {
        input_take_calls(session);
    }
}
