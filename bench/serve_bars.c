// SPDX-License-Identifier: Apache-2.0
// The promises about serving that can be measured from outside a running server, one function each.
// ci/bench starts the server that each needs.
#include "bench/serve_bars.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "bench/serve_report.h"
#include "rpc/client/socket.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

typedef struct Bar {
    const LoadOptions *load;
    int pid;
    bool good;
    CallMessage messages[2]; // of the question being asked
    CallPart parts[3];
} Bar;

// Says how it went, and remembers a miss.
static void bar_judge(Bar *bar, const char *name, double value, double limit, bool at_least) {
    bool good = at_least ? value >= limit : value <= limit;
    fprintf(stderr, "%s: %.3g, bar %s %.3g: %s\n", name, value, at_least ? ">=" : "<=", limit,
            good ? "met" : "MISSED");
    bar->good = bar->good && good;
}

// ---- One connection, one call at a time ---------------------------------------------------------

typedef struct Line {
    Socket socket;
    Client *client;
} Line;

static Status line_next(Line *line, ClientEvent *event, Error *error) {
    Status status = OK;
    while (!client_next(line->client, event, &status, error)) {
        TRY(status);
        TRY(socket_pump(&line->socket, line->client, -1, error));
    }
    return status;
}

static Status line_open(const Bar *bar, Line *line, Error *error) {
    *line = (Line){.socket = {.fd = -1}};
    TRY(client_open(&line->client, error));
    TRY(socket_connect(bar->load->address, &line->socket, error));
    client_hello(line->client, bar->load->tokens[0], "tessera bench");
    ClientEvent event;
    TRY(line_next(line, &event, error));
    if (event.kind != CLIENT_RESULT) {
        *error = event.error;
    }
    return event.kind == CLIENT_RESULT ? OK : event.error.status;
}

static void line_close(Line *line) {
    client_close(line->client);
    socket_close(&line->socket);
}

// The answer of a call of stats that was made before.
static Status line_read_stats(Line *line, ServerStats *stats, Error *error) {
    ClientEvent event;
    do {
        TRY(line_next(line, &event, error));
    } while (event.kind != CLIENT_RESULT && event.kind != CLIENT_REFUSED);
    if (event.kind == CLIENT_REFUSED) {
        *error = event.error;
        return event.error.status;
    }
    uint32_t users = 0;
    return client_read_stats(event.result, stats, NULL, 0, &users, error);
}

static Status line_stats(Line *line, ServerStats *stats, Error *error) {
    client_call(line->client, METHOD_STATS);
    return line_read_stats(line, stats, error);
}

// Good until the next one.
static GenerateCall bar_ask(Bar *bar, const char *question, bool picture) {
    GenerateCall call =
        generate_question((Bytes){0}, bytes_of_text(question), bar->load->pictures,
                          picture && bar->load->picture_count > 0, bar->messages, bar->parts);
    call.max_tokens = bar->load->max_tokens;
    call.budget = bar->load->budget;
    return call;
}

static Status line_ask(Line *line, const GenerateCall *call, ClientUsage *usage, Error *error) {
    client_generate(line->client, call);
    ClientEvent event;
    do {
        TRY(line_next(line, &event, error));
    } while (event.kind == CLIENT_RESULT || event.kind == CLIENT_TOKEN);
    if (event.error.status != OK) {
        *error = event.error;
        return event.error.status;
    }
    *usage = event.usage;
    return OK;
}

// ---- The bars -----------------------------------------------------------------------------------

static Status bar_load(Bar *bar, const char *what, LoadOptions load, ServeSummary *sum,
                       LoadReport *report, Error *error) {
    TRY(load_run(&load, report, error));
    serve_report_row(what, &load, report, 1000, 100);
    *sum = serve_report_summary(report, 1000, 100);
    bar->good = bar->good && sum->failed == 0;
    return OK;
}

