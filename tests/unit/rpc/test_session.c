// SPDX-License-Identifier: Apache-2.0
// session.h: hello, what is in flight, credit, marks, deadlines. The bytes of whole dialogues are
// in test_spec.c.
#include "session_case.h"

#include <criterion/criterion.h>
#include <string.h>

static Buffer request(uint32_t id, const char *method) {
    Buffer out = {0};
    msg_put_request(&out, id, method);
    msg_put_map(&out, 0);
    return out;
}

static Buffer stream_call(const char *method, uint64_t stream, uint64_t n) {
    Buffer out = {0};
    msg_put_notification(&out, method);
    msg_put_map(&out, n > 0 ? 2 : 1);
    msg_pair_uint(&out, "id", stream);
    if (n > 0) {
        msg_pair_uint(&out, "n", n);
    }
    return out;
}

static void expect_text(const Msg *msg, const char *text, uint64_t seq) {
    const msgpack_object *o = case_field(msg->params, "text");
    cr_assert_eq(o->via.str.size, strlen(text), "%.*s", (int)o->via.str.size, o->via.str.ptr);
    cr_assert_arr_eq(o->via.str.ptr, text, strlen(text));
    cr_assert_eq(case_field(msg->params, "seq")->via.u64, seq);
}

static void say(SessionCase *c, uint64_t stream, const char *text, int32_t id) {
    session_token(c->session, stream,
                  &(TokenEvent){.text = bytes_of_text(text), .id = &id, .id_count = 1});
}

// ---- hello --------------------------------------------------------------------------------------

Test(session, hello_tells_who_and_what) {
    SessionCase c;
    case_open(&c, NULL);
    cr_assert_null(session_user(c.session));
    case_hello(&c);
    cr_assert_eq(session_state(c.session), SESSION_READY);
    cr_assert_str_eq(session_user(c.session)->name, "alice");
    cr_assert_eq(session_user(c.session)->number, 3);
    case_close(&c);
}

Test(session, nothing_but_health_and_api_info_comes_before_hello) {
    SessionCase c;
    case_open(&c, NULL);
    Buffer models = request(5, "models");
    case_receive(&c, &models);
    case_expect_error(&c, 5, E_HELLO, "hello comes first");
    cr_assert_eq(c.call_count, 0);
    Buffer info = request(6, "api_info");
    case_receive(&c, &info);
    const Msg *msg = case_expect(&c, MSG_RESPONSE, NULL);
    cr_assert_eq(case_field(msg->result, "methods")->via.array.size, METHOD_COUNT);
    Buffer health = request(7, "health");
    case_receive(&c, &health);
    cr_assert_eq(c.call_count, 1);
    cr_assert_eq(c.calls[0]->method, METHOD_HEALTH);
    cr_assert_eq(session_state(c.session), SESSION_HELLO);
    case_close(&c);
}

Test(session, a_wrong_token_is_answered_and_ends_the_session) {
    SessionCase c;
    case_open(&c, NULL);
    Buffer out = {0};
    msg_put_request(&out, 1, "hello");
    msg_put_map(&out, 2);
    msg_pair_uint(&out, "version", 1);
    msg_pair_word(&out, "token", "guess");
    case_receive(&c, &out);
    case_expect_error(&c, 1, E_AUTH, "not known");
    cr_assert_eq(session_state(c.session), SESSION_ENDING);
    cr_assert_null(session_user(c.session));
    Buffer again = request(2, "health");
    case_receive(&c, &again);
    cr_assert_null(case_next(&c));
    case_close(&c);
}

Test(session, another_version_is_refused_by_number) {
    SessionCase c;
    case_open(&c, NULL);
    Buffer out = {0};
    msg_put_request(&out, 1, "hello");
    msg_put_map(&out, 2);
    msg_pair_uint(&out, "version", 9);
    msg_pair_word(&out, "of_version_9", "unknown here");
    case_receive(&c, &out);
    case_expect_error(&c, 1, E_HELLO, "version 9 is not spoken here; this server speaks 1");
    case_close(&c);
}

