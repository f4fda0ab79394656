// SPDX-License-Identifier: Apache-2.0
// A service with everything around it made by hand: connections with real clients (rpc/client) on
// them, prep that runs when the test says so, a stepper whose commands are looked at and whose
// events are written by the test. The clock is a number.
#ifndef TESTS_UNIT_SERVER_BENCH_H
#define TESTS_UNIT_SERVER_BENCH_H

#include "host/server/service.h"
#include "rpc/client/client.h"

enum { BENCH_CONNECTIONS = 4, BENCH_LIST = 64, BENCH_CONTEXT = 512 };

typedef struct BenchClient {
    bool open, closed_by_server;
    uint32_t connection;
    Client *client;
} BenchClient;

typedef struct Bench {
    ServiceOptions options;
    Service *service;
    Metrics *metrics;
    Users *users;
    Gemma4Config config;
    PromptMaker maker;
    PrepRules rules;
    Prep prep;
    uint64_t now_ms;
    BenchClient clients[BENCH_CONNECTIONS];
    PrepWork *works[BENCH_LIST]; // out with the prep threads, oldest first
    uint32_t work_count;
    StepperCommand commands[BENCH_LIST]; // not looked at yet
    uint32_t command_count;
} Bench;

// `users`: the text of a users file, or NULL for one user without limits.
void bench_open(Bench *bench, uint32_t requests, const char *users);
void bench_reopen(Bench *bench); // with what the test changed in `options`; before anybody connects
void bench_close(Bench *bench);  // checks that nothing is left

// Connects and says hello as the user with this token (NULL: none).
void bench_connect(Bench *bench, uint32_t client, const char *token);
void bench_disconnect(Bench *bench, uint32_t client);

// Carries bytes both ways until nothing moves.
void bench_pump(Bench *bench);

// Asks a question (with a picture, when there are bytes) and returns the call's id.
uint32_t bench_ask(Bench *bench, uint32_t client, const char *text, Bytes picture, bool stream);

// The next event of this kind; others before it are dropped. Fails when there is none.
ClientEvent bench_event(Bench *bench, uint32_t client, ClientEventKind kind);
bool bench_has_event(Bench *bench, uint32_t client, ClientEvent *event);

void bench_prepare(Bench *bench); // the oldest work is done
// The oldest command; fails when there is none or it is of another kind.
StepperCommand bench_command(Bench *bench, StepperCommandKind kind);
void bench_token(Bench *bench, uint32_t tag, int32_t token, FinishReason finish);
void bench_ended(Bench *bench, uint32_t tag, FinishReason finish, Status status);

ServerStats bench_stats(const Bench *bench);

#endif
