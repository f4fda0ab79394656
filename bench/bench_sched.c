// SPDX-License-Identifier: Apache-2.0
// What the scheduler itself costs per step: plan + commit with 256 sequences running and 10,000
// waiting from 100 users, on a machine that computes nothing. The bar is 50 us.
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
    Scheduler *s;
    Error error;
    static SchedulerEvent events[RUNNING];
    static StepSample samples[RUNNING];
    static uint64_t took_ns[STEPS];
    if (sched_open(&options, &s, &error) != OK) {
        fprintf(stderr, "tessera bench sched: %s\n", error.text);
        return 3;
    }
    uint64_t serial = 0, rows = 0, running = 0, waiting = 0;
    for (uint32_t step = 0; step < STEPS; step++) {
        if (fill_queue(s, &serial, &error) != OK) {
            fprintf(stderr, "tessera bench sched: %s\n", error.text);
            return 3;
        }
        waiting += sched_stats(s).waiting;
        sched_tick(s, step * 20);
        uint64_t start = clock_ns();
        const Batch *batch = sched_plan(s);
        uint64_t planned = clock_ns();
        StepResult result = {.samples = samples};
        for (uint32_t i = 0; i < batch->sequence_count; i++) {
            if (batch->sequences[i].sample_rows > 0) {
                samples[result.sample_count++] =
                    (StepSample){.tag = batch->sequences[i].tag, .chosen = {.token = 5}};
            }
        }
        rows += batch->row_count;
        running += batch->sequence_count;
        uint64_t answered = clock_ns();
        sched_commit(s, &result, events, RUNNING);
        took_ns[step] = planned - start + (clock_ns() - answered);
    }
    sched_close(s);
    qsort(took_ns, STEPS, sizeof *took_ns, compare_u64);
    Row row = row_begin("sched", "plan + commit");
    row_number(&row, "running_mean", (double)running / STEPS);
    row_number(&row, "waiting_mean", (double)waiting / STEPS);
    row_number(&row, "users", USERS);
    row_number(&row, "rows_mean", (double)rows / STEPS);
    const uint64_t *p50 = took_ns + STEPS / 2, *p99 = took_ns + STEPS * 99 / 100;
    row_number(&row, "us_p50", (double)*p50 / 1e3);
    row_number(&row, "us_p99", (double)*p99 / 1e3);
    row_number(&row, "us_max", (double)took_ns[STEPS - 1] / 1e3);
    fprintf(stderr, "plan + commit: p50 %.1f us, p99 %.1f us\n", (double)*p50 / 1e3,
            (double)*p99 / 1e3);
    row_end(&row);
    return 0;
}