// 16 pictures at a time against one at a time.
static Status batching_ratio(Bar *bar, double temperature, double *ratio, Error *error) {
    LoadOptions load = *bar->load;
    ServeSummary one, many;
    LoadReport report;
    load.seconds = 15;
    load.unique = true;
    load.temperature = temperature;
    load.concurrency = 1;
    TRY(bar_load(bar, "bar: one picture at a time", load, &one, &report, error));
    load_free(&report);
    load.concurrency = 16;
    load.seed++;
    TRY(bar_load(bar, "bar: 16 pictures at a time", load, &many, &report, error));
    load_free(&report);
    *ratio = (many.captions / many.seconds) / (one.captions / one.seconds);
    Row row = row_begin("serve", "bar: batching pays");
    row_number(&row, "output_tokens_mean", (double)many.output_tokens / many.answered);
    row_number(&row, "captions_per_s_1", one.captions / one.seconds);
    row_number(&row, "captions_per_s_16", many.captions / many.seconds);
    row_number(&row, "ratio", *ratio);
    row_end(&row);
    return OK;
}

// The bar is for answers of about 80 tokens, which the demo model gives when any token may be
// drawn. Its own captions have 13, and on a CPU, where one prompt already fills every core,
// batching saves nothing on prompts; they are a row without a bar.
static Status bar_batching(Bar *bar, Error *error) {
    double captions, answers;
    TRY(batching_ratio(bar, -1, &captions, error));
    TRY(batching_ratio(bar, 100, &answers, error));
    fprintf(stderr, "16 captions at a time over one: %.2f (no bar)\n", captions);
    bar_judge(bar, "16 long answers at a time over one", answers, 3, true);
    return OK;
}

// Ten questions about one picture: what is computed beside the first prompt.
static Status bar_prefix(Bar *bar, Error *error) {
    enum { QUESTIONS = 10 };
    Line line;
    ClientUsage first = {0}, usage = {0};
    uint64_t computed = 0;
    TRY(line_open(bar, &line, error));
    for (int i = 0; i < QUESTIONS; i++) {
        char question[64];
        snprintf(question, sizeof question, "Question %d: what is %d in this picture?", i, i * i);
        GenerateCall ask = bar_ask(bar, question, true);
        TRY(line_ask(&line, &ask, &usage, error));
        first = i == 0 ? usage : first;
        computed += usage.prompt_tokens - usage.cached_tokens;
    }
    line_close(&line);
    // Without sharing the picture would be computed ten times.
    double images = (double)(computed - first.prompt_tokens) / (QUESTIONS - 1);
    Row row = row_begin("serve", "bar: ten questions about one picture");
    row_number(&row, "prompt_tokens", (double)first.prompt_tokens);
    row_number(&row, "image_tokens", (double)first.image_tokens);
    row_number(&row, "computed_first", (double)(first.prompt_tokens - first.cached_tokens));
    row_number(&row, "computed_each_further", images);
    row_end(&row);
    double text = (double)(first.prompt_tokens - first.image_tokens);
    bar_judge(bar, "tokens computed for a further question (bar: those of its text)", images, text,
              false);
    return OK;
}

static double now_us(void) {
    return (double)clock_ns() * 1e-3;
}

static Status bar_ping(Bar *bar, Error *error) {
    enum { ROUNDS = 5000 };
    static double took_us[ROUNDS];
    Line line;
    ClientEvent event;
    TRY(line_open(bar, &line, error));
    for (int i = 0; i < ROUNDS; i++) {
        double start = now_us();
        client_call(line.client, METHOD_HEALTH);
        TRY(line_next(&line, &event, error));
        took_us[i] = now_us() - start;
    }
    line_close(&line);
    Row row = row_begin("serve", "bar: empty round trip");
    serve_report_percentiles(&row, "us", took_us, ROUNDS); // sorts
    row_end(&row);
    bar_judge(bar, "round trip, median us", took_us[ROUNDS / 2], 100, false);
    return OK;
}

