// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/server_world.h"

#include "base/check.h"
#include "base/num.h"
#include "host/server/service.h"
#include "host/step/stepper.h"
#include "tests/sim/dice.h"
#include "tests/sim/fake_engine.h"
#include "tests/sim/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CLIENTS = 8,
    USERS = 3,
    REQUESTS_MAX = 40, // samples in the server
    CONTEXT = 400,
    WORKS = 3,
    COMMANDS = 4096,
    MARKERS = 256, // generate calls of a run
    TURNS = 250    // with new calls; then everybody waits for what is left
};

enum { HOARD_BYTES = 90000 }; // of a message that only holds memory

// How a client misbehaves, if it does.
typedef enum Habit {
    HABIT_GOOD,
    HABIT_SLOW,   // reads little, and sometimes nothing for long
    HABIT_FLOOD,  // asks without end
    HABIT_LEAVE,  // disconnects at any time
    HABIT_NOISE,  // sends rubbish now and then
    HABIT_SILENT, // begins a message and never ends it
    HABIT_HOARD,  // makes the server hold as much as it can
    HABIT_COUNT
} Habit;

typedef struct Client {
    Peer peer;
    Habit habit;
    bool connected;
    uint32_t connection;
    uint32_t user;
    Buffer wire; // written by the server, not read by the client yet
    double reads_again_ms;
    uint32_t visit; // counts connections
} Client;

// What one generate call must get, from the sequences the service made of it.
typedef struct Expected {
    uint32_t count; // samples seen
    uint32_t user, max_tokens;
    uint32_t client, visit; // of the client: a connection is one visit
    int32_t ids[PEER_SAMPLES][PEER_TOKENS];
    uint32_t id_count[PEER_SAMPLES];
} Expected;

// A sequence with the stepper.
typedef struct Running {
    bool live;
    uint32_t client, visit;
    uint32_t steps_after; // since its client left
} Running;

typedef struct PendingWork {
    PrepWork *work;
    double ready_ms;
} PendingWork;

typedef struct ServerWorld {
    Dice dice;
    const Runtime *model;
    const Bytes *pictures;
    uint32_t picture_count;
    PromptMaker maker;
    PrepRules prep_rules;
    Prep prep;
    Users *users;
    char tokens[USERS][USER_TOKEN_TEXT];
    Metrics *metrics;
    Service *service;
    Scheduler *scheduler;
    Stepper *stepper;
    FakeEngine engine;
    PendingWork works[WORKS];
    uint32_t work_count;
    StepperCommand commands[COMMANDS];
    uint32_t command_count;
    bool outputs[CLIENTS + 4]; // by connection: ports.output was called
    Client clients[CLIENTS];
    Expected expected[MARKERS];
    uint32_t marker_count;
    Running running[REQUESTS_MAX]; // by tag of the stepper
    double now_ms, ticked_ms;
    bool calm; // nobody asks or misbehaves any more
    ServerReport *report;
} ServerWorld;

static uint64_t clock_of(const ServerWorld *w) {
    return (uint64_t)w->now_ms;
}

// ---- Ports --------------------------------------------------------------------------------------

static void world_work(void *context, PrepWork *work) {
    ServerWorld *w = context;
    REQUIRE(w->work_count < WORKS);
    w->works[w->work_count++] = (PendingWork){work, w->now_ms + dice_below(&w->dice, 40)};
}

static void world_output(void *context, uint32_t connection) {
    ((ServerWorld *)context)->outputs[connection] = true;
}

// The number between '#' and '#' in the text of a prompt.
static uint32_t marker_of(const ServerWorld *w, const SequenceRequest *sequence) {
    Buffer text = {0};
    detok_all(w->model->tokenizer, sequence->tokens, sequence->token_count, false, &text);
    const char *first = strchr((const char *)text.data, '#');
    REQUIRE(first != NULL);
    unsigned long marker = strtoul(first + 1, NULL, 10);
    buffer_free(&text);
    REQUIRE(marker < MARKERS);
    return (uint32_t)marker;
}

