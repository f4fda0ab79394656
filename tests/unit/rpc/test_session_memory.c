// SPDX-License-Identifier: Apache-2.0
// What a session does when there is no room for it: a message is answered and skipped wherever it
// is cut, the stream stays whole, and nothing is held that the purse did not pay for.
#include "session_case.h"

#include "base/num.h"

#include <criterion/criterion.h>
#include <string.h>

// Pays for `max` bytes, and says no once at the take numbered `fails` (from 1; 0: never).
typedef struct SmallPurse {
    Purse purse;
    size_t max, held, most;
    uint32_t takes, fails;
} SmallPurse;

static bool small_take(Purse *base, size_t bytes) {
    SmallPurse *purse = (SmallPurse *)base;
    bool refused = ++purse->takes == purse->fails || bytes > purse->max - purse->held;
    base->refused = refused ? E_BUSY : OK;
    purse->held += refused ? 0 : bytes;
    purse->most = num_max(purse->most, purse->held);
    return !refused;
}

static void small_give(Purse *base, size_t bytes) {
    SmallPurse *purse = (SmallPurse *)base;
    cr_assert_leq(bytes, purse->held, "more is given back than was taken");
    purse->held -= bytes;
}

static SmallPurse purse = {.purse = {.take = small_take, .give = small_give}};

static Status authenticate(void *context, Bytes token, SessionUser *out, Error *error) {
    (void)context, (void)token, (void)error;
    *out = (SessionUser){.number = 1, .name = "alice", .purses = {&purse.purse, &purse.purse}};
    return OK;
}

static bool paid_open(SessionCase *c, size_t max, uint32_t fails) {
    case_open(c, NULL);
    session_close(c->session);
    purse.max = max, purse.fails = fails, purse.takes = 0;
    c->session = NULL;
    c->handler.authenticate = authenticate;
    c->handler.strangers = (SessionPurses){&purse.purse, &purse.purse};
    return session_open(&c->limits, &c->handler, c, c->now_ms, &c->session, NULL) == OK;
}

static void paid_close(SessionCase *c) {
    case_close(c);
    cr_expect_eq(purse.held, 0, "%zu bytes were never given back", purse.held);
}

static void put_blob(Buffer *out, uint32_t id, size_t bytes) {
    uint8_t *data = calloc(1, bytes);
    msg_put_request(out, id, "put_blob");
    msg_put_map(out, 1);
    msg_pair_binary(out, "data", (Bytes){data, bytes});
    free(data);
}

static Buffer plain(uint32_t id, const char *method) {
    Buffer out = {0};
    msg_put_request(&out, id, method);
    msg_put_map(&out, 0);
    return out;
}

static void without_room(size_t piece) {
    SessionCase c;
    cr_assert(paid_open(&c, 40000, 0));
    case_hello(&c);
    Buffer out = {0};
    put_blob(&out, 70000, 50000);
    put_blob(&out, 300, 100);
    for (size_t at = 0; at < out.length; at += piece) {
        session_turn(c.session, c.now_ms);
        session_receive(c.session, (Bytes){out.data + at, num_min(piece, out.length - at)},
                        c.now_ms);
    }
    buffer_free(&out);
    case_expect_error(&c, 70000, E_BUSY, "a message must wait");
    cr_assert_eq(c.call_count, 1, "the next one is taken, pieces of %zu: %s", piece,
                 session_fault(c.session)->text);
    cr_expect_eq(c.calls[0]->id, 300);
    cr_expect_eq(session_state(c.session), SESSION_READY);
    cr_expect_leq(purse.most, 40000);
    paid_close(&c);
}

Test(session_memory, a_message_without_room_is_answered_and_skipped_wherever_it_is_cut) {
    static const size_t pieces[] = {1, 2, 3, 7, 100, 2047, 2048, 4096, 30000, 50100, 1 << 20};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        without_room(pieces[i]);
    }
}

