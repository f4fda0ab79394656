// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/server/bench.h"

#include <criterion/criterion.h>
#include <string.h>

static void take_work(void *context, PrepWork *work) {
    Bench *bench = context;
    cr_assert_lt(bench->work_count, BENCH_LIST);
    bench->works[bench->work_count++] = work;
}

static void take_command(void *context, const StepperCommand *command) {
    Bench *bench = context;
    if (command->kind == STEPPER_USER) {
        return;
    }
    cr_assert_lt(bench->command_count, BENCH_LIST);
    bench->commands[bench->command_count++] = *command;
}

// Nothing to note: bench_pump carries the bytes of all its clients.
static void take_output(void *context, uint32_t connection) {
    (void)context, (void)connection;
}

void bench_open(Bench *bench, uint32_t requests, const char *users) {
    *bench = (Bench){.now_ms = 1000};
    bench->config = (Gemma4Config){.vocab_count = 1000, .has_vision = true, .bos_id = 2};
    bench->config.image_begin_id = 5;
    bench->config.image_id = 6;
    bench->config.image_end_id = 7;
    bench->config.generation.stop_count = 1;
    bench->config.generation.stop_ids[0] = 1;
    bench->maker = (PromptMaker){.config = &bench->config};
    bench->rules = (PrepRules){.maker = &bench->maker, .limits = media_limits_default()};
    bench->prep.rules = &bench->rules;
    Error error;
    Status status = users == NULL
                        ? users_open_to_all(&bench->users, &error)
                        : users_parse(bytes_of_text(users), "users", NULL, &bench->users, &error);
    cr_assert_eq(status, OK, "%s", error.text);
    cr_assert_eq(metrics_open(USERS_MAX, &bench->metrics, &error), OK);
    bench->options = (ServiceOptions){
        .maker = &bench->maker,
        .model = {.vision = true,
                  .budget = 70,
                  .context = BENCH_CONTEXT,
                  .sampling = {.top_p = 1, .repetition_penalty = 1}},
        .session = session_limits_default(),
        .media = media_limits_default(),
        .connections_max = BENCH_CONNECTIONS,
        .samples_max = requests,
        .images_max = 2,
        .context = BENCH_CONTEXT,
        .running_max = 4,
        .work_max = 2,
        .queued_tokens_max = 1000,
        .blob_bytes_max = 4096,
        .held_bytes_max = 16 << 20,
        .ports = {bench, take_work, take_command, take_output},
    };
    bench_reopen(bench);
}

void bench_reopen(Bench *bench) {
    Error error;
    service_close(bench->service);
    Status status = service_open(&bench->options, bench->users, bench->metrics, bench->now_ms,
                                 &bench->service, &error);
    cr_assert_eq(status, OK, "%s", error.text);
}

void bench_close(Bench *bench) {
    for (uint32_t i = 0; i < BENCH_CONNECTIONS; i++) {
        if (bench->clients[i].open) {
            bench_disconnect(bench, i);
        }
    }
    service_check(bench->service);
    cr_expect(service_drained(bench->service), "no request and no connection is left");
    service_close(bench->service);
    metrics_close(bench->metrics);
    users_free(bench->users);
    prep_free(&bench->prep);
}

void bench_connect(Bench *bench, uint32_t client, const char *token) {
    BenchClient *c = &bench->clients[client];
    cr_assert_eq(service_connect(bench->service, bench->now_ms, &c->connection, NULL), OK);
    cr_assert_eq(client_open(&c->client, NULL), OK);
    c->open = true;
    c->closed_by_server = false;
    client_hello(c->client, token != NULL ? bytes_of_text(token) : (Bytes){0}, "bench");
    bench_pump(bench);
    bench_event(bench, client, CLIENT_RESULT);
}

void bench_disconnect(Bench *bench, uint32_t client) {
    BenchClient *c = &bench->clients[client];
    service_disconnect(bench->service, c->connection, bench->now_ms);
    client_close(c->client);
    c->open = false;
}

