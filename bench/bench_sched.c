// SPDX-License-Identifier: Apache-2.0
// What the scheduler itself costs per step: plan + commit with 256 sequences running and 10,000
// waiting from 100 users, on a machine that computes nothing. The bar is 50 us.
#include "base/check.h"
#include "base/clock.h"
#include "bench/bench.h"
#include "bench/row.h"
#include "scheduler/sched.h"

#include <stdio.h>
#include <stdlib.h>

enum { RUNNING = 256, WAITING = 10000, USERS = 100, STEPS = 3000, PROMPT = 340, OUTPUT = 80 };

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static Status fill_queue(Scheduler *s, uint64_t *serial, Error *error) {
    static int32_t tokens[PROMPT];
    while (sched_stats(s).waiting < WAITING) {
        tokens[0] = (int32_t)*serial; // no two prompts share a page
        SequenceRequest request = {.tokens = tokens,
                                   .token_count = PROMPT,
                                   .new_tokens_max = OUTPUT,
                                   .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f},
                                   .user = (uint32_t)(*serial % USERS)};
        uint64_t handle;
        Status status = sched_add(s, &request, &handle, error);
        if (status != OK) {
            return status;
        }
        ++*serial;
    }
    return OK;
}

typedef struct Bench {
    Scheduler *scheduler;
    uint64_t serial;                 // requests so far
    uint64_t rows, running, waiting; // summed over the steps
    uint64_t took_ns[STEPS];         // plan and commit
    SchedulerEvent events[RUNNING];
    StepSample samples[RUNNING];
} Bench;

static StepResult draw(Bench *bench, const Batch *batch) {
    StepResult result = {.samples = bench->samples};
    for (uint32_t i = 0; i < batch->sequence_count; i++) {
        if (batch->sequences[i].sample_rows > 0) {
            bench->samples[result.sample_count++] =
                (StepSample){.tag = batch->sequences[i].tag, .chosen = {.token = 5}};
        }
    }
    return result;
}

static Status measure(Bench *bench, Error *error) {
    Scheduler *s = bench->scheduler;
    for (uint32_t step = 0; step < STEPS; step++) {
        TRY(fill_queue(s, &bench->serial, error));
        bench->waiting += sched_stats(s).waiting;
        sched_tick(s, step * 20);
        uint64_t start = clock_ns();
        const Batch *batch = sched_plan(s);
        uint64_t planned = clock_ns();
        StepResult result = draw(bench, batch);
        bench->rows += batch->row_count;
        bench->running += batch->sequence_count;
        uint64_t answered = clock_ns();
        sched_commit(s, &result, bench->events, RUNNING);
        bench->took_ns[step] = planned - start + (clock_ns() - answered);
    }
    return OK;
}

static void report(Bench *bench) {
    uint64_t *took_ns = bench->took_ns;
    qsort(took_ns, STEPS, sizeof *took_ns, compare_u64);
    const uint64_t *p50 = took_ns + STEPS / 2, *p99 = took_ns + STEPS * 99 / 100;
    double p50_us = (double)*p50 / 1e3, p99_us = (double)*p99 / 1e3;
    Row row = row_begin("sched", "plan + commit");
    row_number(&row, "running_mean", (double)bench->running / STEPS);
    row_number(&row, "waiting_mean", (double)bench->waiting / STEPS);
    row_number(&row, "users", USERS);
    row_number(&row, "rows_mean", (double)bench->rows / STEPS);
    row_number(&row, "us_p50", p50_us);
    row_number(&row, "us_p99", p99_us);
    row_number(&row, "us_max", (double)took_ns[STEPS - 1] / 1e3);
    fprintf(stderr, "plan + commit: p50 %.1f us, p99 %.1f us\n", p50_us, p99_us);
    row_end(&row);
}

int bench_sched(int argc, char **argv) {
    (void)argv;
    if (argc > 1) {
        fprintf(stderr, "usage: tessera bench sched\n");
        return 2;
    }
    SchedulerOptions options = {.rows_max = 2048,
                                .sequences_max = RUNNING,
                                .waiting_max = WAITING,
                                .tokens_max = 512,
                                .media_max = 1,
                                .window = 1024,
                                .pages = {RUNNING * 32, RUNNING * 32},
                                .users_max = USERS};
    static Bench bench;
    Error error;
    Status status = sched_open(&options, &bench.scheduler, &error);
    if (status == OK) {
        status = measure(&bench, &error);
        sched_close(bench.scheduler);
    }
    if (status != OK) {
        fprintf(stderr, "tessera bench sched: %s\n", error.text);
        return 3;
    }
    report(&bench);
    return 0;
}