static void world_command(void *context, const StepperCommand *command) {
    ServerWorld *w = context;
    REQUIRE(w->command_count < COMMANDS);
    w->commands[w->command_count++] = *command;
    if (command->kind != STEPPER_ADD) {
        return;
    }
    const SequenceRequest *sequence = command->sequence;
    Expected *e = &w->expected[marker_of(w, sequence)];
    REQUIRE(e->count < PEER_SAMPLES && sequence->new_tokens_max == e->max_tokens);
    REQUIRE(sequence->user == e->user && sequence->new_tokens_max <= PEER_TOKENS);
    e->id_count[e->count] = fake_lone_run(&w->engine.model, sequence, e->ids[e->count]);
    e->count++;
    w->running[command->tag] = (Running){true, e->client, e->visit, 0};
}

// ---- Opening and closing ------------------------------------------------------------------------

static void open_users(ServerWorld *w) {
    static const char *const names[USERS] = {"ann", "bob", "eve"};
    char text[USERS * (USER_LINE_TEXT + 64)] = "";
    size_t length = 0;
    Error error;
    for (uint32_t i = 0; i < USERS; i++) {
        char line[USER_LINE_TEXT];
        REQUIRE(users_make_token(names[i], w->tokens[i], line, &error) == OK);
        bool limited = i == 2 && dice_below(&w->dice, 2);
        length += (size_t)snprintf(text + length, sizeof text - length, "%s weight=%u%s\n", line,
                                   1 + dice_below(&w->dice, 4),
                                   limited ? " in_flight_max=6 tokens_per_minute=20000" : "");
    }
    REQUIRE_MESSAGE(
        users_parse((Bytes){(const uint8_t *)text, length}, "users", NULL, &w->users, &error) == OK,
        "%s", error.text);
}

static void open_engine(ServerWorld *w) {
    Dice *d = &w->dice;
    const GenerationDefaults *generation = &w->model->weights->config.generation;
    SchedulerOptions options = {
        .rows_max = dice_between(d, 96, 300),
        .sequences_max = dice_between(d, 2, 10),
        .waiting_max = 2 * REQUESTS_MAX,
        .tokens_max = CONTEXT,
        .media_max = 2,
        .window = dice_between(d, 32, 256),
        .users_max = USERS,
        .age_ms = dice_between(d, 10, 3000),
    };
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        options.pages[kind] = dice_between(d, CONTEXT / KV_PAGE_TOKENS + 2, 150);
    }
    const FakeModel model = {.window = options.window,
                             .patch_bytes = PATCH_BYTES,
                             .token_first = 320,
                             .token_count = 1000,
                             .stop_token = generation->stop_ids[0],
                             .stop_one_in = dice_below(d, 2) ? 30 : 0};
    Error error;
    REQUIRE_MESSAGE(sched_open(&options, &w->scheduler, &error) == OK, "%s", error.text);
    fake_engine_open(&model, &card_4090, &options, &w->now_ms, &w->engine);
    w->engine.host_ms = dice_uniform(d) * 2;
    w->engine.fail_at_step = dice_once_in(d, 12) ? dice_between(d, 1, 300) : 0;
    const StepperOptions stepper = {.scheduler = w->scheduler,
                                    .sequences_max = options.sequences_max,
                                    .tags_max = REQUESTS_MAX,
                                    .begin = fake_engine_begin,
                                    .end = fake_engine_end,
                                    .context = &w->engine,
                                    .ahead = dice_below(d, 2)};
    REQUIRE(stepper_open(&stepper, &w->stepper, &error) == OK);
}

