// SPDX-License-Identifier: Apache-2.0
#include "bench/load.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "base/prng.h"
#include "rpc/client/socket.h"

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FLIGHTS_MAX = 256 }; // of one connection

typedef struct Flight {
    bool live;
    uint32_t call;
    uint64_t stream; // 0: not accepted yet
    uint32_t record;
} Flight;

typedef struct Link {
    Socket socket;
    Client *client;
    uint32_t user, flight_count;
    Flight flights[FLIGHTS_MAX];
} Link;

typedef struct Load {
    const LoadOptions *options;
    LoadReport *report;
    Link *links;
    struct pollfd *polls;
    uint32_t capacity; // of the report's records
    uint32_t next_link, started, in_flight;
    uint64_t start_ns;
    double next_ms;       // of the open loop and the trace
    double not_before_ms; // closed loop: after a refusal
} Load;

static double load_now_ms(const Load *load) {
    return (double)(clock_ns() - load->start_ns) * 1e-6;
}

// ---- Connections --------------------------------------------------------------------------------

static Status load_connect(Load *load, Error *error) {
    const LoadOptions *o = load->options;
    for (uint32_t i = 0; i < o->connections; i++) {
        Link *link = &load->links[i];
        link->user = i % o->user_count;
        TRY(client_open(&link->client, error));
        TRY(socket_connect(o->address, &link->socket, error));
        client_hello(link->client, o->tokens[link->user], "tessera bench");
        ClientEvent event;
        Status status = OK;
        while (status == OK && !client_next(link->client, &event, &status, error)) {
            TRY(socket_pump(&link->socket, link->client, 5000, error));
        }
        TRY(status);
        if (event.kind != CLIENT_RESULT) {
            *error = event.error;
            return event.error.status;
        }
    }
    return OK;
}

// ---- Requests -----------------------------------------------------------------------------------

static LoadRecord *load_record(Load *load) {
    LoadReport *report = load->report;
    if (report->count == load->capacity) {
        load->capacity = load->capacity * 2 + 1024;
        report->records = realloc(report->records, load->capacity * sizeof *report->records);
        REQUIRE(report->records != NULL);
    }
    report->records[report->count] = (LoadRecord){0};
    return &report->records[report->count++];
}

static Link *load_link(Load *load) {
    for (uint32_t i = 0; i < load->options->connections; i++) {
        Link *link = &load->links[load->next_link++ % load->options->connections];
        if (link->flight_count < FLIGHTS_MAX) {
            return link;
        }
    }
    return NULL;
}

// False when every connection has all it can carry.
static bool load_begin(Load *load, double due_ms) {
    const LoadOptions *o = load->options;
    Link *link = load_link(load);
    if (link == NULL) {
        return false;
    }
    uint64_t number = load->started++;
    bool picture = o->picture_count > 0 && prng_uniform(o->seed, 1, number) < o->picture_share;
    char system[80];
    snprintf(system, sizeof system, "Request %llu of load %llu.", (unsigned long long)number,
             (unsigned long long)o->seed);
    const Bytes *file =
        picture ? &o->pictures[prng_u64(o->seed, 2, number) % o->picture_count] : NULL;
    CallMessage messages[2];
    CallPart parts[3];
    GenerateCall call =
        generate_question(o->unique ? bytes_of_text(system) : (Bytes){0},
                          bytes_of_text(o->question), file, picture, messages, parts);
    call.sampling.temperature = o->temperature;
    call.seed = number;
    call.max_tokens = o->max_tokens;
    call.budget = o->budget;
    call.batch = o->batch;
    call.stream = !o->whole;
    LoadRecord *record = load_record(load);
    record->user = link->user;
    record->picture = picture;
    record->began_ms = due_ms;
    uint32_t at = 0;
    while (link->flights[at].live) {
        at++;
    }
    link->flights[at] = (Flight){.live = true,
                                 .call = client_generate(link->client, &call),
                                 .record = load->report->count - 1};
    link->flight_count++;
    load->in_flight++;
    return true;
}

static bool load_may_begin(const Load *load, double now_ms) {
    const LoadOptions *o = load->options;
    return (o->requests_max == 0 || load->started < o->requests_max) &&
           (o->seconds <= 0 || now_ms < o->seconds * 1e3);
}

// Starts what is due; returns how long nothing else will be, in milliseconds.
static double load_start_due(Load *load) {
    const LoadOptions *o = load->options;
    double now_ms = load_now_ms(load);
    while (load_may_begin(load, now_ms)) {
        if (o->concurrency > 0) {
            if (now_ms < load->not_before_ms) {
                return load->not_before_ms - now_ms;
            }
            if (load->in_flight >= o->concurrency || !load_begin(load, now_ms)) {
                return 1000;
            }
            continue;
        }
        if (o->trace_ms != NULL) {
            if (load->started == o->trace_count) {
                return 1000;
            }
            load->next_ms = o->trace_ms[load->started];
        }
        if (load->next_ms > now_ms || !load_begin(load, load->next_ms)) {
            return load->next_ms > now_ms ? load->next_ms - now_ms : 1;
        }
        double gap = -log(1.0 - prng_uniform(o->seed, 3, load->started)) / o->rate * 1e3;
        load->next_ms += o->trace_ms == NULL ? gap : 0;
    }
    return 1000;
}

