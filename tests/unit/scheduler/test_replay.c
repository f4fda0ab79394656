// SPDX-License-Identifier: Apache-2.0
// A recording replays to the same plans; what is no recording, or a damaged one, is an error and
// never a crash. (The simulator replays one of ten of its runs.) Half of the life recorded here is
// planned one step ahead.
#include "scheduler/replay.h"

#include "base/prng.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

// The life that is recorded: a scheduler and its open plans.
typedef struct Life {
    Scheduler *scheduler;
    const Batch *open[SCHED_PLANS_MAX];
    uint32_t open_count;
    uint64_t handle; // of the last sequence that was taken
} Life;

static void life_ask(Life *life, uint32_t step) {
    static const int32_t tokens[128], stop = 3;
    const SequenceMedia image = {MEDIA_PICTURE, 4, 20, NULL, NULL, NULL, {step % 3, 1}};
    const SequenceRequest request = {
        .tokens = tokens,
        .token_count = 30 + step % 60,
        .media = &image,
        .media_count = step % 2,
        .new_tokens_max = 1 + step % 30,
        .stop_ids = &stop,
        .stop_count = 1,
        .tag = step,
        .user = step % 3,
        .priority = step % 5 == 0 ? PRIORITY_BATCH : PRIORITY_INTERACTIVE,
        .deadline_ms = step % 9 == 0 ? step * 7 + 40 : 0,
        .after = step % 4 == 0 ? life->handle : 0,
    };
    sched_add(life->scheduler, &request, &life->handle, NULL);
    if (step % 11 == 0) {
        sched_cancel(life->scheduler, life->handle);
    }
}

static void life_plan(Life *life, uint32_t most) {
    for (; life->open_count < most; life->open_count++) {
        life->open[life->open_count] = sched_plan(life->scheduler);
        if (life->open[life->open_count] == NULL) {
            break;
        }
    }
}

// Step 50 fails.
static void life_commit(Life *life, uint32_t step) {
    static StepSample samples[4];
    static SchedulerEvent events[16];
    const Batch *batch = life->open_count > 0 ? life->open[0] : NULL;
    StepResult result = {.samples = samples};
    for (uint32_t i = 0; batch != NULL && i < batch->sequence_count; i++) {
        if (batch->sequences[i].sample_rows) {
            samples[result.sample_count++] = (StepSample){
                .tag = batch->sequences[i].tag, .chosen = {.token = (int32_t)(step + i) % 40}};
        }
    }
    sched_commit(life->scheduler, batch != NULL && step != 50 ? &result : NULL, events, 16);
    life->open_count -= batch != NULL;
    life->open[0] = life->open[1];
}

// A short life with every kind of entry: pictures, users, refusals, cancels, deadlines, a failure.
static Buffer record_some(void) {
    Buffer recording = {0};
    Life life = {0};
    const SchedulerOptions options = {.rows_max = 64,
                                      .sequences_max = 4,
                                      .waiting_max = 6,
                                      .tokens_max = 128,
                                      .media_max = 2,
                                      .window = 40,
                                      .pages = {20, 24},
                                      .users_max = 3,
                                      .record = replay_record_to_buffer,
                                      .record_context = &recording};
    cr_assert_eq(sched_open(&options, &life.scheduler, NULL), OK);
    sched_user_weight(life.scheduler, 1, 2.5);
    for (uint32_t step = 0; step < 120; step++) {
        sched_tick(life.scheduler, step * 7);
        life_ask(&life, step);
        life_plan(&life, step < 60 ? 1 : 2);
        life_commit(&life, step);
    }
    sched_close(life.scheduler);
    return recording;
}

Test(replay, makes_the_same_plans) {
    Buffer recording = record_some();
    ReplayReport report;
    Error error;
    cr_assert_eq(replay_run((Bytes){recording.data, recording.length}, &report, &error), OK, "%s",
                 error.text);
    // One more than there were steps behind the first: once none is made, for a batch one has to
    // make room and is under way.
    cr_assert_eq(report.plans, 60 + 2 + 59 + 1, "%llu plans", (unsigned long long)report.plans);
    cr_assert_eq(report.requests, 120);
    cr_assert_gt(report.refusals, 5);
    cr_assert_gt(report.events, 100);
    cr_assert_eq(report.first_difference, 0);
    buffer_free(&recording);
}

Test(replay, names_the_first_plan_that_differs) {
    Buffer recording = record_some();
    // One token drawn otherwise: the plan after that step holds another token.
    const uint8_t commit[] = {6, 16, 2}; // a commit of one sample
    uint8_t *at = memmem(recording.data, recording.length, commit, sizeof commit);
    cr_assert_not_null(at);
    at[sizeof commit] ^= 1;
    ReplayReport report;
    cr_assert_eq(replay_run((Bytes){recording.data, recording.length}, &report, NULL), OK);
    cr_assert_gt(report.first_difference, 1);
    buffer_free(&recording);
}

Test(replay, damaged_recordings_are_errors_or_other_recordings) {
    Buffer whole = record_some();
    ReplayReport report;
    Error error;
    cr_assert_eq(replay_run((Bytes){0}, &report, &error), E_ARGUMENT);
    cr_assert_eq(replay_run((Bytes){(const uint8_t *)"TSRC3\x02", 6}, &report, &error), E_ARGUMENT);
    enum { OPTIONS_END = 40 }; // behind the options, so that sizes stay small
    uint32_t refused = 0;
    for (uint64_t round = 0; round < 300; round++) {
        Buffer damaged = {0};
        buffer_append(&damaged, whole.data, whole.length);
        for (uint64_t i = 0; i < 3; i++) {
            uint64_t draw = prng_u64(1, round, i);
            damaged.data[OPTIONS_END + draw % (damaged.length - OPTIONS_END)] =
                (uint8_t)(draw >> 40);
        }
        size_t length =
            round % 3 == 0 ? 1 + prng_u64(2, round, 0) % damaged.length : damaged.length;
        Status status = replay_run((Bytes){damaged.data, length}, &report, &error);
        cr_assert(status == OK || status == E_ARGUMENT, "round %llu: %s", (unsigned long long)round,
                  error.text);
        refused += status != OK;
        buffer_free(&damaged);
    }
    cr_assert_gt(refused, 50);
    buffer_free(&whole);
}