static SessionLimits session_limits(ServerWorld *w) {
    SessionLimits limits = session_limits_default();
    limits.credit_first = dice_between(&w->dice, 1, 20);
    limits.stream_bytes_max = 4096;
    limits.outbox_high = 2048;
    limits.outbox_hard = 16384;
    limits.in_flight_max = 12;
    limits.calls_at_once = dice_between(&w->dice, 1, 8);
    limits.frame.message_bytes_max = 100000;
    limits.partial_ms = 2000;
    limits.hello_ms = 3000;
    limits.write_ms = 4000;
    limits.idle_ms = 60000;
    return limits;
}

static void open_service(ServerWorld *w) {
    w->maker = prompt_maker(w->model->tokenizer, &w->model->weights->config);
    w->prep_rules = (PrepRules){.maker = &w->maker, .limits = media_limits_default()};
    w->prep = (Prep){.rules = &w->prep_rules};
    Error error;
    REQUIRE(metrics_open(USERS_MAX, &w->metrics, &error) == OK);
    const ServiceOptions options = {
        .maker = &w->maker,
        .model = {.name = bytes_of_text("fake"),
                  .identity = bytes_of_text("0"),
                  .weights = bytes_of_text("none"),
                  .activations = bytes_of_text("none"),
                  .kv = bytes_of_text("none"),
                  .context = CONTEXT,
                  .images = 2,
                  .vision = true,
                  .budget = 70,
                  .sampling = {0, 0, 1, 0, 1}},
        .session = session_limits(w),
        .media = media_limits_default(),
        .connections_max = CLIENTS,
        .samples_max = REQUESTS_MAX,
        .media_max = 2,
        .context = CONTEXT,
        .running_max = 10,
        .work_max = dice_between(&w->dice, 1, WORKS),
        .queued_tokens_max = dice_below(&w->dice, 2) ? dice_between(&w->dice, 500, 3000) : 100000,
        .blob_bytes_max = dice_between(&w->dice, 10, 300) * 1000,
        .held_bytes_max = dice_between(&w->dice, 400, 4000) * 1000,
        .ports = {w, world_work, world_command, world_output},
    };
    REQUIRE_MESSAGE(service_open(&options, w->users, w->metrics, 0, &w->service, &error) == OK,
                    "%s", error.text);
}

static void world_close(ServerWorld *w) {
    REQUIRE(w->work_count == 0 && w->command_count == 0 && !stepper_busy(w->stepper));
    SchedulerStats stats = sched_stats(w->scheduler);
    REQUIRE(stats.running == 0 && stats.waiting == 0);
    REQUIRE(stats.pages_used[PAGE_FULL] == 0 && stats.pages_used[PAGE_SLIDING] == 0);
    w->report->steps += w->engine.steps;
    w->report->pictures += w->engine.images;
    w->report->virtual_ms += w->now_ms;
    service_close(w->service);
    stepper_close(w->stepper);
    sched_close(w->scheduler);
    fake_engine_close(&w->engine);
    metrics_close(w->metrics);
    users_free(w->users);
    prep_free(&w->prep);
}

// ---- Judging ------------------------------------------------------------------------------------

// What a sample got against what it gets alone: all of it, or a beginning when it was ended early.
static void judge_sample(const ServerWorld *w, const PeerStream *stream, uint32_t index) {
    const PeerSample *sample = &stream->samples[index];
    const Expected *e = &w->expected[stream->marker];
    uint32_t whole = index < e->count ? e->id_count[index] : 0;
    REQUIRE_MESSAGE(sample->id_count <= whole, "call #%u: %u tokens, alone %u", stream->marker,
                    sample->id_count, whole);
    for (uint32_t i = 0; i < sample->id_count; i++) {
        REQUIRE_MESSAGE(sample->ids[i] == e->ids[index][i], "call #%u token %u: %d, alone %d",
                        stream->marker, i, sample->ids[i], e->ids[index][i]);
    }
    if (stream->cancelled && (sample->reason == PEER_LENGTH || sample->reason == PEER_STOP)) {
        return; // it had ended, and the cancel dropped what was held
    }
    switch (sample->reason) {
    case PEER_LENGTH:
        REQUIRE(sample->id_count == whole && whole == e->max_tokens);
        return;
    case PEER_STOP: // the stop token may or may not be shown
        REQUIRE(sample->id_count == whole || sample->id_count + 1 == whole);
        REQUIRE(e->ids[index][whole - 1] == w->engine.model.stop_token);
        return;
    case PEER_CANCEL:
        REQUIRE_MESSAGE(stream->cancelled, "call #%u was never cancelled", stream->marker);
        return;
    case PEER_DEADLINE:
        REQUIRE(stream->has_deadline);
        return;
    case PEER_ERROR:
    case PEER_REASONS:
        REQUIRE(stream->error != 0);
        return;
    }
}

