// SPDX-License-Identifier: Apache-2.0
// rpc/spec.md, played: every dialogue in it goes through a session, and what the session writes is
// compared with the bytes on the page, which the Python package msgpack made
// (tests/golden/rpc/make_spec.py). And rpc/methods.md is the one that methods.def gives.
//
// Lines of a block: "> message" is sent to the session, "< message" must be what it writes next,
// indented lines are the bytes of the line above, and "* ..." is what the service does.
#include "base/file.h"
#include "session_case.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Play {
    SessionCase c;
    bool open;
    size_t checked; // of c.seen
    char kind;      // of the message whose bytes are being gathered
    Buffer bytes;
    char line[512]; // the message, for reports
    uint32_t sent, compared;
} Play;

// Credit of a session is set by the block's head, before it opens.
static uint32_t play_credit;
static void play_limits(SessionLimits *limits) {
    limits->server = "tessera example";
    limits->credit_first = play_credit;
}

static Status play_authenticate(void *context, Bytes token, SessionUser *out, Error *error) {
    (void)context;
    if (!bytes_equal(token, bytes_of_text("example-token"))) {
        return error_set(error, E_AUTH, "%s", status_text(E_AUTH));
    }
    *out = (SessionUser){.number = 0, .name = "alice"};
    return OK;
}

static void play_close(Play *play) {
    if (play->open) {
        case_drain(&play->c);
        cr_assert_eq(play->c.seen.length, play->checked, "after \"%s\" it wrote more", play->line);
        case_close(&play->c);
    }
    play->open = false;
}

static void play_open(Play *play, const char *head) {
    const char *credit = strstr(head, "credit=");
    play_close(play);
    play_credit = credit != NULL ? (uint32_t)strtoul(credit + 7, NULL, 10) : 64;
    case_open(&play->c, play_limits);
    play->c.handler.authenticate = play_authenticate;
    play->c.accept_calls = true;
    play->open = true;
    play->checked = 0;
    if (strstr(head, "hello") != NULL) {
        Buffer hello = {0};
        msg_put_request(&hello, 1, "hello");
        msg_put_map(&hello, 2);
        msg_pair_uint(&hello, "version", 1);
        msg_pair_word(&hello, "token", "example-token");
        case_receive(&play->c, &hello);
        case_drain(&play->c);
        play->checked = play->c.seen.length;
    }
}

// The bytes of the last message are complete: it is sent, or compared.
static void play_message(Play *play) {
    if (play->kind == '>') {
        session_receive(play->c.session, (Bytes){play->bytes.data, play->bytes.length}, 1000);
        play->sent++;
    } else if (play->kind == '<') {
        case_drain(&play->c);
        Bytes wrote = {play->c.seen.data + play->checked, play->c.seen.length - play->checked};
        cr_assert_geq(wrote.length, play->bytes.length, "too short: %s", play->line);
        wrote.length = play->bytes.length;
        cr_assert(bytes_equal(wrote, (Bytes){play->bytes.data, play->bytes.length}),
                  "not the bytes of: %s", play->line);
        play->checked += wrote.length;
        play->compared++;
    }
    play->kind = 0;
    buffer_clear(&play->bytes);
}

static uint64_t play_ticket(const Play *play) {
    return play->c.calls[play->c.call_count - 1]->ticket;
}

// token INDEX "TEXT" ID...
static void play_token(Play *play, const char *words) {
    char *at;
    TokenEvent event = {.index = (uint32_t)strtoul(words, &at, 10)};
    const char *begin = strchr(at, '"') + 1, *end = strchr(begin, '"');
    int32_t ids[8];
    event.text = (Bytes){(const uint8_t *)begin, (size_t)(end - begin)};
    event.id = ids;
    for (const char *id = end + 1; *id == ' '; id = at) {
        ids[event.id_count++] = (int32_t)strtol(id, &at, 10);
    }
    session_token(play->c.session, play_ticket(play), &event);
}

