// SPDX-License-Identifier: Apache-2.0
// Who a connection is: shares of the connections, and that a token's end is the end of what it
// opened.
#include "tests/unit/server/service_fixture.h"

#include "rpc/msg.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { CONNECTIONS = 16 };

static char tokens[2][USER_TOKEN_TEXT];

static void open_two_users(Fixture *fixture) {
    char lines[2][USER_LINE_TEXT], file[2 * USER_LINE_TEXT + 8];
    cr_assert_eq(users_make_token("alice", tokens[0], lines[0], NULL), OK);
    cr_assert_eq(users_make_token("bob", tokens[1], lines[1], NULL), OK);
    snprintf(file, sizeof file, "%s\n%s\n", lines[0], lines[1]);
    fixture_open(fixture, 8, file);
    fixture->options.connections_max = CONNECTIONS;
    fixture_reopen(fixture);
}

static Status stranger(Fixture *fixture, uint32_t *connection) {
    return service_connect(fixture->service, fixture->now_ms, connection, NULL);
}

// OK, or the error of its hello.
static bool greet(Fixture *fixture, uint32_t connection, const char *token) {
    Buffer out = {0};
    msg_put_request(&out, 1, "hello");
    msg_put_map(&out, 2);
    msg_pair_uint(&out, "version", 1);
    msg_pair_word(&out, "token", token);
    service_receive(fixture->service, connection, (Bytes){out.data, out.length}, fixture->now_ms);
    buffer_free(&out);
    service_check(fixture->service);
    return service_connection_end(fixture->service, connection) == CONNECTION_STAYS;
}

Test(greeting, one_user_leaves_connections_to_another) {
    Fixture fixture;
    open_two_users(&fixture);
    uint32_t alices = 0, connection, list[CONNECTIONS], count = 0;
    for (int i = 0; i < CONNECTIONS; i++) {
        if (stranger(&fixture, &connection) != OK) {
            break;
        }
        if (greet(&fixture, connection, tokens[0])) {
            list[count++] = connection;
            alices++;
        } else { // the refusal is written and the socket closed
            service_disconnect(fixture.service, connection, fixture.now_ms);
        }
    }
    cr_expect_eq(alices, CONNECTIONS / 2);
    cr_assert_eq(stranger(&fixture, &connection), OK);
    cr_expect(greet(&fixture, connection, tokens[1]), "bob comes in");
    service_disconnect(fixture.service, connection, fixture.now_ms);
    for (uint32_t i = 0; i < count; i++) {
        service_disconnect(fixture.service, list[i], fixture.now_ms);
    }
    fixture_close(&fixture);
}

Test(greeting, a_hello_beyond_the_share_is_refused_with_a_sentence) {
    Fixture fixture;
    open_two_users(&fixture);
    fixture.options.connections_max = 3;
    fixture_reopen(&fixture);
    fixture_connect(&fixture, 0, tokens[0]);
    fixture_connect(&fixture, 1, tokens[0]);
    FixtureClient *third = &fixture.clients[2];
    cr_assert_eq(stranger(&fixture, &third->connection), OK);
    cr_assert_eq(client_open(&third->client, NULL), OK);
    third->open = true;
    client_hello(third->client, bytes_of_text(tokens[0]), "bench");
    fixture_pump(&fixture);
    ClientEvent refused = fixture_event(&fixture, 2, CLIENT_REFUSED);
    cr_expect_eq(refused.error.status, E_USER_BUSY);
    cr_expect_str_eq(refused.error.text,
                     "2 connections of alice are open; the places left are kept for others");
    cr_expect_gt(refused.retry_after_ms, 0);
    fixture_close(&fixture);
}

Test(greeting, strangers_do_not_take_all_connections) {
    Fixture fixture;
    open_two_users(&fixture);
    uint32_t connection, list[CONNECTIONS], count = 0;
    while (count < CONNECTIONS && stranger(&fixture, &connection) == OK) {
        list[count++] = connection;
    }
    cr_expect_leq(count, CONNECTIONS / 2 + 1);
    cr_expect_geq(count, CONNECTIONS / 2);
    for (uint32_t i = 0; i < count; i++) {
        service_disconnect(fixture.service, list[i], fixture.now_ms);
    }
    fixture_close(&fixture);
}

// The users file is read again with this text.
static void reload(Fixture *fixture, const char *text) {
    Users *users;
    Error error;
    cr_assert_eq(users_parse(bytes_of_text(text), "users", fixture->users, &users, &error), OK,
                 "%s", error.text);
    service_set_users(fixture->service, users);
    users_free(fixture->users);
    fixture->users = users;
    fixture_pump(fixture);
}

Test(greeting, a_replaced_token_ends_what_the_old_one_opened_and_nothing_else) {
    Fixture fixture;
    char lines[3][USER_LINE_TEXT], fresh[USER_TOKEN_TEXT], text[2 * USER_LINE_TEXT + 32];
    cr_assert_eq(users_make_token("alice", tokens[0], lines[0], NULL), OK);
    cr_assert_eq(users_make_token("bob", tokens[1], lines[1], NULL), OK);
    cr_assert_eq(users_make_token("alice", fresh, lines[2], NULL), OK);
    snprintf(text, sizeof text, "%s\n%s\n", lines[0], lines[1]);
    fixture_open(&fixture, 8, text);
    fixture_connect(&fixture, 0, tokens[0]);
    fixture_connect(&fixture, 1, tokens[1]);
    fixture_ask(&fixture, 0, "still running", (Bytes){0}, true);
    fixture_event(&fixture, 0, CLIENT_RESULT);
    snprintf(text, sizeof text, "%s weight=2\n%s\n", lines[0], lines[1]);
    reload(&fixture, text);
    cr_expect_not(fixture.clients[0].closed_by_server, "another weight is the same token");
    snprintf(text, sizeof text, "%s\n%s\n", lines[2], lines[1]);
    reload(&fixture, text);
    ClientEvent goodbye = fixture_event(&fixture, 0, CLIENT_GOODBYE);
    cr_expect_eq(goodbye.error.status, E_AUTH);
    cr_expect(fixture.clients[0].closed_by_server);
    cr_expect_not(fixture.clients[1].closed_by_server);
    fixture_disconnect(&fixture, 0);
    fixture_prepare(&fixture);
    cr_expect_eq(fixture.command_count, 0, "what it asked is cancelled");
    fixture_connect(&fixture, 0, fresh);
    fixture_close(&fixture);
}