// Takes what has ended off the client's table.
static void judge_client(ServerWorld *w, Client *c) {
    for (uint32_t i = 0; i < PEER_STREAMS; i++) {
        PeerStream *stream = &c->peer.streams[i];
        if (stream->state == PEER_REFUSED) {
            w->report->refused++;
            stream->state = PEER_UNUSED;
        }
        if (stream->state != PEER_DONE) {
            continue;
        }
        bool seen[PEER_REASONS] = {false};
        for (uint32_t s = 0; s < stream->sample_count; s++) {
            judge_sample(w, stream, s);
            seen[stream->samples[s].reason] = true;
            w->report->tokens += stream->samples[s].id_count;
        }
        w->report->failed += seen[PEER_ERROR];
        w->report->expired += seen[PEER_DEADLINE];
        w->report->cancelled += seen[PEER_CANCEL];
        w->report->answered += !seen[PEER_ERROR] && !seen[PEER_DEADLINE] && !seen[PEER_CANCEL];
        stream->state = PEER_UNUSED;
    }
}

// ---- Clients ------------------------------------------------------------------------------------

static void client_connect(ServerWorld *w, Client *c) {
    Error error;
    Status status = service_connect(w->service, clock_of(w), &c->connection, &error);
    if (status == E_BUSY) {
        return; // too many that have not said hello: it tries again
    }
    if (status == E_DEVICE) {
        REQUIRE(stepper_error(w->stepper) != NULL);
        return;
    }
    REQUIRE_MESSAGE(status == OK, "%s", error.text);
    c->connected = true;
    c->visit++;
    c->habit = dice_below(&w->dice, 2) ? HABIT_GOOD : (Habit)dice_below(&w->dice, HABIT_COUNT);
    c->user = dice_below(&w->dice, USERS);
    c->reads_again_ms = 0;
    w->report->connections++;
    peer_open(&c->peer);
    if (!(c->habit == HABIT_SILENT && dice_below(&w->dice, 2))) {
        bool stranger = dice_once_in(&w->dice, 30);
        peer_hello(&c->peer, stranger ? "nobody" : w->tokens[c->user]);
    }
}

static void client_gone(ServerWorld *w, Client *c) {
    judge_client(w, c);
    w->report->orphaned += peer_pending(&c->peer);
    peer_close(&c->peer);
    buffer_clear(&c->wire);
    c->connected = false;
}

static void client_leave(ServerWorld *w, Client *c) {
    w->outputs[c->connection] = false;
    service_disconnect(w->service, c->connection, clock_of(w));
    client_gone(w, c);
}