static bool pump_client(Bench *bench, BenchClient *c) {
    bool moved = false;
    Bytes bytes = client_output(c->client);
    if (bytes.length > 0) {
        service_receive(bench->service, c->connection, bytes, bench->now_ms);
        client_written(c->client, bytes.length);
        moved = true;
    }
    bytes = service_output(bench->service, c->connection);
    if (bytes.length > 0) {
        Error error;
        cr_assert_eq(client_receive(c->client, bytes, &error), OK, "%s", error.text);
        service_written(bench->service, c->connection, bytes.length, bench->now_ms);
        moved = true;
    }
    c->closed_by_server = service_connection_end(bench->service, c->connection) != CONNECTION_STAYS;
    return moved;
}

void bench_pump(Bench *bench) {
    bool moved = true;
    while (moved) {
        moved = false;
        for (uint32_t i = 0; i < BENCH_CONNECTIONS; i++) {
            moved = (bench->clients[i].open && pump_client(bench, &bench->clients[i])) || moved;
        }
        service_turn(bench->service, bench->now_ms);
        moved = moved || service_has_more(bench->service);
        service_flush(bench->service);
    }
    service_check(bench->service);
}

uint32_t bench_ask(Bench *bench, uint32_t client, const char *text, Bytes picture, bool stream) {
    CallMessage messages[2];
    CallPart parts[3];
    GenerateCall call = generate_question((Bytes){0}, bytes_of_text(text), &picture,
                                          picture.length > 0, messages, parts);
    call.max_tokens = 8;
    call.stream = stream;
    uint32_t id = client_generate(bench->clients[client].client, &call);
    bench_pump(bench);
    return id;
}

bool bench_has_event(Bench *bench, uint32_t client, ClientEvent *event) {
    Status status = OK;
    Error error = {0};
    bool found = client_next(bench->clients[client].client, event, &status, &error);
    cr_assert_eq(status, OK, "%s", error.text);
    return found;
}

ClientEvent bench_event(Bench *bench, uint32_t client, ClientEventKind kind) {
    static ClientEvent event; // Criterion runs every test in its own process
    while (bench_has_event(bench, client, &event)) {
        if (event.kind == kind) {
            return event;
        }
    }
    cr_assert_fail("client %u has no event of kind %d", client, kind);
    return event;
}

void bench_prepare(Bench *bench) {
    cr_assert_gt(bench->work_count, 0);
    PrepWork *work = bench->works[0];
    memmove(bench->works, bench->works + 1, --bench->work_count * sizeof(PrepWork *));
    prep_work_run(&bench->prep, work);
    service_worked(bench->service, work, bench->now_ms);
    bench_pump(bench);
}

StepperCommand bench_command(Bench *bench, StepperCommandKind kind) {
    cr_assert_gt(bench->command_count, 0, "no command is there");
    StepperCommand command = bench->commands[0];
    cr_assert_eq(command.kind, kind);
    memmove(bench->commands, bench->commands + 1,
            --bench->command_count * sizeof bench->commands[0]);
    return command;
}

void bench_token(Bench *bench, uint32_t tag, int32_t token, FinishReason finish) {
    const StepperEvent event = {
        .kind = STEPPER_TOKEN,
        .tag = tag,
        .event = {.tag = tag, .finish = finish, .has_token = true, .chosen = {token, -1.0f}},
    };
    service_step_event(bench->service, &event, bench->now_ms);
    bench_pump(bench);
}

void bench_ended(Bench *bench, uint32_t tag, FinishReason finish, Status status) {
    const StepperEvent event = {
        .kind = STEPPER_ENDED,
        .tag = tag,
        .status = status,
        .event = {.tag = tag, .finish = finish},
    };
    service_step_event(bench->service, &event, bench->now_ms);
    bench_pump(bench);
}

ServerStats bench_stats(const Bench *bench) {
    ServerStats stats;
    service_stats(bench->service, bench->now_ms, &stats);
    return stats;
}
