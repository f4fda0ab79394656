// SPDX-License-Identifier: Apache-2.0
// Who a connection is: shares of the connections, and that a token's end is the end of what it
// opened.
#include "tests/unit/server/bench.h"

#include "rpc/msg.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { CONNECTIONS = 16 };

static char tokens[2][USER_TOKEN_TEXT];

static void open_two_users(Bench *bench) {
    char lines[2][USER_LINE_TEXT], file[2 * USER_LINE_TEXT + 8];
    cr_assert_eq(users_make_token("alice", tokens[0], lines[0], NULL), OK);
    cr_assert_eq(users_make_token("bob", tokens[1], lines[1], NULL), OK);
    snprintf(file, sizeof file, "%s\n%s\n", lines[0], lines[1]);
    bench_open(bench, 8, file);
    bench->options.connections_max = CONNECTIONS;
    bench_reopen(bench);
}

static Status stranger(Bench *bench, uint32_t *connection) {
    return service_connect(bench->service, bench->now_ms, connection, NULL);
}

// OK, or the error of its hello.
static bool greet(Bench *bench, uint32_t connection, const char *token) {
    Buffer out = {0};
    msg_put_request(&out, 1, "hello");
    msg_put_map(&out, 2);
    msg_pair_uint(&out, "version", 1);
    msg_pair_word(&out, "token", token);
    service_receive(bench->service, connection, (Bytes){out.data, out.length}, bench->now_ms);
    buffer_free(&out);
    service_check(bench->service);
    return service_connection_end(bench->service, connection) == CONNECTION_STAYS;
}

Test(greeting, one_user_leaves_connections_to_another) {
    Bench bench;
    open_two_users(&bench);
    uint32_t alices = 0, connection, list[CONNECTIONS], count = 0;
    for (int i = 0; i < CONNECTIONS; i++) {
        if (stranger(&bench, &connection) != OK) {
            break;
        }
        if (greet(&bench, connection, tokens[0])) {
            list[count++] = connection;
            alices++;
        } else { // the refusal is written and the socket closed
            service_disconnect(bench.service, connection, bench.now_ms);
        }
    }
    cr_expect_eq(alices, CONNECTIONS / 2);
    cr_assert_eq(stranger(&bench, &connection), OK);
    cr_expect(greet(&bench, connection, tokens[1]), "bob comes in");
    service_disconnect(bench.service, connection, bench.now_ms);
    for (uint32_t i = 0; i < count; i++) {
        service_disconnect(bench.service, list[i], bench.now_ms);
    }
    bench_close(&bench);
}

Test(greeting, a_hello_beyond_the_share_is_refused_with_a_sentence) {
    Bench bench;
    open_two_users(&bench);
    bench.options.connections_max = 3;
    bench_reopen(&bench);
    bench_connect(&bench, 0, tokens[0]);
    bench_connect(&bench, 1, tokens[0]);
    BenchClient *third = &bench.clients[2];
    cr_assert_eq(stranger(&bench, &third->connection), OK);
    cr_assert_eq(client_open(&third->client, NULL), OK);
    third->open = true;
    client_hello(third->client, bytes_of_text(tokens[0]), "bench");
    bench_pump(&bench);
    ClientEvent refused = bench_event(&bench, 2, CLIENT_REFUSED);
    cr_expect_eq(refused.error.status, E_USER_BUSY);
    cr_expect_str_eq(refused.error.text,
                     "2 connections of alice are open; the places left are kept for others");
    cr_expect_gt(refused.retry_after_ms, 0);
    bench_close(&bench);
}

Test(greeting, strangers_do_not_take_all_connections) {
    Bench bench;
    open_two_users(&bench);
    uint32_t connection, list[CONNECTIONS], count = 0;
    while (count < CONNECTIONS && stranger(&bench, &connection) == OK) {
        list[count++] = connection;
    }
    cr_expect_leq(count, CONNECTIONS / 2 + 1);
    cr_expect_geq(count, CONNECTIONS / 2);
    for (uint32_t i = 0; i < count; i++) {
        service_disconnect(bench.service, list[i], bench.now_ms);
    }
    bench_close(&bench);
}

// The users file is read again with this text.
static void reload(Bench *bench, const char *text) {
    Users *users;
    Error error;
    cr_assert_eq(users_parse(bytes_of_text(text), "users", bench->users, &users, &error), OK, "%s",
                 error.text);
    service_set_users(bench->service, users);
    users_free(bench->users);
    bench->users = users;
    bench_pump(bench);
}

Test(greeting, a_replaced_token_ends_what_the_old_one_opened_and_nothing_else) {
    Bench bench;
    char lines[3][USER_LINE_TEXT], fresh[USER_TOKEN_TEXT], text[2 * USER_LINE_TEXT + 32];
    cr_assert_eq(users_make_token("alice", tokens[0], lines[0], NULL), OK);
    cr_assert_eq(users_make_token("bob", tokens[1], lines[1], NULL), OK);
    cr_assert_eq(users_make_token("alice", fresh, lines[2], NULL), OK);
    snprintf(text, sizeof text, "%s\n%s\n", lines[0], lines[1]);
    bench_open(&bench, 8, text);
    bench_connect(&bench, 0, tokens[0]);
    bench_connect(&bench, 1, tokens[1]);
    bench_ask(&bench, 0, "still running", (Bytes){0}, true);
    bench_event(&bench, 0, CLIENT_RESULT);
    snprintf(text, sizeof text, "%s weight=2\n%s\n", lines[0], lines[1]);
    reload(&bench, text);
    cr_expect_not(bench.clients[0].closed_by_server, "another weight is the same token");
    snprintf(text, sizeof text, "%s\n%s\n", lines[2], lines[1]);
    reload(&bench, text);
    ClientEvent goodbye = bench_event(&bench, 0, CLIENT_GOODBYE);
    cr_expect_eq(goodbye.error.status, E_AUTH);
    cr_expect(bench.clients[0].closed_by_server);
    cr_expect_not(bench.clients[1].closed_by_server);
    bench_disconnect(&bench, 0);
    bench_prepare(&bench);
    cr_expect_eq(bench.command_count, 0, "what it asked is cancelled");
    bench_connect(&bench, 0, fresh);
    bench_close(&bench);
}