static void client_ask(ServerWorld *w, Client *c) {
    Dice *d = &w->dice;
    if (w->marker_count == MARKERS) {
        return;
    }
    char text[400];
    uint32_t marker = w->marker_count;
    int length = snprintf(text, sizeof text, "What is in the picture? Question #%u#", marker);
    for (uint32_t more = dice_below(d, 60); more > 0 && length<380; more -= more> 0) {
        length += snprintf(text + length, sizeof text - (size_t)length, " a%u", more % 10);
    }
    bool picture = w->picture_count > 0 && dice_once_in(d, 4);
    const PeerAsk ask = {
        .marker = marker,
        .text = text,
        .image = picture ? w->pictures[dice_below(d, w->picture_count)] : (Bytes){0},
        .max_tokens = dice_between(d, 1, 50),
        .samples = dice_once_in(d, 5) ? dice_between(d, 2, PEER_SAMPLES) : 1,
        .deadline_ms = dice_once_in(d, 10) ? dice_between(d, 1, 3000) : 0,
        .seed = dice_below(d, 1000),
        .streams = dice_below(d, 2),
        .batch = dice_once_in(d, 4),
    };
    if (peer_generate(&c->peer, &ask)) {
        w->expected[marker] = (Expected){.user = c->user,
                                         .max_tokens = ask.max_tokens,
                                         .client = (uint32_t)(c - w->clients),
                                         .visit = c->visit};
        w->marker_count++;
        w->report->asked++;
    }
}

static void client_noise(ServerWorld *w, Client *c) {
    Dice *d = &w->dice;
    switch (dice_below(d, 4)) {
    case 0: // bytes
        for (uint32_t i = dice_between(d, 1, 60); i > 0; i--) {
            buffer_append_byte(&c->peer.out, (uint8_t)dice_below(d, 256));
        }
        return;
    case 1: // a header that asks for the moon
        buffer_append(&c->peer.out, "\xdd\xff\xff\xff\xff", 5);
        return;
    case 2: // a method that is none
        peer_plain(&c->peer, "shutdown");
        return;
    default: // parameters that are none
        msg_put_request(&c->peer.out, c->peer.next_call++, "generate");
        msg_put_map(&c->peer.out, 1);
        msg_pair_int(&c->peer.out, "n", -5);
        c->peer.plain_open++;
        return;
    }
}

static void put_rubbish(Buffer *out, uint32_t bytes) {
    while (bytes-- > 0) {
        buffer_append_byte(out, (uint8_t)bytes);
    }
}

// Blobs, calls whose picture goes on behind its end, a large message that never ends, and answers
// that nobody reads: what holds the most for the least.
static void client_hoard(ServerWorld *w, Client *c) {
    Dice *d = &w->dice;
    Buffer *out = &c->peer.out;
    uint32_t bytes = dice_between(d, 1000, HOARD_BYTES);
    switch (dice_below(d, 4)) {
    case 0:
        peer_plain(&c->peer, "api_info");
        return;
    case 1:
        msg_put_request(out, c->peer.next_call++, "put_blob");
        msg_put_map(out, 1);
        msg_put_key(out, "data");
        buffer_append(
            out,
            (uint8_t[]){0xc6, 0, (uint8_t)(bytes >> 16), (uint8_t)(bytes >> 8), (uint8_t)bytes}, 5);
        put_rubbish(out, dice_once_in(d, 3) ? bytes / 2 : bytes);
        c->peer.plain_open++;
        return;
    default:
        client_ask(w, c);
    }
}

static void client_credits(Client *c) {
    for (uint32_t i = 0; i < PEER_STREAMS && c->peer.credit_owed > 0; i++) {
        if (c->peer.streams[i].state == PEER_OPEN && c->peer.streams[i].streams) {
            peer_credit(&c->peer, c->peer.streams[i].id, 4);
        }
    }
    c->peer.credit_owed = 0;
}

