// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/server/service_fixture.h"

#include <criterion/criterion.h>
#include <string.h>

static void take_work(void *context, PrepWork *work) {
    Fixture *fixture = context;
    cr_assert_lt(fixture->work_count, FIXTURE_LIST);
    fixture->works[fixture->work_count++] = work;
}

static void take_command(void *context, const StepperCommand *command) {
    Fixture *fixture = context;
    if (command->kind == STEPPER_USER) {
        return;
    }
    cr_assert_lt(fixture->command_count, FIXTURE_LIST);
    fixture->commands[fixture->command_count++] = *command;
}

// Nothing to note: fixture_pump carries the bytes of all its clients.
static void take_output(void *context, uint32_t connection) {
    (void)context, (void)connection;
}

void fixture_open(Fixture *fixture, uint32_t requests, const char *users) {
    *fixture = (Fixture){.now_ms = 1000};
    fixture->config = (Gemma4Config){.vocab_count = 1000, .has_vision = true, .bos_id = 2};
    fixture->config.image_begin_id = 5;
    fixture->config.image_id = 6;
    fixture->config.image_end_id = 7;
    fixture->config.generation.stop_count = 1;
    fixture->config.generation.stop_ids[0] = 1;
    fixture->maker = (PromptMaker){.config = &fixture->config};
    fixture->rules = (PrepRules){.maker = &fixture->maker, .limits = media_limits_default()};
    fixture->prep.rules = &fixture->rules;
    Error error;
    Status status = users == NULL
                        ? users_open_to_all(&fixture->users, &error)
                        : users_parse(bytes_of_text(users), "users", NULL, &fixture->users, &error);
    cr_assert_eq(status, OK, "%s", error.text);
    cr_assert_eq(metrics_open(USERS_MAX, &fixture->metrics, &error), OK);
    fixture->options = (ServiceOptions){
        .maker = &fixture->maker,
        .model = {.vision = true,
                  .budget = 70,
                  .context = FIXTURE_CONTEXT,
                  .sampling = {.top_p = 1, .repetition_penalty = 1}},
        .session = session_limits_default(),
        .media = media_limits_default(),
        .connections_max = FIXTURE_CONNECTIONS,
        .samples_max = requests,
        .media_max = 2,
        .context = FIXTURE_CONTEXT,
        .running_max = 4,
        .work_max = 2,
        .queued_tokens_max = 1000,
        .blob_bytes_max = 4096,
        .held_bytes_max = 16 << 20,
        .ports = {fixture, take_work, take_command, take_output},
    };
    fixture_reopen(fixture);
}

void fixture_reopen(Fixture *fixture) {
    Error error;
    service_close(fixture->service);
    Status status = service_open(&fixture->options, fixture->users, fixture->metrics,
                                 fixture->now_ms, &fixture->service, &error);
    cr_assert_eq(status, OK, "%s", error.text);
}

void fixture_close(Fixture *fixture) {
    for (uint32_t i = 0; i < FIXTURE_CONNECTIONS; i++) {
        if (fixture->clients[i].open) {
            fixture_disconnect(fixture, i);
        }
    }
    service_check(fixture->service);
    cr_expect(service_drained(fixture->service), "no request and no connection is left");
    service_close(fixture->service);
    metrics_close(fixture->metrics);
    users_free(fixture->users);
    prep_free(&fixture->prep);
}

void fixture_connect(Fixture *fixture, uint32_t client, const char *token) {
    FixtureClient *c = &fixture->clients[client];
    cr_assert_eq(service_connect(fixture->service, fixture->now_ms, &c->connection, NULL), OK);
    cr_assert_eq(client_open(&c->client, NULL), OK);
    c->open = true;
    c->closed_by_server = false;
    client_hello(c->client, token != NULL ? bytes_of_text(token) : (Bytes){0}, "bench");
    fixture_pump(fixture);
    fixture_event(fixture, client, CLIENT_RESULT);
}

void fixture_disconnect(Fixture *fixture, uint32_t client) {
    FixtureClient *c = &fixture->clients[client];
    service_disconnect(fixture->service, c->connection, fixture->now_ms);
    client_close(c->client);
    c->open = false;
}

