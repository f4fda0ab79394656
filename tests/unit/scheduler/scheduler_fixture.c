// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/scheduler/scheduler_fixture.h"

#include <criterion/criterion.h>

SchedulerOptions fixture_options(void) {
    return (SchedulerOptions){.rows_max = 64,
                              .sequences_max = 4,
                              .waiting_max = 8,
                              .tokens_max = 256,
                              .media_max = 2,
                              .window = 48,
                              .pages = {40, 40}};
}

Scheduler *fixture_open(const SchedulerOptions *options) {
    Scheduler *s;
    Error error = {0};
    cr_assert_eq(sched_open(options, &s, &error), OK, "%s", error.text);
    return s;
}

Scheduler *fixture_start(void) {
    SchedulerOptions options = fixture_options();
    return fixture_open(&options);
}

uint64_t fixture_add(Scheduler *s, const SequenceRequest *request) {
    uint64_t handle;
    Error error = {0};
    cr_assert_eq(sched_add(s, request, &handle, &error), OK, "%s", error.text);
    return handle;
}

SequenceRequest fixture_request(uint32_t tokens, uint32_t new_tokens, uint64_t tag) {
    static const int32_t prompt[4096];
    return (SequenceRequest){.tokens = prompt,
                             .token_count = tokens,
                             .new_tokens_max = new_tokens,
                             .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f},
                             .tag = tag};
}

size_t fixture_answer(Scheduler *s, const Batch *batch, int32_t token, SchedulerEvent *events,
                      size_t events_max) {
    static StepSample samples[64];
    StepResult result = {.samples = samples};
    for (uint32_t i = 0; i < batch->sequence_count; i++) {
        if (batch->sequences[i].sample_rows) {
            samples[result.sample_count++] =
                (StepSample){.tag = batch->sequences[i].tag, .chosen = {.token = token}};
        }
    }
    return sched_commit(s, &result, events, events_max);
}