// ---- Events -------------------------------------------------------------------------------------

static Flight *flight_of(Link *link, const ClientEvent *event) {
    bool by_call = event->kind == CLIENT_RESULT || event->kind == CLIENT_REFUSED;
    for (uint32_t i = 0; i < FLIGHTS_MAX; i++) {
        Flight *flight = &link->flights[i];
        if (flight->live && (by_call ? flight->call == event->call
                                     : flight->stream == event->stream && event->stream != 0)) {
            return flight;
        }
    }
    return NULL;
}

static void load_end(Load *load, Link *link, Flight *flight, LoadOutcome outcome) {
    LoadRecord *record = &load->report->records[flight->record];
    record->outcome = outcome;
    record->total_ms = load_now_ms(load) - record->began_ms;
    if (record->first_ms <= 0) {
        record->first_ms = record->total_ms;
    }
    flight->live = false;
    link->flight_count--;
    load->in_flight--;
}

static void load_failed(Load *load, const Error *error) {
    if (load->report->first_failure.status == OK) {
        load->report->first_failure = *error;
    }
}

static void load_done(Load *load, Link *link, Flight *flight, const ClientEvent *event) {
    LoadRecord *record = &load->report->records[flight->record];
    record->prompt_tokens = (uint32_t)event->usage.prompt_tokens;
    record->cached_tokens = (uint32_t)event->usage.cached_tokens;
    record->output_tokens = (uint32_t)event->usage.output_tokens;
    bool good = event->error.status == OK;
    if (!good) {
        load_failed(load, &event->error);
    }
    load_end(load, link, flight, good ? LOAD_ANSWERED : LOAD_FAILED);
}

static Status load_event(Load *load, Link *link, const ClientEvent *event, Error *error) {
    if (event->kind == CLIENT_GOODBYE) {
        *error = event->error;
        return event->error.status;
    }
    Flight *flight = flight_of(link, event);
    if (flight == NULL) {
        return OK;
    }
    LoadRecord *record = &load->report->records[flight->record];
    switch (event->kind) {
    case CLIENT_RESULT:
        flight->stream = event->stream;
        return OK;
    case CLIENT_TOKEN:
        if (record->first_ms <= 0) {
            record->first_ms = load_now_ms(load) - record->began_ms;
        }
        return OK;
    case CLIENT_DONE:
        load_done(load, link, flight, event);
        return OK;
    case CLIENT_REFUSED:
    case CLIENT_GOODBYE:
        break;
    }
    if (event->retry_after_ms == 0) {
        load_failed(load, &event->error);
    }
    load->not_before_ms = load_now_ms(load) + (double)num_min(event->retry_after_ms, 100);
    load_end(load, link, flight, event->retry_after_ms > 0 ? LOAD_REFUSED : LOAD_FAILED);
    return OK;
}

static Status load_serve(Load *load, Link *link, Error *error) {
    TRY(socket_pump(&link->socket, link->client, 0, error));
    ClientEvent event;
    Status status = OK;
    while (client_next(link->client, &event, &status, error)) {
        TRY(load_event(load, link, &event, error));
    }
    return status;
}

static Status load_turn(Load *load, Error *error) {
    uint32_t count = load->options->connections;
    double wait_ms = load_start_due(load);
    for (uint32_t i = 0; i < count; i++) {
        bool writes = client_output(load->links[i].client).length > 0;
        load->polls[i] = (struct pollfd){.fd = load->links[i].socket.fd,
                                         .events = (short)(POLLIN | (writes ? POLLOUT : 0))};
    }
    // In nanoseconds: a request that is late by the rest of a millisecond counts against the
    // server.
    uint64_t wait_ns = (uint64_t)(wait_ms * 1e6);
    const struct timespec wait = {.tv_sec = (time_t)(wait_ns / 1000000000u),
                                  .tv_nsec = (long)(wait_ns % 1000000000u)};
    if (ppoll(load->polls, count, &wait, NULL) <= 0) {
        return OK;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (load->polls[i].revents != 0) {
            TRY(load_serve(load, &load->links[i], error));
        }
    }
    return OK;
}

Status load_run(const LoadOptions *options, LoadReport *out, Error *error) {
    *out = (LoadReport){0};
    Load load = {.options = options, .report = out};
    load.links = calloc(options->connections, sizeof *load.links);
    load.polls = calloc(options->connections, sizeof *load.polls);
    REQUIRE(load.links != NULL && load.polls != NULL);
    for (uint32_t i = 0; i < options->connections; i++) {
        load.links[i].socket.fd = -1;
    }
    Status status = load_connect(&load, error);
    load.start_ns = clock_ns();
    while (status == OK && (load_may_begin(&load, load_now_ms(&load)) || load.in_flight > 0)) {
        if (options->trace_ms != NULL && load.started == options->trace_count &&
            load.in_flight == 0) {
            break;
        }
        status = load_turn(&load, error);
    }
    out->seconds = load_now_ms(&load) * 1e-3;
    for (uint32_t i = 0; i < options->connections; i++) {
        client_close(load.links[i].client);
        socket_close(&load.links[i].socket);
    }
    free(load.links);
    free(load.polls);
    return status;
}

void load_free(LoadReport *report) {
    free(report->records);
    *report = (LoadReport){0};
}