static bool pump_client(Fixture *fixture, FixtureClient *c) {
    bool moved = false;
    Bytes bytes = client_output(c->client);
    if (bytes.length > 0) {
        service_receive(fixture->service, c->connection, bytes, fixture->now_ms);
        client_written(c->client, bytes.length);
        moved = true;
    }
    bytes = service_output(fixture->service, c->connection);
    if (bytes.length > 0) {
        Error error;
        cr_assert_eq(client_receive(c->client, bytes, &error), OK, "%s", error.text);
        service_written(fixture->service, c->connection, bytes.length, fixture->now_ms);
        moved = true;
    }
    c->closed_by_server =
        service_connection_end(fixture->service, c->connection) != CONNECTION_STAYS;
    return moved;
}

void fixture_pump(Fixture *fixture) {
    bool moved = true;
    while (moved) {
        moved = false;
        for (uint32_t i = 0; i < FIXTURE_CONNECTIONS; i++) {
            moved =
                (fixture->clients[i].open && pump_client(fixture, &fixture->clients[i])) || moved;
        }
        service_turn(fixture->service, fixture->now_ms);
        moved = moved || service_has_more(fixture->service);
        service_flush(fixture->service);
    }
    service_check(fixture->service);
}

uint32_t fixture_ask(Fixture *fixture, uint32_t client, const char *text, Bytes picture,
                     bool stream) {
    CallMessage messages[2];
    CallPart parts[3];
    GenerateCall call = generate_question((Bytes){0}, bytes_of_text(text), &picture,
                                          picture.length > 0, messages, parts);
    call.max_tokens = 8;
    call.stream = stream;
    uint32_t id = client_generate(fixture->clients[client].client, &call);
    fixture_pump(fixture);
    return id;
}

bool fixture_has_event(Fixture *fixture, uint32_t client, ClientEvent *event) {
    Status status = OK;
    Error error = {0};
    bool found = client_next(fixture->clients[client].client, event, &status, &error);
    cr_assert_eq(status, OK, "%s", error.text);
    return found;
}

ClientEvent fixture_event(Fixture *fixture, uint32_t client, ClientEventKind kind) {
    static ClientEvent event; // Criterion runs every test in its own process
    while (fixture_has_event(fixture, client, &event)) {
        if (event.kind == kind) {
            return event;
        }
    }
    cr_assert_fail("client %u has no event of kind %d", client, kind);
    return event;
}

void fixture_prepare(Fixture *fixture) {
    cr_assert_gt(fixture->work_count, 0);
    PrepWork *work = fixture->works[0];
    memmove(fixture->works, fixture->works + 1, --fixture->work_count * sizeof(PrepWork *));
    prep_work_run(&fixture->prep, work);
    service_worked(fixture->service, work, fixture->now_ms);
    fixture_pump(fixture);
}

StepperCommand fixture_command(Fixture *fixture, StepperCommandKind kind) {
    cr_assert_gt(fixture->command_count, 0, "no command is there");
    StepperCommand command = fixture->commands[0];
    cr_assert_eq(command.kind, kind);
    memmove(fixture->commands, fixture->commands + 1,
            --fixture->command_count * sizeof fixture->commands[0]);
    return command;
}

void fixture_token(Fixture *fixture, uint32_t tag, int32_t token, FinishReason finish) {
    const StepperEvent event = {
        .kind = STEPPER_TOKEN,
        .tag = tag,
        .event = {.tag = tag, .finish = finish, .has_token = true, .chosen = {token, -1.0f}},
    };
    service_step_event(fixture->service, &event, fixture->now_ms);
    fixture_pump(fixture);
}

void fixture_ended(Fixture *fixture, uint32_t tag, FinishReason finish, Status status) {
    const StepperEvent event = {
        .kind = STEPPER_ENDED,
        .tag = tag,
        .status = status,
        .event = {.tag = tag, .finish = finish},
    };
    service_step_event(fixture->service, &event, fixture->now_ms);
    fixture_pump(fixture);
}

ServerStats fixture_stats(const Fixture *fixture) {
    ServerStats stats;
    service_stats(fixture->service, fixture->now_ms, &stats);
    return stats;
}