// done REASON PROMPT IMAGE CACHED OUTPUT
static void play_done(Play *play, const char *words) {
    DoneEvent event = {
        .prepare_ms = 2.5, .queue_ms = 0.5, .first_token_ms = 40.0, .total_ms = 120.0};
    char reason[16];
    cr_assert_eq(sscanf(words, "%15s %u %u %u %u", reason, &event.prompt_tokens,
                        &event.image_tokens, &event.cached_tokens[0], &event.output_tokens),
                 5);
    while (strcmp(done_reason_name(event.reasons[0]), reason) != 0) {
        event.reasons[0]++;
    }
    session_done(play->c.session, play_ticket(play), &event);
}

static void play_blob(Play *play, const char *digits) {
    Hash128 blob = {0};
    cr_assert_eq(sscanf(digits, "%16lx%16lx", &blob.high, &blob.low), 2);
    Buffer result = {0};
    result_put_blob(&result, blob);
    session_result(play->c.session, play_ticket(play), &result);
    buffer_free(&result);
}

static void play_action(Play *play, const char *line) {
    if (strncmp(line, "token ", 6) == 0) {
        play_token(play, line + 6);
    } else if (strncmp(line, "done ", 5) == 0) {
        play_done(play, line + 5);
    } else if (strncmp(line, "blob ", 5) == 0) {
        play_blob(play, line + 5);
    } else if (strcmp(line, "refuse E_BUSY 400") == 0) {
        play->c.refuse_calls = true;
    } else if (strcmp(line, "end E_DRAIN") == 0) {
        session_end(play->c.session, E_DRAIN, NULL);
    } else {
        cr_assert_fail("what should \"* %s\" do?", line);
    }
}

static void play_line(Play *play, char *line) {
    if (line[0] == ' ') {
        for (char *at = line; *at != '\0';) {
            at += strspn(at, " ");
            uint8_t byte = (uint8_t)strtoul(at, &at, 16);
            buffer_append_byte(&play->bytes, byte);
        }
        return;
    }
    play_message(play);
    snprintf(play->line, sizeof play->line, "%s", line);
    if (line[0] == '*') {
        play_action(play, line + 2);
    } else {
        cr_assert(line[0] == '>' || line[0] == '<', "what is \"%s\"?", line);
        play->kind = line[0];
    }
}

// The refusal of a session_case carries 250 ms; the page says 400.
static void play_call(void *context, Session *session, Call *call) {
    SessionCase *c = context;
    if (c->refuse_calls) {
        session_error(session, call->ticket, E_BUSY, NULL, 400);
    } else if (call->method == METHOD_GENERATE) {
        session_accept(session, call, c->call_count);
    }
    c->calls[c->call_count++] = call;
}

Test(spec, every_dialogue_of_the_page_happens_byte_by_byte) {
    Buffer page = {0};
    Error error = {0};
    cr_assert_eq(file_read(TEST_ROOT "/rpc/spec.md", 1 << 20, &page, &error), OK, "%s", error.text);
    Play play = {0};
    bool inside = false;
    char *rest = NULL;
    for (char *line = strtok_r((char *)page.data, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "```", 3) == 0) {
            if (inside) {
                play_message(&play);
            }
            inside = strncmp(line, "```wire", 7) == 0;
            if (inside) {
                play_open(&play, line);
                play.c.handler.call = play_call;
            }
        } else if (inside) {
            play_line(&play, line);
        }
    }
    play_close(&play);
    cr_assert_geq(play.sent, 14, "the page has lost its dialogues");
    cr_assert_geq(play.compared, 18);
    buffer_free(&play.bytes);
    buffer_free(&page);
}

Test(spec, the_table_of_methods_is_fresh) {
    Buffer page = {0}, made = {0};
    cr_assert_eq(file_read(TEST_ROOT "/rpc/methods.md", 1 << 20, &page, NULL), OK);
    methods_markdown(&made);
    cr_assert_str_eq((const char *)page.data, (const char *)made.data,
                     "rpc/methods.md is stale: tessera help --protocol > rpc/methods.md");
    buffer_free(&page);
    buffer_free(&made);
}
