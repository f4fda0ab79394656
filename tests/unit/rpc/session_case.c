// SPDX-License-Identifier: Apache-2.0
#include "session_case.h"

#include <criterion/criterion.h>
#include <string.h>

static Status case_authenticate(void *context, Bytes token, SessionUser *out, Error *error) {
    (void)context;
    if (!bytes_equal(token, bytes_of_text("alice's token"))) {
        return error_set(error, E_AUTH, "the token is not known here");
    }
    *out = (SessionUser){.number = 3, .name = "alice"};
    return OK;
}

static void case_call(void *context, Session *session, Call *call) {
    SessionCase *c = context;
    cr_assert_lt(c->call_count, CASE_CALLS_MAX);
    if (c->refuse_calls) {
        session_error(session, call->ticket, E_BUSY, NULL, 250);
    } else if (c->accept_calls && call->method == METHOD_GENERATE) {
        session_accept(session, call, c->call_count);
    }
    c->calls[c->call_count++] = call;
}

static void case_cancel(void *context, Session *session, uint64_t tag) {
    SessionCase *c = context;
    (void)session;
    cr_assert_lt(c->cancel_count, CASE_CALLS_MAX);
    c->cancelled[c->cancel_count++] = tag;
}

void case_open(SessionCase *c, void (*change)(SessionLimits *limits)) {
    *c = (SessionCase){
        .limits = session_limits_default(),
        .handler = {.authenticate = case_authenticate, .call = case_call, .cancel = case_cancel},
        .now_ms = 1000};
    if (change != NULL) {
        change(&c->limits);
    }
    cr_assert_eq(session_open(&c->limits, &c->handler, c, c->now_ms, &c->session, NULL), OK);
}

void case_close(SessionCase *c) {
    session_close(c->session);
    for (uint32_t i = 0; i < c->call_count; i++) {
        call_free(c->calls[i]);
    }
    msg_close(&c->msg);
    buffer_free(&c->seen);
}

void case_receive(SessionCase *c, const Buffer *bytes) {
    session_receive(c->session, (Bytes){bytes->data, bytes->length}, c->now_ms);
    Buffer used = *bytes;
    buffer_free(&used);
}

void case_drain(SessionCase *c) {
    for (Bytes out; (out = session_output(c->session)).length > 0;) {
        buffer_append(&c->seen, out.data, out.length);
        session_written(c->session, out.length, c->now_ms);
    }
}

const Msg *case_next(SessionCase *c) {
    case_drain(c);
    Frame frame;
    frame_open(&frame, &c->limits.frame);
    size_t length = 0;
    Bytes rest = {c->seen.data + c->seen_at, c->seen.length - c->seen_at};
    msg_close(&c->msg);
    if (rest.length == 0) {
        return NULL;
    }
    Error error = {0};
    cr_assert_eq(frame_next(&frame, rest, &length, &error), OK, "%s", error.text);
    cr_assert_gt(length, 0, "the session wrote half a message");
    cr_assert_eq(msg_open((Bytes){rest.data, length}, &c->msg, NULL), OK);
    c->seen_at += length;
    return &c->msg;
}

const Msg *case_expect(SessionCase *c, MsgKind kind, const char *method_or_null) {
    const Msg *msg = case_next(c);
    cr_assert_not_null(msg, "nothing was written");
    cr_assert_eq(msg->kind, kind);
    if (method_or_null != NULL) {
        cr_assert(bytes_equal(msg->method, bytes_of_text(method_or_null)), "%.*s is not %s",
                  (int)msg->method.length, msg->method.data, method_or_null);
    }
    return msg;
}

const msgpack_object *case_field(const msgpack_object *map, const char *key) {
    cr_assert_eq(map->type, MSGPACK_OBJECT_MAP);
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *pair = &map->via.map.ptr[i];
        Bytes name = {(const uint8_t *)pair->key.via.str.ptr, pair->key.via.str.size};
        if (bytes_equal(name, bytes_of_text(key))) {
            return &pair->val;
        }
    }
    return NULL;
}

void case_expect_error(SessionCase *c, uint32_t id, Status status, const char *says) {
    const Msg *msg = case_expect(c, MSG_RESPONSE, NULL);
    cr_assert_eq(msg->id, id);
    cr_assert_eq(msg->error->type, MSGPACK_OBJECT_MAP, "the answer is no error");
    const msgpack_object *code = case_field(msg->error, "code");
    const msgpack_object *text = case_field(msg->error, "message");
    cr_assert_eq(code->via.i64, status, "%d", (int)code->via.i64);
    char message[ERROR_TEXT_MAX];
    snprintf(message, sizeof message, "%.*s", (int)text->via.str.size, text->via.str.ptr);
    cr_assert_not_null(strstr(message, says), "\"%s\" does not say \"%s\"", message, says);
}

void case_hello(SessionCase *c) {
    Buffer out = {0};
    msg_put_request(&out, 1, "hello");
    msg_put_map(&out, 2);
    msg_pair_uint(&out, "version", 1);
    msg_pair_word(&out, "token", "alice's token");
    case_receive(c, &out);
    const Msg *msg = case_expect(c, MSG_RESPONSE, NULL);
    cr_assert_eq(msg->error->type, MSGPACK_OBJECT_NIL);
}

void case_put_hi(Buffer *out) {
    msg_put_key(out, "messages");
    msg_put_array(out, 1);
    msg_put_map(out, 2);
    msg_pair_word(out, "role", "user");
    msg_pair_word(out, "content", "hi");
}

Buffer case_generate(uint32_t id, uint32_t extra_count, void (*extra)(Buffer *out)) {
    Buffer out = {0};
    msg_put_request(&out, id, "generate");
    msg_put_map(&out, 1 + extra_count);
    case_put_hi(&out);
    if (extra != NULL) {
        extra(&out);
    }
    return out;
}

static void extra_stream(Buffer *out) {
    msg_pair_bool(out, "stream", true);
}

uint64_t case_stream(SessionCase *c) {
    case_hello(c);
    c->accept_calls = true;
    Buffer request = case_generate(2, 1, extra_stream);
    case_receive(c, &request);
    const Msg *msg = case_expect(c, MSG_RESPONSE, NULL);
    cr_assert_eq(msg->error->type, MSGPACK_OBJECT_NIL);
    return case_field(msg->result, "stream")->via.u64;
}