Test(session, before_hello_messages_are_small) {
    SessionCase c;
    case_open(&c, NULL);
    Buffer out = {0};
    msg_put_request(&out, 1, "hello");
    msg_put_map(&out, 1);
    msg_put_key(&out, "client");
    const uint8_t text_of_1_mib[] = {0xdb, 0x00, 0x10, 0x00, 0x00};
    buffer_append(&out, text_of_1_mib, sizeof text_of_1_mib);
    case_receive(&c, &out);
    const Msg *msg = case_expect(&c, MSG_NOTIFICATION, "goodbye");
    cr_assert_eq(case_field(msg->params, "code")->via.i64, E_MESSAGE_LIMIT);
    cr_assert_eq(session_state(c.session), SESSION_ENDING);
    case_close(&c);
}

// ---- Calls --------------------------------------------------------------------------------------

Test(session, messages_may_be_cut_anywhere) {
    SessionCase c;
    case_open(&c, NULL);
    case_hello(&c);
    Buffer out = request(10, "stats");
    Buffer second = request(11, "models");
    buffer_append(&out, second.data, second.length);
    for (size_t i = 0; i < out.length; i++) {
        session_receive(c.session, (Bytes){out.data + i, 1}, c.now_ms);
    }
    cr_assert_eq(c.call_count, 2);
    cr_assert_eq(c.calls[0]->id, 10);
    cr_assert_eq(c.calls[1]->id, 11);
    buffer_free(&second);
    buffer_free(&out);
    case_close(&c);
}

static void extra_picture(Buffer *out) {
    static uint8_t picture[300000];
    memset(picture, 7, sizeof picture);
    msg_put_key(out, "messages");
    msg_put_array(out, 1);
    msg_put_map(out, 2);
    msg_pair_word(out, "role", "user");
    msg_put_key(out, "content");
    msg_put_array(out, 1);
    msg_put_map(out, 2);
    msg_pair_word(out, "type", "image");
    msg_pair_binary(out, "data", (Bytes){picture, sizeof picture});
}

Test(session, a_call_knows_when_its_first_and_its_last_byte_came) {
    SessionCase c;
    case_open(&c, NULL);
    case_hello(&c);
    Buffer two = case_generate(1, 0, NULL);
    const size_t first = two.length;
    Buffer second = case_generate(2, 0, NULL);
    buffer_append(&two, second.data, second.length);
    session_receive(c.session, (Bytes){two.data, 1}, 5000);
    session_receive(c.session, (Bytes){two.data + 1, first - 2}, 6000);
    session_receive(c.session, (Bytes){two.data + first - 1, 3}, 7500); // and 2 bytes of the other
    session_receive(c.session, (Bytes){two.data + first + 2, two.length - first - 2}, 9000);
    cr_assert_eq(c.call_count, 2);
    cr_expect_eq(c.calls[0]->began_ms, 5000);
    cr_expect_eq(c.calls[0]->received_ms, 7500);
    cr_expect_eq(c.calls[1]->began_ms, 7500);
    cr_expect_eq(c.calls[1]->received_ms, 9000);
    buffer_free(&two);
    buffer_free(&second);
    case_close(&c);
}

Test(session, a_large_message_is_handed_on_whole_and_the_next_one_is_not_lost) {
    SessionCase c;
    case_open(&c, NULL);
    case_hello(&c);
    Buffer out = {0};
    msg_put_request(&out, 20, "generate");
    msg_put_map(&out, 1);
    extra_picture(&out);
    Buffer second = request(21, "models");
    buffer_append(&out, second.data, second.length);
    session_receive(c.session, (Bytes){out.data, 100000}, c.now_ms);
    session_receive(c.session, (Bytes){out.data + 100000, out.length - 100000}, c.now_ms);
    cr_assert_eq(c.call_count, 2);
    const CallPart *part = &c.calls[0]->generate.messages[0].parts[0];
    cr_assert_eq(part->kind, CALL_IMAGE);
    cr_assert_eq(part->data.length, 300000);
    cr_assert_eq(part->data.data[299999], 7);
    cr_assert_eq(c.calls[1]->id, 21);
    cr_assert_lt(session_bytes(c.session), 20000, "the picture is still held by the session");
    buffer_free(&second);
    buffer_free(&out);
    case_close(&c);
}