Test(session_memory, small_calls_pass_in_pieces_when_the_input_cannot_grow) {
    SessionCase c;
    cr_assert(paid_open(&c, 1 << 20, 0));
    case_hello(&c);
    purse.max = purse.held + 60000; // for the answers
    Buffer out = {0};
    for (uint32_t i = 0; i < 1000; i++) {
        Buffer one = plain(100 + i, "none");
        buffer_append(&out, one.data, one.length);
        buffer_free(&one);
    }
    size_t seen = 0;
    for (size_t at = 0; at < out.length; at += 1000) {
        session_receive(c.session, (Bytes){out.data + at, num_min(1000, out.length - at)},
                        c.now_ms);
        do {
            session_turn(c.session, c.now_ms);
        } while (session_has_more(c.session));
        while (case_next(&c) != NULL) {
            seen++;
        }
    }
    cr_expect_eq(seen, 1000, "%s", session_fault(c.session)->text);
    cr_expect_eq(session_state(c.session), SESSION_READY);
    buffer_free(&out);
    paid_close(&c);
}

// A conversation; what is answered is read as whole messages by case_next, which insists on it.
static void converse(SessionCase *c) {
    Buffer out = {0};
    msg_put_request(&out, 1, "hello");
    msg_put_map(&out, 2);
    msg_pair_uint(&out, "version", 1);
    msg_pair_word(&out, "token", "alice's token");
    case_receive(c, &out);
    Buffer info = plain(2, "api_info"), blob = {0};
    case_receive(c, &info);
    put_blob(&blob, 3, 100000);
    case_receive(c, &blob);
    c->accept_calls = true;
    Buffer ask = case_generate(4, 0, NULL);
    case_receive(c, &ask);
    uint64_t ticket = c->call_count > 0 ? c->calls[c->call_count - 1]->ticket : 0;
    int32_t id = 7;
    session_token(c->session, ticket,
                  &(TokenEvent){.text = bytes_of_text("a text"), .id = &id, .id_count = 1});
    session_done(c->session, ticket, &(DoneEvent){.status = OK});
    while (case_next(c) != NULL) {
    }
}

Test(session_memory, whichever_allocation_is_refused_the_stream_stays_whole) {
    uint32_t fails = 0;
    do {
        SessionCase c;
        if (paid_open(&c, 1 << 20, ++fails)) {
            converse(&c);
            cr_expect_leq(session_bytes(c.session), purse.held);
        }
        paid_close(&c);
    } while (purse.takes >= fails);
    cr_expect_gt(fails, 12, "only %u allocations were refused", fails);
}

Test(session_memory, what_the_session_says_it_holds_is_what_is_paid_for) {
    SessionCase c;
    cr_assert(paid_open(&c, 1 << 20, 0));
    cr_expect_eq(session_bytes(c.session), purse.held);
    converse(&c);
    size_t calls = 0;
    for (uint32_t i = 0; i < c.call_count; i++) {
        calls += call_bytes(c.calls[i]);
    }
    cr_expect_eq(session_bytes(c.session) + calls, purse.held);
    paid_close(&c);
}

Test(session_memory, a_stranger_gets_one_api_info_and_64_kib) {
    SessionCase c;
    case_open(&c, NULL);
    Buffer first = plain(1, "api_info"), second = plain(2, "api_info");
    case_receive(&c, &first);
    case_receive(&c, &second);
    cr_expect_eq(case_expect(&c, MSG_RESPONSE, NULL)->error->type, MSGPACK_OBJECT_NIL);
    case_expect_error(&c, 2, E_HELLO, "hello comes next");
    for (uint32_t i = 0; i < 4000 && session_state(c.session) == SESSION_HELLO; i++) {
        Buffer refused = plain(3, "models"); // and its answer is not read
        session_turn(c.session, c.now_ms);
        case_receive(&c, &refused);
        cr_assert_lt(session_bytes(c.session), 256 << 10);
    }
    cr_expect_eq(session_state(c.session), SESSION_DEAD);
    cr_expect_eq(session_fault(c.session)->status, E_UNREAD);
    case_close(&c);
}