static void client_act(ServerWorld *w, Client *c) {
    Dice *d = &w->dice;
    if (c->habit == HABIT_LEAVE && dice_once_in(d, 25)) {
        client_leave(w, c);
        return;
    }
    if (c->habit == HABIT_NOISE && dice_once_in(d, 30)) {
        client_noise(w, c);
    }
    if (c->habit == HABIT_HOARD && c->peer.greeted && c->peer.out.length == 0) {
        client_hoard(w, c);
    }
    if (c->habit == HABIT_SILENT && dice_once_in(d, 30)) {
        buffer_append(&c->peer.out, "\x94", 1); // the beginning of a message
    }
    uint32_t asks = c->habit == HABIT_FLOOD ? dice_below(d, 3) : dice_once_in(d, 14);
    for (; asks > 0 && c->peer.greeted; asks--) {
        client_ask(w, c);
    }
    if (c->peer.greeted && dice_once_in(d, 12)) {
        static const char *const plain[] = {"stats", "models", "health", "api_info"};
        peer_plain(&c->peer, plain[dice_below(d, 4)]);
    }
    uint32_t i = dice_below(d, PEER_STREAMS);
    if (c->peer.streams[i].state == PEER_OPEN && dice_once_in(d, 4)) {
        peer_cancel(&c->peer, c->peer.streams[i].id);
    }
}

// ---- The wire -----------------------------------------------------------------------------------

static void client_sends(ServerWorld *w, Client *c) {
    client_credits(c);
    Buffer *out = &c->peer.out;
    while (c->connected && out->length > 0 && service_reads(w->service, c->connection)) {
        size_t piece = num_min(out->length, 1 + dice_below(&w->dice, 20000));
        service_receive(w->service, c->connection, (Bytes){out->data, piece}, clock_of(w));
        memmove(out->data, out->data + piece, out->length - piece);
        out->length -= piece;
        if (dice_once_in(&w->dice, 4)) {
            return; // the rest comes later
        }
    }
}

static bool client_is_slow(const ServerWorld *w, const Client *c) {
    return !w->calm && (c->habit == HABIT_SLOW || c->habit == HABIT_HOARD);
}

// A socket takes what fits its buffer; a slow client's is small and not always read.
static void server_writes(ServerWorld *w, Client *c) {
    size_t room = client_is_slow(w, c) ? 600 : 65536;
    for (;;) {
        Bytes bytes = service_output(w->service, c->connection);
        size_t count = num_min(bytes.length, c->wire.length < room ? room - c->wire.length : 0);
        if (count == 0) {
            break;
        }
        buffer_append(&c->wire, bytes.data, count);
        service_written(w->service, c->connection, count, clock_of(w));
    }
    ConnectionEnd end = service_connection_end(w->service, c->connection);
    bool written = service_output(w->service, c->connection).length == 0;
    if (end == CONNECTION_CLOSE_NOW || (end == CONNECTION_CLOSE_WHEN_WRITTEN && written)) {
        w->report->cut++;
        peer_receive(&c->peer, (Bytes){c->wire.data, c->wire.length});
        client_leave(w, c);
    }
}

static void client_reads(ServerWorld *w, Client *c) {
    if (client_is_slow(w, c)) {
        if (w->now_ms < c->reads_again_ms) {
            return;
        }
        c->reads_again_ms = w->now_ms + dice_below(&w->dice, 8) * 500;
    }
    peer_receive(&c->peer, (Bytes){c->wire.data, c->wire.length});
    c->wire.length = 0;
    judge_client(w, c);
}

// ---- Turning ------------------------------------------------------------------------------------

static void run_works(ServerWorld *w) {
    for (uint32_t i = 0; i < w->work_count;) {
        if (w->works[i].ready_ms > w->now_ms) {
            i++;
            continue;
        }
        PrepWork *work = w->works[i].work;
        w->works[i] = w->works[--w->work_count];
        prep_work_run(&w->prep, work);
        service_worked(w->service, work, clock_of(w));
    }
}

// Two steps after a client has left, nothing of it is in the batch or the queue.
static void check_left(ServerWorld *w) {
    for (uint32_t tag = 0; tag < REQUESTS_MAX; tag++) {
        Running *running = &w->running[tag];
        const Client *client = &w->clients[running->client];
        if (running->live && !(client->connected && client->visit == running->visit)) {
            running->steps_after++;
            REQUIRE_MESSAGE(running->steps_after <= 2, "tag %u outlives its client", tag);
        }
    }
}