Test(session, results_and_errors_answer_their_call_once) {
    SessionCase c;
    case_open(&c, NULL);
    case_hello(&c);
    Buffer health = request(8, "health"), stats = request(9, "stats");
    case_receive(&c, &health);
    case_receive(&c, &stats);
    Buffer result = {0};
    result_put_health(&result, HEALTH_DRAINING);
    session_error(c.session, c.calls[1]->ticket, E_BUSY, NULL, 40);
    session_result(c.session, c.calls[0]->ticket, &result);
    session_result(c.session, c.calls[0]->ticket, &result);
    case_expect_error(&c, 9, E_BUSY, "busy");
    const Msg *msg = case_expect(&c, MSG_RESPONSE, NULL);
    cr_assert_eq(msg->id, 8);
    cr_assert_null(case_next(&c));
    cr_assert_eq(session_in_flight(c.session), 0);
    buffer_free(&result);
    case_close(&c);
}

Test(session, a_result_that_found_no_memory_is_answered_as_that_and_the_stream_stays_whole) {
    SessionCase c;
    case_open(&c, NULL);
    case_hello(&c);
    Buffer stats = request(8, "stats"), health = request(9, "health");
    case_receive(&c, &stats);
    case_receive(&c, &health);
    Buffer result = {0};
    msg_put_map(&result, 2); // and nothing in it
    result.failed = true;
    session_result(c.session, c.calls[0]->ticket, &result);
    case_expect_error(&c, 8, E_MEMORY, "no memory for the answer");
    buffer_clear(&result);
    result_put_health(&result, HEALTH_OK);
    session_result(c.session, c.calls[1]->ticket, &result);
    cr_assert_eq(case_expect(&c, MSG_RESPONSE, NULL)->id, 9);
    buffer_free(&result);
    case_close(&c);
}

Test(session, an_unknown_method_or_parameter_is_refused_and_harms_nothing) {
    SessionCase c;
    case_open(&c, NULL);
    case_hello(&c);
    Buffer unknown = request(2, "generat");
    case_receive(&c, &unknown);
    case_expect_error(&c, 2, E_METHOD, "no such method");
    Buffer lacking = request(3, "generate");
    case_receive(&c, &lacking);
    case_expect_error(&c, 3, E_ARGUMENT, "params.messages");
    cr_assert_eq(session_state(c.session), SESSION_READY);
    cr_assert_eq(c.call_count, 0);
    case_close(&c);
}

Test(session, a_key_that_is_no_name_is_refused_and_not_told_again) {
    static const char *const keys[] = {"x user=alice reason=OK", "\"", "a\nb", "\x1b[2J", "",
                                       "gr\xc3\xbc\xc3\x9f",     "a=b"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        SessionCase c;
        case_open(&c, NULL);
        case_hello(&c);
        Buffer out = {0};
        msg_put_notification(&out, "cancel");
        msg_put_map(&out, 2);
        msg_pair_uint(&out, "id", 1);
        msg_pair_uint(&out, keys[i], 1);
        case_receive(&c, &out);
        cr_expect_str_eq(session_fault(c.session)->text,
                         "params has a key that is no parameter's name", "%s", keys[i]);
        case_close(&c);
    }
}

Test(session, bytes_of_another_protocol_end_it_with_a_goodbye) {
    SessionCase c;
    case_open(&c, NULL);
    session_receive(c.session, bytes_of_text("GET / HTTP/1.1\r\n\r\n"), c.now_ms);
    const Msg *msg = case_expect(&c, MSG_NOTIFICATION, "goodbye");
    cr_assert_eq(case_field(msg->params, "code")->via.i64, E_MESSAGE);
    cr_assert_eq(session_state(c.session), SESSION_ENDING);
    case_close(&c);
}

static void two_in_flight(SessionLimits *limits) {
    limits->in_flight_max = 2;
}

Test(session, no_more_than_in_flight_max_are_handed_on) {
    SessionCase c;
    case_open(&c, two_in_flight);
    case_hello(&c);
    for (uint32_t id = 1; id <= 3; id++) {
        Buffer out = request(id, "stats");
        case_receive(&c, &out);
    }
    case_expect_error(&c, 3, E_BUSY, "2 calls and streams in flight");
    cr_assert_eq(c.call_count, 2);
    Buffer result = {0};
    result_put_health(&result, HEALTH_OK);
    session_result(c.session, c.calls[0]->ticket, &result);
    buffer_free(&result);
    Buffer out = request(4, "stats");
    case_receive(&c, &out);
    cr_assert_eq(c.call_count, 3);
    cr_assert_neq(c.calls[2]->ticket, c.calls[0]->ticket, "a ticket is used twice");
    case_close(&c);
}