static void raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

// 2,000 connections that say nothing beside 200 streams.
static Status bar_idle(Bar *bar, Error *error) {
    enum { IDLE = 2000, ACTIVE = 200 };
    raise_file_limit();
    Line *lines = calloc(IDLE, sizeof *lines);
    LoadOptions load = *bar->load;
    ServeSummary sum;
    LoadReport report;
    for (int i = 0; i < IDLE; i++) {
        TRY(line_open(bar, &lines[i], error));
    }
    load.connections = load.concurrency = ACTIVE;
    load.requests_max = 4 * ACTIVE;
    load.picture_count = 0;
    TRY(bar_load(bar, "bar: 200 streams beside 2,000 idle connections", load, &sum, &report,
                 error));
    load_free(&report);
    uint32_t alive = 0;
    for (int i = 0; i < IDLE; i++) {
        ClientEvent event;
        client_call(lines[i].client, METHOD_HEALTH);
        alive += line_next(&lines[i], &event, error) == OK && event.kind == CLIENT_RESULT;
        line_close(&lines[i]);
    }
    free(lines);
    bar_judge(bar, "idle connections that still answer", alive, IDLE, true);
    bar_judge(bar, "streams that ended well", sum.answered, load.requests_max, true);
    return OK;
}

static double resident_kib(int pid) {
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return 0;
    }
    bool read = fgets(text, sizeof text, file) != NULL;
    fclose(file);
    char *rest = text;
    strtoul(text, &rest, 10);
    return read ? (double)strtoul(rest, NULL, 10) * 4 : 0;
}