static void run_step(ServerWorld *w) {
    stepper_tick(w->stepper, clock_of(w));
    for (uint32_t i = 0; i < w->command_count; i++) {
        stepper_command(w->stepper, &w->commands[i]);
    }
    w->command_count = 0;
    if (!stepper_busy(w->stepper)) {
        return;
    }
    const StepperEvent *events;
    size_t count = stepper_step(w->stepper, &events);
    for (size_t i = 0; i < count; i++) {
        Running *running = &w->running[events[i].tag];
        running->live = events[i].event.finish == FINISH_NONE && events[i].kind == STEPPER_TOKEN;
        service_step_event(w->service, &events[i], clock_of(w));
    }
    const StepReport report = {.scheduler = stepper_stats(w->stepper),
                               .steps = w->engine.steps,
                               .last_ns = 1000000,
                               .last_rows = 1,
                               .failed = stepper_error(w->stepper) != NULL};
    service_step_report(w->service, &report, clock_of(w));
    check_left(w);
}

static void flush(ServerWorld *w) {
    service_flush(w->service);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        Client *c = &w->clients[i];
        if (c->connected &&
            (w->outputs[c->connection] || c->habit == HABIT_SLOW || c->habit == HABIT_HOARD)) {
            w->outputs[c->connection] = false;
            server_writes(w, c);
        }
        if (c->connected) {
            client_reads(w, c);
        }
    }
}

static void turn(ServerWorld *w) {
    for (uint32_t i = 0; i < CLIENTS; i++) {
        Client *c = &w->clients[i];
        if (!w->calm && !c->connected && dice_once_in(&w->dice, 5)) {
            client_connect(w, c);
        }
        if (!w->calm && c->connected) {
            client_act(w, c);
        }
        if (c->connected) {
            client_sends(w, c);
        }
    }
    service_turn(w->service, clock_of(w));
    run_works(w);
    run_step(w);
    if (w->now_ms >= w->ticked_ms + SERVICE_TICK_MS) {
        w->ticked_ms = w->now_ms;
        service_tick(w->service, clock_of(w));
    }
    flush(w);
    service_check(w->service); // what is held adds up, and is never more than held_bytes_max
    ServerStats stats;
    service_stats(w->service, clock_of(w), &stats);
    w->report->held_most =
        num_max(w->report->held_most, stats.held_bytes * 100 / stats.held_bytes_max);
    sched_check_all(w->scheduler);
    w->now_ms += dice_once_in(&w->dice, 50) ? dice_below(&w->dice, 2000) : 1;
}

void server_world_run(uint64_t seed, const Runtime *model, const Bytes *pictures,
                      uint32_t picture_count, ServerReport *report) {
    ServerWorld *w = calloc(1, sizeof *w);
    REQUIRE(w != NULL);
    w->dice = (Dice){.seed = seed};
    w->model = model;
    w->pictures = pictures;
    w->picture_count = picture_count;
    w->report = report;
    open_users(w);
    open_engine(w);
    open_service(w);
    uint32_t quiet_turn = dice_once_in(&w->dice, 4) ? dice_below(&w->dice, TURNS) : TURNS;
    for (uint32_t i = 0; i < quiet_turn; i++) {
        turn(w);
    }
    // SIGTERM: what runs ends or is ended, everybody gets an answer, nobody stays.
    w->calm = true;
    service_drain(w->service, clock_of(w), clock_of(w) + dice_below(&w->dice, 3000));
    for (uint32_t i = 0;
         !service_drained(w->service) || stepper_busy(w->stepper) || w->command_count > 0; i++) {
        REQUIRE_MESSAGE(i < 20000, "the drain does not end");
        turn(w);
        w->now_ms += 2;
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        REQUIRE(!w->clients[i].connected);
        buffer_free(&w->clients[i].wire);
    }
    world_close(w);
    free(w);
}