// ---- Streams ------------------------------------------------------------------------------------

static void credit_of_two(SessionLimits *limits) {
    limits->credit_first = 2;
}

Test(session, without_credit_text_is_held_and_merged) {
    SessionCase c;
    case_open(&c, credit_of_two);
    uint64_t stream = case_stream(&c);
    const char *words[] = {"a", "b", "c", "d", "e"};
    for (int32_t i = 0; i < 5; i++) {
        say(&c, stream, words[i], i);
    }
    expect_text(case_expect(&c, MSG_NOTIFICATION, "token"), "a", 0);
    expect_text(case_expect(&c, MSG_NOTIFICATION, "token"), "b", 1);
    cr_assert_null(case_next(&c));
    Buffer credit = stream_call("credit", stream, 1);
    case_receive(&c, &credit);
    const Msg *msg = case_expect(&c, MSG_NOTIFICATION, "token");
    expect_text(msg, "cde", 2);
    cr_assert_eq(case_field(msg->params, "ids")->via.array.size, 3);
    cr_assert_null(case_next(&c));
    case_close(&c);
}

Test(session, done_waits_for_the_text_before_it) {
    SessionCase c;
    case_open(&c, credit_of_two);
    uint64_t stream = case_stream(&c);
    for (int32_t i = 0; i < 3; i++) {
        say(&c, stream, "x", i);
    }
    session_done(c.session, stream, &(DoneEvent){.reasons = {DONE_LENGTH}, .output_tokens = 3});
    case_expect(&c, MSG_NOTIFICATION, "token");
    case_expect(&c, MSG_NOTIFICATION, "token");
    cr_assert_null(case_next(&c));
    cr_assert_eq(session_in_flight(c.session), 1);
    Buffer credit = stream_call("credit", stream, 5);
    case_receive(&c, &credit);
    case_expect(&c, MSG_NOTIFICATION, "token");
    const Msg *msg = case_expect(&c, MSG_NOTIFICATION, "done");
    const msgpack_object *sample = &case_field(msg->params, "samples")->via.array.ptr[0];
    cr_assert_eq(case_field(sample, "tokens")->via.u64, 3);
    cr_assert_null(case_field(sample, "text"));
    cr_assert_null(case_field(msg->params, "error"));
    cr_assert_eq(session_in_flight(c.session), 0);
    case_close(&c);
}

static void extra_two(Buffer *out) {
    msg_pair_uint(out, "n", 2);
}

Test(session, without_stream_the_whole_answer_is_in_done) {
    SessionCase c;
    case_open(&c, credit_of_two);
    case_hello(&c);
    c.accept_calls = true;
    Buffer out = case_generate(4, 1, extra_two);
    case_receive(&c, &out);
    uint64_t ticket = c.calls[0]->ticket;
    case_expect(&c, MSG_RESPONSE, NULL);
    for (uint32_t i = 0; i < 6; i++) {
        const int32_t id = (int32_t)i;
        const char *text = i % 2 == 0 ? "left " : "right ";
        session_token(c.session, ticket,
                      &(TokenEvent){.index = i % 2,
                                    .text = bytes_of_text(text),
                                    .thoughts = bytes_of_text(i == 0 ? "hm" : ""),
                                    .id = &id,
                                    .id_count = 1});
    }
    cr_assert_null(case_next(&c));
    session_done(c.session, ticket, &(DoneEvent){.reasons = {DONE_STOP, DONE_LENGTH}});
    const Msg *msg = case_expect(&c, MSG_NOTIFICATION, "done");
    const msgpack_object *samples = case_field(msg->params, "samples")->via.array.ptr;
    const msgpack_object *text = case_field(&samples[1], "text");
    cr_assert_arr_eq(text->via.str.ptr, "right right right ", 18);
    cr_assert_not_null(case_field(&samples[0], "thoughts"));
    cr_assert_null(case_field(&samples[1], "thoughts"));
    cr_assert_arr_eq(case_field(&samples[1], "reason")->via.str.ptr, "length", 6);
    case_close(&c);
}

