// SPDX-License-Identifier: Apache-2.0
// A service with everything around it made by hand: connections with real clients (rpc/client) on
// them, prep that runs when the test says so, a stepper whose commands are looked at and whose
// events are written by the test. The clock is a number.
#ifndef TESTS_UNIT_SERVER_SERVICE_FIXTURE_H
#define TESTS_UNIT_SERVER_SERVICE_FIXTURE_H

#include "host/server/service.h"
#include "rpc/client/client.h"

enum { FIXTURE_CONNECTIONS = 4, FIXTURE_LIST = 64, FIXTURE_CONTEXT = 512 };

typedef struct FixtureClient {
    bool open, closed_by_server;
    uint32_t connection;
    Client *client;
} FixtureClient;

typedef struct Fixture {
    ServiceOptions options;
    Service *service;
    Metrics *metrics;
    Users *users;
    Gemma4Config config;
    PromptMaker maker;
    PrepRules rules;
    Prep prep;
    uint64_t now_ms;
    FixtureClient clients[FIXTURE_CONNECTIONS];
    PrepWork *works[FIXTURE_LIST]; // out with the prep threads, oldest first
    uint32_t work_count;
    StepperCommand commands[FIXTURE_LIST]; // not looked at yet
    uint32_t command_count;
} Fixture;

// `users`: the text of a users file, or NULL for one user without limits.
void fixture_open(Fixture *fixture, uint32_t requests, const char *users);
void fixture_reopen(
    Fixture *fixture); // with what the test changed in `options`; before anybody connects
void fixture_close(Fixture *fixture); // checks that nothing is left

// Connects and says hello as the user with this token (NULL: none).
void fixture_connect(Fixture *fixture, uint32_t client, const char *token);
void fixture_disconnect(Fixture *fixture, uint32_t client);

// Carries bytes both ways until nothing moves.
void fixture_pump(Fixture *fixture);

// Asks a question (with a picture, when there are bytes) and returns the call's id.
uint32_t fixture_ask(Fixture *fixture, uint32_t client, const char *text, Bytes picture,
                     bool stream);

// The next event of this kind; others before it are dropped. Fails when there is none.
ClientEvent fixture_event(Fixture *fixture, uint32_t client, ClientEventKind kind);
bool fixture_has_event(Fixture *fixture, uint32_t client, ClientEvent *event);

void fixture_prepare(Fixture *fixture); // the oldest work is done
// The oldest command; fails when there is none or it is of another kind.
StepperCommand fixture_command(Fixture *fixture, StepperCommandKind kind);
void fixture_token(Fixture *fixture, uint32_t tag, int32_t token, FinishReason finish);
void fixture_ended(Fixture *fixture, uint32_t tag, FinishReason finish, Status status);

ServerStats fixture_stats(const Fixture *fixture);

#endif
