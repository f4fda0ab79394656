// SPDX-License-Identifier: Apache-2.0
// The simulator's command: many seeds of every world, one seed again, recordings replayed.
//
//     sim [--seeds N] [--first N]     seeds first .. first + N - 1 (300 from 1), both worlds
//     sim --seed N [--record FILE]    one of them; the recording of its scheduler goes to FILE
//     sim --replay FILE               a recording, from here or from `tessera serve --record`
//     sim --fairness                  one heavy and nine light users: rows of JSON, and the bars
#include "base/check.h"
#include "base/file.h"
#include "base/file_write.h"
#include "base/log.h"
#include "bench/row.h"
#include "scheduler/replay.h"
#include "tests/sim/fairness.h"
#include "tests/sim/server_world.h"
#include "tests/sim/world.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile uint64_t running_seed;

// A broken promise ends in abort: say which seed shows it.
static void say_seed(int signal_number) {
    char text[96];
    int length =
        snprintf(text, sizeof text, "sim: seed %llu fails (signal %d); again: sim --seed %llu\n",
                 (unsigned long long)running_seed, signal_number, (unsigned long long)running_seed);
    ssize_t written = write(STDERR_FILENO, text, (size_t)length);
    (void)written;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void add_report(WorldReport *sum, const WorldReport *one) {
    sum->requests += one->requests;
    sum->answered += one->answered;
    sum->cancelled += one->cancelled;
    sum->expired += one->expired;
    sum->failed += one->failed;
    sum->refused += one->refused;
    sum->steps += one->steps;
    sum->rows += one->rows;
    sum->virtual_ms += one->virtual_ms;
    sum->busy_ms += one->busy_ms;
    sum->idle_ms += one->idle_ms;
    sum->scheduler.dead_rows += one->scheduler.dead_rows;
    sum->scheduler.preemptions += one->scheduler.preemptions;
    sum->scheduler.prefix_hit_tokens += one->scheduler.prefix_hit_tokens;
}

static void print_report(const char *name, const WorldReport *r) {
    printf("%s: %llu requests: %llu answered, %llu cancelled, %llu expired, %llu failed, "
           "%llu refused; %llu steps, %llu rows, %llu of them dead, %llu preemptions, %llu tokens "
           "from the prefix cache, %.0f s of virtual time, the card idle %.1f %% of its time\n",
           name, (unsigned long long)r->requests, (unsigned long long)r->answered,
           (unsigned long long)r->cancelled, (unsigned long long)r->expired,
           (unsigned long long)r->failed, (unsigned long long)r->refused,
           (unsigned long long)r->steps, (unsigned long long)r->rows,
           (unsigned long long)r->scheduler.dead_rows, (unsigned long long)r->scheduler.preemptions,
           (unsigned long long)r->scheduler.prefix_hit_tokens, r->virtual_ms / 1e3,
           100 * r->idle_ms / (r->busy_ms + r->idle_ms + 1e-9));
}

static int replay_file(const char *path) {
    Error error;
    FileMap file;
    ReplayReport report;
    if (file_map_open(path, &file, &error) != OK) {
        fprintf(stderr, "sim: %s\n", error.text);
        return 1;
    }
    Status status = replay_run(file.bytes, &report, &error);
    file_map_close(&file);
    if (status != OK) {
        fprintf(stderr, "sim: %s: %s\n", path, error.text);
        return 1;
    }
    printf("%s: %llu requests, %llu refused, %llu plans, %llu events; ", path,
           (unsigned long long)report.requests, (unsigned long long)report.refusals,
           (unsigned long long)report.plans, (unsigned long long)report.events);
    if (report.first_difference > 0) {
        printf("plan %llu is not the recorded one\n", (unsigned long long)report.first_difference);
        return 1;
    }
    printf("every plan as recorded\n");
    return 0;
}

static void row_of_latency(Row *row, const char *who, const FairnessLatency *l) {
    char name[64];
    snprintf(name, sizeof name, "%s_p50_ms", who);
    row_number(row, name, l->first_token_p50_ms);
    snprintf(name, sizeof name, "%s_p99_ms", who);
    row_number(row, name, l->first_token_p99_ms);
    snprintf(name, sizeof name, "%s_tokens_per_s", who);
    row_number(row, name, l->tokens_per_second);
}

// False when the bar is missed.
static bool fairness_gap_row(bool ahead) {
    FairnessGap gap = fairness_gap(1, ahead);
    Row row = row_begin("fairness", "service gap of backlogged users, 1 heavy and 9 light");
    row_number(&row, "planned_ahead", ahead);
    row_number(&row, "gap_tokens", gap.gap);
    row_number(&row, "bound_tokens", gap.bound);
    row_number(&row, "least_service_tokens", gap.service);
    row_end(&row);
    return gap.gap <= gap.bound;
}

static bool fairness_latency_row(bool ahead, double think_ms) {
    FairnessLatency alone = fairness_latency(1, ahead, think_ms, false);
    FairnessLatency both = fairness_latency(1, ahead, think_ms, true);
    double ratio = both.first_token_p99_ms / alone.first_token_p99_ms;
    Row row =
        row_begin("fairness", "first token of light users, steps as predicted for an RTX 4090");
    row_number(&row, "planned_ahead", ahead);
    row_number(&row, "think_ms", think_ms);
    row_number(&row, "light_requests", (double)alone.count);
    row_of_latency(&row, "alone", &alone);
    row_of_latency(&row, "with_heavy", &both);
    row_number(&row, "p99_ratio", ratio);
    row_end(&row);
    return think_ms > 200 || ratio <= 1.5; // see docs/scheduler.md
}

static int fairness(void) {
    bool good = true;
    for (int ahead = 0; ahead < 2; ahead++) {
        good = fairness_gap_row(ahead) && good;
        const double thinks_ms[] = {100, 200, 1000};
        for (size_t i = 0; i < 3; i++) {
            good = fairness_latency_row(ahead, thinks_ms[i]) && good;
        }
    }
    if (!good) {
        fprintf(stderr, "sim: a bar of fairness is missed, see the rows\n");
    }
    return good ? 0 : 1;
}

// A world, and every tenth time its recording replayed: the same plans.
static void run_seed(uint64_t seed, const char *record_path, WorldReport sums[2]) {
    Buffer recording = {0};
    WorldReport report;
    running_seed = seed;
    bool recorded = seed % 10 == 0 || record_path != NULL;
    world_run(seed, recorded ? &recording : NULL, &report);
    add_report(&sums[report.ahead], &report);
    if (recorded) {
        ReplayReport replay;
        Error error;
        Bytes bytes = {recording.data, recording.length};
        REQUIRE_MESSAGE(replay_run(bytes, &replay, &error) == OK, "%s", error.text);
        REQUIRE(replay.first_difference == 0 && replay.plans > 0);
    }
    if (record_path != NULL) {
        Error error;
        Bytes bytes = {recording.data, recording.length};
        REQUIRE_MESSAGE(file_write_whole(record_path, bytes, &error) == OK, "%s", error.text);
    }
    buffer_free(&recording);
}

// ---- The server's world -------------------------------------------------------------------------

static Runtime model;

static const char *const picture_files[] = {"jpeg_1x40.jpg", "png_40x1.png", "png_gray_4.png",
                                            "exif_7.jpg", "xmp_6.webp"};
enum { PICTURES = sizeof picture_files / sizeof picture_files[0] };
static Buffer pictures[PICTURES + 1]; // and one that is damaged

static void open_model(void) {
    Error error = {0};
    const RuntimeOptions options = {.model = TEST_ROOT "/examples/demo-model",
                                    .weights = {.level = LEVEL_COUNT}};
    REQUIRE_MESSAGE(runtime_open_weights(&options, &model, &error) == OK, "%s", error.text);
    for (uint32_t i = 0; i < PICTURES; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/tests/golden/media/files/%s", TEST_ROOT, picture_files[i]);
        REQUIRE_MESSAGE(file_read(path, 1 << 20, &pictures[i], &error) == OK, "%s", error.text);
    }
    buffer_append(&pictures[PICTURES], pictures[0].data, pictures[0].length / 2);
}

static void run_server_seed(uint64_t seed, ServerReport *sum) {
    Bytes bytes[PICTURES + 1];
    for (uint32_t i = 0; i <= PICTURES; i++) {
        bytes[i] = (Bytes){pictures[i].data, pictures[i].length};
    }
    running_seed = seed;
    server_world_run(seed, &model, bytes, PICTURES + 1, sum);
}

static void close_model(void) {
    runtime_close(&model);
    for (uint32_t i = 0; i <= PICTURES; i++) {
        buffer_free(&pictures[i]);
    }
}

static void print_server_report(const ServerReport *r) {
    printf("server: %llu connections, %llu cut; %llu calls: %llu answered, %llu refused, "
           "%llu cancelled, %llu expired, %llu failed, %llu left behind; %llu tokens, %llu steps, "
           "%llu pictures, at most %llu %% of the memory for clients, %.0f s of virtual time\n",
           (unsigned long long)r->connections, (unsigned long long)r->cut,
           (unsigned long long)r->asked, (unsigned long long)r->answered,
           (unsigned long long)r->refused, (unsigned long long)r->cancelled,
           (unsigned long long)r->expired, (unsigned long long)r->failed,
           (unsigned long long)r->orphaned, (unsigned long long)r->tokens,
           (unsigned long long)r->steps, (unsigned long long)r->pictures,
           (unsigned long long)r->held_most, r->virtual_ms / 1e3);
}

int main(int argc, char **argv) {
    static const struct option names[] = {{"seeds", required_argument, NULL, 'n'},
                                          {"first", required_argument, NULL, 'f'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"record", required_argument, NULL, 'o'},
                                          {"replay", required_argument, NULL, 'r'},
                                          {"fairness", no_argument, NULL, 'F'},
                                          {0}};
    uint64_t first = 1, count = 300;
    const char *record_path = NULL;
    int name;
    while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (name) {
        case 'n':
            count = strtoull(optarg, NULL, 10);
            break;
        case 'f':
            first = strtoull(optarg, NULL, 10);
            break;
        case 's':
            first = strtoull(optarg, NULL, 10);
            count = 1;
            break;
        case 'o':
            record_path = optarg;
            break;
        case 'r':
            return replay_file(optarg);
        case 'F':
            return fairness();
        default:
            return 2;
        }
    }
    log_set_level("error");
    signal(SIGABRT, say_seed);
    signal(SIGSEGV, say_seed);
    WorldReport sums[2] = {0}; // planned when the step before was done, and ahead
    for (uint64_t seed = first; seed < first + count; seed++) {
        run_seed(seed, record_path, sums);
    }
    print_report("scheduler", &sums[0]);
    print_report("scheduler, planned ahead", &sums[1]);
    // What planning ahead is for; few seeds say nothing.
    REQUIRE(count < 100 || sums[1].idle_ms * sums[0].busy_ms < sums[0].idle_ms * sums[1].busy_ms);
    ServerReport server = {0};
    open_model();
    for (uint64_t seed = first; seed < first + count; seed++) {
        run_server_seed(seed, &server);
    }
    close_model();
    print_server_report(&server);
    return 0;
}