Test(session, cancel_reaches_the_service_once_and_done_follows_at_once) {
    SessionCase c;
    case_open(&c, credit_of_two);
    uint64_t stream = case_stream(&c);
    for (int32_t i = 0; i < 4; i++) {
        say(&c, stream, "x", i);
    }
    for (int i = 0; i < 2; i++) {
        Buffer cancel = stream_call("cancel", stream, 0);
        case_receive(&c, &cancel);
    }
    cr_assert_eq(c.cancel_count, 1);
    cr_assert_eq(c.cancelled[0], 0);
    say(&c, stream, "late", 9);
    session_done(c.session, stream, &(DoneEvent){.reasons = {DONE_CANCEL}});
    case_expect(&c, MSG_NOTIFICATION, "token");
    case_expect(&c, MSG_NOTIFICATION, "token");
    case_expect(&c, MSG_NOTIFICATION, "done");
    Buffer cancel = stream_call("cancel", stream, 0);
    case_receive(&c, &cancel);
    cr_assert_null(case_next(&c));
    cr_assert_eq(c.cancel_count, 1);
    case_close(&c);
}

Test(session, a_stream_that_is_not_read_costs_at_most_a_mebibyte) {
    SessionCase c;
    case_open(&c, credit_of_two);
    uint64_t stream = case_stream(&c);
    char word[1001];
    memset(word, 'w', 1000);
    word[1000] = '\0';
    for (int32_t i = 0; i < 2000; i++) {
        say(&c, stream, word, i);
        cr_assert_leq(session_bytes(c.session), (1 << 20) + 16384);
    }
    cr_assert_eq(c.cancel_count, 1);
    session_done(c.session, stream, &(DoneEvent){.reasons = {DONE_CANCEL}});
    Buffer credit = stream_call("credit", stream, 9);
    case_receive(&c, &credit);
    for (int i = 0; i < 3; i++) {
        case_expect(&c, MSG_NOTIFICATION, "token");
    }
    const Msg *msg = case_expect(&c, MSG_NOTIFICATION, "done");
    cr_assert_eq(case_field(case_field(msg->params, "error"), "code")->via.i64, E_UNREAD);
    case_close(&c);
}

static void low_marks(SessionLimits *limits) {
    limits->credit_first = 1000000;
    limits->outbox_high = 5000;
    limits->outbox_hard = 20000;
    limits->stream_bytes_max = 1000000;
}

Test(session, above_the_high_mark_tokens_are_held_until_the_socket_takes_more) {
    SessionCase c;
    case_open(&c, low_marks);
    uint64_t stream = case_stream(&c);
    size_t longest = 0;
    for (int32_t i = 0; i < 600; i++) {
        say(&c, stream, "0123456789", i);
    }
    for (Bytes out; (out = session_output(c.session)).length > 0;) {
        longest = out.length > longest ? out.length : longest;
        buffer_append(&c.seen, out.data, out.length);
        session_written(c.session, out.length, c.now_ms);
    }
    cr_assert_lt(longest, 10000);
    size_t bytes = 0, events = 0;
    for (const Msg *msg; (msg = case_next(&c)) != NULL; events++) {
        bytes += case_field(msg->params, "text")->via.str.size;
    }
    cr_assert_eq(bytes, 6000, "text was lost");
    cr_assert_lt(events, 300);
    case_close(&c);
}

Test(session, above_the_hard_mark_it_is_dead) {
    SessionCase c;
    case_open(&c, low_marks);
    uint64_t stream = case_stream(&c);
    for (int32_t i = 0; i < 3000; i++) {
        say(&c, stream, "0123456789", i);
        cr_assert_lt(session_bytes(c.session), 100000);
    }
    cr_assert_eq(session_state(c.session), SESSION_DEAD);
    cr_assert_eq(session_fault(c.session)->status, E_UNREAD);
    cr_assert_eq(c.cancel_count, 1);
    cr_assert_eq(session_output(c.session).length, 0);
    case_close(&c);
}