static void sleep_ms(uint32_t ms) {
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

// Streams full of alternatives that nobody reads, until the server has ended them all.
static Status bar_unread(Bar *bar, Error *error) {
    enum { STREAMS = 64 };
    Line lines[STREAMS], watcher;
    ServerStats stats;
    TRY(line_open(bar, &watcher, error));
    GenerateCall ask = bar_ask(bar, "Say many words.", false);
    ask.sampling.temperature = 100; // any token: seldom the end
    ask.max_tokens = 2000;
    for (int i = 0; i < STREAMS; i++) {
        TRY(line_open(bar, &lines[i], error));
    }
    // The first round, not streamed, only touches the pages of the cache that the second will use.
    double before_kib = 0, most_kib = 0;
    for (int round = 0; round < 2; round++) {
        before_kib = most_kib = resident_kib(bar->pid);
        for (int i = 0; i < STREAMS; i++) {
            ask.seed = (uint64_t)i;
            ask.stream = round == 1;
            ask.logprobs = round == 1 ? 20 : 0;
            client_generate(lines[i].client, &ask);
            TRY(socket_pump(&lines[i].socket, lines[i].client, 1000, error)); // asks, reads no more
        }
        do {
            sleep_ms(50);
            TRY(line_stats(&watcher, &stats, error));
            most_kib = fmax(most_kib, resident_kib(bar->pid));
        } while (stats.running + stats.waiting + stats.preparing > 0);
    }
    double each_kib = (most_kib - before_kib) / STREAMS;
    Row row = row_begin("serve", "bar: a stream that is not read");
    row_number(&row, "streams", STREAMS);
    row_number(&row, "output_tokens", (double)stats.output_tokens);
    row_number(&row, "server_kib_each", each_kib);
    row_end(&row);
    for (int i = 0; i < STREAMS; i++) {
        line_close(&lines[i]);
    }
    line_close(&watcher);
    if (before_kib <= 0) {
        return error_set(error, E_ARGUMENT, "this bar needs the server's process: --pid");
    }
    bar_judge(bar, "server KiB for an unread stream", each_kib, 1024, false);
    return OK;
}

// A client leaves in the middle of its answer. The question for the steps goes out right before the
// end of the connection, and both arrive together; so that what is counted is the server's doing.
static Status bar_disconnect(Bar *bar, Error *error) {
    enum { ROUNDS = 50 };
    static double steps[ROUNDS];
    Line watcher;
    ServerStats before = {0}, after = {0};
    TRY(line_open(bar, &watcher, error));
    for (int i = 0; i < ROUNDS; i++) {
        Line line;
        ClientEvent event;
        TRY(line_open(bar, &line, error));
        GenerateCall ask = bar_ask(bar, "Say many words.", true);
        ask.sampling.temperature = 100;
        ask.seed = (uint64_t)i;
        ask.stream = true;
        ask.max_tokens = 2000;
        client_generate(line.client, &ask);
        do {
            TRY(line_next(&line, &event, error));
        } while (event.kind == CLIENT_RESULT);
        client_call(watcher.client, METHOD_STATS);
        TRY(socket_pump(&watcher.socket, watcher.client, 0, error));
        line_close(&line);
        TRY(line_read_stats(&watcher, &before, error));
        do {
            TRY(line_stats(&watcher, &after, error));
        } while (after.pages_full_used + after.pages_sliding_used > 0);
        steps[i] = (double)(after.steps - before.steps);
    }
    line_close(&watcher);
    Row row = row_begin("serve", "bar: steps until a disconnected client's pages are free");
    serve_report_percentiles(&row, "steps", steps, ROUNDS);
    row_end(&row);
    bar_judge(bar, "steps from the disconnect, most", steps[ROUNDS - 1], 2, false);
    return OK;
}

// Twice what the server can do, for a minute.
static Status bar_overload(Bar *bar, Error *error) {
    LoadOptions load = *bar->load;
    ServeSummary full, over;
    LoadReport report;
    load.unique = true;
    load.connections = load.concurrency = 48;
    load.seconds = 20;
    TRY(bar_load(bar, "bar: capacity, 48 at a time", load, &full, &report, error));
    load_free(&report);
    double capacity = full.answered / full.seconds;
    load.concurrency = 0;
    load.seed++;
    load.rate = 2 * capacity;
    load.seconds = 60;
    TRY(bar_load(bar, "bar: twice the capacity", load, &over, &report, error));
    double refused_ms = 0;
    double *values = calloc(report.count + 1, sizeof *values);
    uint32_t count = 0;
    for (uint32_t i = 0; i < report.count; i++) {
        if (report.records[i].outcome == LOAD_REFUSED) {
            values[count++] = report.records[i].total_ms;
        }
    }
    Row row = row_begin("serve", "bar: overload");
    row_number(&row, "capacity_per_s", capacity);
    row_number(&row, "answered_per_s", over.answered / over.seconds);
    serve_report_percentiles(&row, "refusal_ms", values, count);
    row_end(&row);
    refused_ms = count > 0 ? values[num_min(count * 99 / 100, count - 1)] : 0;
    bar_judge(bar, "answered over capacity", over.answered / over.seconds / capacity, 0.95, true);
    bar_judge(bar, "refusals, 99th percentile in ms", refused_ms, 10, false);
    load_free(&report);
    free(values);
    return OK;
}

static const struct {
    const char *name;
    Status (*run)(Bar *bar, Error *error);
} bars[] = {{"batching", bar_batching}, {"prefix", bar_prefix}, {"ping", bar_ping},
            {"idle", bar_idle},         {"unread", bar_unread}, {"disconnect", bar_disconnect},
            {"overload", bar_overload}};

Status serve_bar(const char *name, const LoadOptions *load, int pid, bool *good, Error *error) {
    Bar bar = {.load = load, .pid = pid, .good = true};
    for (size_t i = 0; i < sizeof bars / sizeof bars[0]; i++) {
        if (strcmp(name, bars[i].name) == 0) {
            Status status = bars[i].run(&bar, error);
            *good = bar.good;
            return status;
        }
    }
    return error_set(error, E_ARGUMENT, "there is no bar named '%s'", name);
}