Test(session, closing_cancels_what_runs) {
    SessionCase c;
    case_open(&c, NULL);
    case_stream(&c);
    session_close(c.session);
    cr_assert_eq(c.cancel_count, 1);
    c.session = NULL;
    case_close(&c);
}

Test(session, a_drain_says_goodbye) {
    SessionCase c;
    case_open(&c, NULL);
    case_stream(&c);
    session_end(c.session, E_DRAIN, NULL);
    const Msg *msg = case_expect(&c, MSG_NOTIFICATION, "goodbye");
    cr_assert_eq(case_field(msg->params, "code")->via.i64, E_DRAIN);
    cr_assert_eq(c.cancel_count, 1);
    cr_assert_eq(session_state(c.session), SESSION_ENDING);
    case_close(&c);
}

// ---- Deadlines ----------------------------------------------------------------------------------

static void tick_at(SessionCase *c, uint64_t ms) {
    c->now_ms = ms;
    session_tick(c->session, ms);
}

static void expect_timeout(SessionCase *c, uint64_t deadline, const char *says) {
    cr_assert_eq(session_deadline_ms(c->session), deadline);
    SessionState before = session_state(c->session);
    tick_at(c, deadline - 1);
    cr_assert_eq(session_state(c->session), before);
    tick_at(c, deadline);
    cr_assert_eq(session_state(c->session), SESSION_ENDING);
    cr_assert_eq(session_fault(c->session)->status, E_TIMEOUT);
    cr_assert_not_null(strstr(session_fault(c->session)->text, says));
    case_expect(c, MSG_NOTIFICATION, "goodbye");
}

Test(session, hello_has_ten_seconds) {
    SessionCase c;
    case_open(&c, NULL);
    expect_timeout(&c, 1000 + 10000, "no hello");
    case_close(&c);
}

Test(session, a_message_has_thirty_seconds_from_its_first_byte) {
    SessionCase c;
    case_open(&c, NULL);
    case_hello(&c);
    Buffer out = request(2, "stats");
    c.now_ms = 5000;
    session_receive(c.session, (Bytes){out.data, 1}, 5000);
    session_receive(c.session, (Bytes){out.data + 1, 1}, 25000);
    buffer_free(&out);
    expect_timeout(&c, 5000 + 30000, "did not become whole");
    case_close(&c);
}

Test(session, silence_has_an_hour_but_not_while_something_is_in_flight) {
    SessionCase c;
    case_open(&c, NULL);
    case_hello(&c);
    cr_assert_eq(session_deadline_ms(c.session), 1000 + 3600000);
    Buffer out = request(2, "stats");
    case_receive(&c, &out);
    cr_assert_eq(session_deadline_ms(c.session), UINT64_MAX);
    session_error(c.session, c.calls[0]->ticket, E_BUSY, NULL, 0);
    case_expect_error(&c, 2, E_BUSY, "busy");
    expect_timeout(&c, 1000 + 3600000, "nothing came");
    case_close(&c);
}

Test(session, a_socket_that_takes_nothing_for_thirty_seconds_is_dead) {
    SessionCase c;
    case_open(&c, NULL);
    uint64_t stream = case_stream(&c);
    tick_at(&c, 100000);
    say(&c, stream, "x", 1); // nobody tells the time here
    tick_at(&c, 150000);     // so the wait is counted from here
    session_written(c.session, 1 < session_output(c.session).length ? 1 : 0, 170000);
    tick_at(&c, 199999);
    cr_assert_eq(session_state(c.session), SESSION_READY);
    tick_at(&c, 200000);
    cr_assert_eq(session_state(c.session), SESSION_DEAD);
    cr_assert_eq(c.cancel_count, 1);
    case_close(&c);
}

Test(session, an_idle_connection_costs_less_than_ten_kilobytes) {
    SessionCase c;
    case_open(&c, NULL);
    case_hello(&c);
    Buffer out = {0};
    msg_put_request(&out, 20, "generate");
    msg_put_map(&out, 1);
    extra_picture(&out);
    case_receive(&c, &out);
    session_error(c.session, c.calls[0]->ticket, E_BUSY, NULL, 0);
    case_drain(&c);
    cr_assert_lt(session_bytes(c.session), 10000);
    case_close(&c);
}
