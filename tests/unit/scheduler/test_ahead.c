// SPDX-License-Identifier: Apache-2.0
// A step planned while the one before it still runs: which rows are in it, what becomes of them
// when the world changes meanwhile, and that nobody's answer depends on it.
#include "tests/unit/scheduler/scheduler_fixture.h"

#include "base/prng.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS = 32 };
static SchedulerEvent events[EVENTS];

// A plan that must be there, with every invariant checked.
static const Batch *plan(Scheduler *s) {
    const Batch *batch = sched_plan(s);
    cr_assert_not_null(batch);
    sched_check_all(s);
    return batch;
}

static size_t answer(Scheduler *s, const Batch *batch, int32_t token) {
    size_t count = fixture_answer(s, batch, token, events, EVENTS);
    sched_check_all(s);
    return count;
}

static uint32_t pages_used(const Scheduler *s) {
    SchedulerStats stats = sched_stats(s);
    return stats.pages_used[PAGE_FULL] + stats.pages_used[PAGE_SLIDING];
}

// ---- What is in it ------------------------------------------------------------------------------

Test(ahead, the_row_of_a_token_that_is_still_to_be_drawn_is_planned) {
    Scheduler *s = fixture_start();
    SequenceRequest request = fixture_request(10, 5, 7);
    fixture_add(s, &request);
    const Batch *now = plan(s);
    for (uint32_t drawn = 1; drawn < 5; drawn++) {
        const Batch *next = plan(s);
        const BatchSequence *q = &next->sequences[0];
        cr_assert_eq(next->row_count, 1);
        cr_assert_eq(next->tokens[0], batch_token_drawn(0));
        cr_assert_eq(next->positions[0], 9 + drawn);
        cr_assert(q->sample_rows);
        cr_assert_eq(q->draw, drawn);
        cr_assert_eq(q->history_count, 9 + drawn); // and behind it the one to be drawn
        cr_assert_eq(q->history_drawn, 1);
        cr_assert(drawn == 1 || q->history[8 + drawn] == 40 + (int32_t)drawn - 1);
        cr_assert_eq(answer(s, now, 40 + (int32_t)drawn), 1);
        cr_assert_eq(events[0].chosen.token, 40 + (int32_t)drawn);
        now = next;
    }
    cr_assert_null(sched_plan(s)); // it will have its five tokens
    cr_assert_eq(answer(s, now, 3), 1);
    cr_assert_eq(events[0].finish, FINISH_LENGTH);
    cr_assert_eq(sched_stats(s).dead_rows, 0);
    sched_close(s);
}

Test(ahead, tokens_are_named_by_their_place_among_the_samples) {
    Scheduler *s = fixture_start();
    SequenceRequest requests[] = {fixture_request(10, 9, 1), fixture_request(100, 9, 2),
                                  fixture_request(5, 9, 3)};
    for (int i = 0; i < 3; i++) {
        fixture_add(s, &requests[i]);
    }
    const Batch *first = plan(s);  // 10 rows and a sample, 54 rows without one
    const Batch *second = plan(s); // a row, 46 that end the second prompt, the third whole
    cr_assert_eq(first->sequence_count, 2);
    cr_assert_eq(second->sequence_count, 3);
    cr_assert_eq(second->tokens[0], batch_token_drawn(0));
    answer(s, first, 3);
    const Batch *third = plan(s);
    cr_assert_eq(third->row_count, 3);
    for (uint32_t row = 0; row < 3; row++) {
        uint32_t sample = batch_drawn_index(third->tokens[row]);
        cr_assert(batch_token_is_drawn(third->tokens[row]));
        cr_assert_eq(second->sequences[sample].tag, third->sequences[row].tag);
        cr_assert_eq(third->sequences[row].history_drawn, 1 + sample);
    }
    answer(s, second, 3);
    answer(s, third, 3);
    sched_close(s);
}

Test(ahead, after_a_pause_the_tokens_are_known_again) {
    Scheduler *s = fixture_start();
    SequenceRequest request = fixture_request(10, 5, 1);
    fixture_add(s, &request);
    answer(s, plan(s), 11);
    const Batch *batch = plan(s);
    cr_assert_eq(batch->tokens[0], 11);
    cr_assert_eq(batch->sequences[0].history_drawn, 0);
    answer(s, batch, 12);
    sched_close(s);
}

Test(ahead, no_row_is_planned_behind_the_last_token) {
    Scheduler *s = fixture_start();
    SequenceRequest request = fixture_request(10, 1, 1);
    fixture_add(s, &request);
    const Batch *batch = plan(s);
    cr_assert_null(sched_plan(s));
    cr_assert_eq(answer(s, batch, 3), 1);
    cr_assert_eq(events[0].finish, FINISH_LENGTH);
    sched_close(s);
}

Test(ahead, a_long_prompt_goes_on) {
    Scheduler *s = fixture_start();
    SequenceRequest request = fixture_request(150, 5, 1);
    fixture_add(s, &request);
    const Batch *first = plan(s), *second = plan(s);
    cr_assert_eq(first->row_count, 64);
    cr_assert_eq(second->positions[0], 64);
    cr_assert_eq(second->row_count, 64);
    cr_assert_not(second->sequences[0].sample_rows);
    cr_assert_eq(answer(s, first, 3), 0);
    const Batch *third = plan(s);
    cr_assert_eq(third->positions[0], 128);
    cr_assert(third->sequences[0].sample_rows);
    cr_assert_eq(answer(s, second, 3), 0);
    cr_assert_eq(answer(s, third, 3), 1);
    sched_close(s);
}

Test(ahead, a_sequence_never_holds_more_sliding_pages_than_its_admission_counted) {
    SchedulerOptions options = fixture_options();
    options.window = 16; // with a step's rows and both ends 7 pages, 112 positions
    Scheduler *s = fixture_open(&options);
    SequenceRequest request = fixture_request(250, 5, 1);
    fixture_add(s, &request);
    const Batch *first = plan(s), *second = plan(s);
    cr_assert_eq(first->row_count, 64);
    cr_assert_eq(second->row_count, 112 - 64);
    cr_assert_eq(sched_stats(s).pages_used[PAGE_SLIDING], 7);
    answer(s, first, 3);
    answer(s, second, 3);
    cr_assert_eq(plan(s)->row_count, 64); // nothing under way: the whole step
    sched_close(s);
}

Test(ahead, a_third_plan_is_a_mistake_of_the_caller, .signal = SIGABRT) {
    Scheduler *s = fixture_start();
    SequenceRequest request = fixture_request(10, 5, 1);
    fixture_add(s, &request);
    plan(s);
    plan(s);
    sched_plan(s);
}

Test(ahead, a_token_drawn_from_a_set_waits_for_it_and_its_row_is_not_planned_ahead) {
    static const uint32_t first[8], second[8];
    Scheduler *s = fixture_start();
    SequenceRequest request = fixture_request(10, 3, 7), free_one = fixture_request(10, 3, 8);
    request.allowed = first;
    uint64_t handle = fixture_add(s, &request);
    const Batch *batch = plan(s);
    cr_assert_eq(batch->sequences[0].sample_rows, 1);
    cr_assert_eq(batch->sequences[0].allowed, first);
    cr_assert_null(sched_plan(s), "the set of the second token is not known yet");
    cr_assert_eq(answer(s, batch, 40), 1);
    cr_assert_null(sched_plan(s), "nor after the first");
    fixture_add(s, &free_one);
    batch = plan(s);
    cr_assert_eq(batch->sequence_count, 1, "nobody else waits for it");
    cr_assert_null(batch->sequences[0].allowed);
    sched_allow(s, handle, second);
    const Batch *next = plan(s);
    cr_assert_eq(next->sequence_count, 2);
    cr_assert_eq(next->sequences[0].allowed, second);
    cr_assert_eq(next->sequences[0].position_first, 10);
    sched_allow(s, handle, first); // too late: that token is being drawn
    cr_assert_eq(answer(s, batch, 41), 1);
    cr_assert_eq(answer(s, next, 42), 2);
    batch = plan(s);
    cr_assert_eq(batch->sequence_count, 1, "the third waits again");
    sched_cancel(s, handle);
    sched_allow(s, handle + ((uint64_t)1 << 32), first); // nobody
    cr_assert_eq(answer(s, batch, 43), 2);
    cr_assert_eq(pages_used(s), 0);
    sched_close(s);
}

// ---- Endings ------------------------------------------------------------------------------------

Test(ahead, a_stop_leaves_a_dead_row_and_frees_pages_and_place_at_once) {
    SchedulerOptions options = fixture_options();
    options.sequences_max = 1;
    options.no_prefix_cache = true;
    Scheduler *s = fixture_open(&options);
    const int32_t stop = 50;
    SequenceRequest request = fixture_request(20, 30, 1), other = fixture_request(30, 30, 2);
    request.stop_ids = &stop;
    request.stop_count = 1;
    fixture_add(s, &request);
    fixture_add(s, &other);
    const Batch *first = plan(s), *second = plan(s);
    cr_assert_eq(second->sequences[0].tag, first->sequences[0].tag);
    cr_assert_eq(answer(s, first, 50), 1);
    cr_assert_eq(events[0].finish, FINISH_STOP);
    cr_assert_eq(pages_used(s), 0);
    const Batch *third = plan(s); // another has the place, and the pages
    cr_assert_eq(third->row_count, 30);
    cr_assert_eq(answer(s, second, 9), 0); // what the dead row drew is nobody's
    cr_assert_eq(sched_stats(s).dead_rows, 1);
    cr_assert_eq(answer(s, third, 9), 1);
    cr_assert_eq(events[0].tag, 2);
    sched_close(s);
}

Test(ahead, a_slot_used_again_is_not_taken_for_the_one_before) {
    SchedulerOptions options = fixture_options();
    options.sequences_max = 1;
    options.waiting_max = 0; // one slot
    Scheduler *s = fixture_open(&options);
    const int32_t stop = 50;
    SequenceRequest request = fixture_request(20, 30, 1), other = fixture_request(8, 30, 2);
    request.stop_ids = &stop;
    request.stop_count = 1;
    uint64_t before = fixture_add(s, &request);
    const Batch *first = plan(s), *second = plan(s);
    answer(s, first, 50);
    uint64_t after = fixture_add(s, &other);
    cr_assert_eq((uint32_t)after, (uint32_t)before);
    cr_assert_eq(answer(s, second, 9), 0);
    const Batch *third = plan(s);
    cr_assert_eq(third->row_count, 8);
    cr_assert_eq(answer(s, third, 9), 1);
    cr_assert_eq(events[0].handle, after);
    sched_close(s);
}

Test(ahead, a_cancelled_sequence_ends_when_nothing_under_way_reads_its_pictures) {
    Scheduler *s = fixture_start();
    SequenceMedia image = {.position_first = 64, .row_count = 40};
    SequenceRequest request = fixture_request(150, 5, 1);
    request.media = &image;
    request.media_count = 1;
    uint64_t handle = fixture_add(s, &request);
    const Batch *first = plan(s), *second = plan(s);
    cr_assert_eq(second->image_count, 1);
    sched_cancel(s, handle);
    cr_assert_eq(answer(s, first, 3), 0); // the second step still reads the pixels
    cr_assert_gt(pages_used(s), 0);
    cr_assert_null(sched_plan(s));
    cr_assert_eq(answer(s, second, 3), 1);
    cr_assert_eq(events[0].finish, FINISH_CANCEL);
    cr_assert_eq(pages_used(s), 0);
    sched_close(s);
}

Test(ahead, a_cancelled_sequence_takes_neither_token_under_way) {
    Scheduler *s = fixture_start();
    SequenceRequest request = fixture_request(10, 50, 1), other = fixture_request(10, 50, 2);
    uint64_t handle = fixture_add(s, &request);
    fixture_add(s, &other);
    const Batch *first = plan(s), *second = plan(s);
    sched_cancel(s, handle);
    cr_assert_eq(answer(s, first, 3), 1);
    cr_assert_eq(events[0].tag, 2);
    cr_assert_eq(answer(s, second, 3), 2);
    cr_assert_eq(events[0].tag, 2);
    cr_assert_eq(events[1].tag, 1);
    cr_assert_eq(events[1].finish, FINISH_CANCEL);
    cr_assert_eq(sched_stats(s).dead_rows, 1);
    sched_close(s);
}

Test(ahead, cancels_and_deadlines_before_the_plan_end_with_the_step_under_way) {
    Scheduler *s = fixture_start();
    SequenceRequest request = fixture_request(10, 50, 1), late = fixture_request(10, 50, 2);
    late.deadline_ms = 100;
    uint64_t handle = fixture_add(s, &request);
    fixture_add(s, &late);
    const Batch *batch = plan(s);
    sched_cancel(s, handle);
    sched_tick(s, 100);
    cr_assert_null(sched_plan(s));
    cr_assert_eq(answer(s, batch, 3), 2);
    cr_assert_eq(events[0].finish, FINISH_CANCEL);
    cr_assert_eq(events[1].finish, FINISH_DEADLINE);
    cr_assert_eq(pages_used(s), 0);
    sched_close(s);
}

Test(ahead, a_failed_step_takes_the_one_behind_it_along) {
    Scheduler *s = fixture_start();
    SequenceRequest requests[] = {fixture_request(64, 9, 1), fixture_request(20, 9, 2),
                                  fixture_request(200, 9, 3)};
    uint32_t failed[4] = {0};
    for (int i = 0; i < 3; i++) {
        fixture_add(s, &requests[i]);
    }
    plan(s); // the first alone fills it
    plan(s);
    for (int step = 0; step < 2; step++) {
        size_t count = sched_commit(s, NULL, events, EVENTS);
        sched_check_all(s);
        for (size_t i = 0; i < count; i++) {
            cr_assert_eq(events[i].finish, FINISH_FAILED);
            failed[events[i].tag]++;
        }
    }
    for (int tag = 1; tag <= 3; tag++) {
        cr_expect_eq(failed[tag], 1, "tag %d: %u endings", tag, failed[tag]);
    }
    cr_assert_eq(pages_used(s), 0);
    sched_close(s);
}

// ---- When there is not enough of something ------------------------------------------------------

Test(ahead, without_pages_the_pipeline_runs_dry_and_then_somebody_is_sent_back) {
    SchedulerOptions options = fixture_options();
    options.rows_max = 128;
    options.pages[PAGE_FULL] = options.pages[PAGE_SLIDING] = 8;
    options.no_prefix_cache = true;
    Scheduler *s = fixture_open(&options);
    SequenceRequest older = fixture_request(60, 30, 1), younger = fixture_request(60, 30, 2);
    fixture_add(s, &older);
    fixture_add(s, &younger);
    const Batch *now = plan(s), *next;
    uint32_t steps = 0;
    for (; (next = sched_plan(s)) != NULL; steps++) { // until a fifth page is needed
        cr_assert_eq(next->row_count, 2);
        answer(s, now, 3);
        now = next;
    }
    cr_assert_eq(steps, 4); // positions 60 to 63
    cr_assert_eq(sched_stats(s).preemptions, 0);
    cr_assert_null(sched_plan(s)); // not before the step under way has ended
    answer(s, now, 3);
    now = plan(s);
    cr_assert_eq(sched_stats(s).preemptions, 1);
    cr_assert_eq(now->row_count, 1);
    cr_assert_eq(now->positions[0], 64);
    answer(s, now, 3);
    sched_close(s);
}

Test(ahead, for_an_interactive_request_the_pipeline_runs_dry_only_when_it_must) {
    for (uint32_t places = 1; places <= 2; places++) {
        SchedulerOptions options = fixture_options();
        options.sequences_max = places;
        Scheduler *s = fixture_open(&options);
        SequenceRequest patient = fixture_request(20, 50, 1), chat = fixture_request(10, 5, 2);
        patient.priority = PRIORITY_BATCH;
        fixture_add(s, &patient);
        const Batch *now = plan(s);
        uint64_t handle = fixture_add(s, &chat);
        const Batch *next = sched_plan(s);
        cr_assert_eq(next != NULL, places == 2);
        cr_assert_eq(sched_stats(s).preemptions, 0);
        answer(s, now, 3);
        next = next != NULL ? next : plan(s);
        cr_assert_eq(next->sequences[next->sequence_count - 1].tag, handle);
        cr_assert_eq(sched_stats(s).preemptions, places == 1);
        answer(s, next, 3);
        sched_close(s);
    }
}

Test(ahead, samples_of_one_prompt_come_when_it_is_cached) {
    Scheduler *s = fixture_start();
    SequenceRequest request = fixture_request(20, 8, 1);
    request.after = fixture_add(s, &request);
    fixture_add(s, &request);
    const Batch *first = plan(s), *second = plan(s);
    cr_assert_eq(second->sequence_count, 1); // the first goes on, the other waits for its prompt
    answer(s, first, 3);
    const Batch *third = plan(s);
    cr_assert_eq(third->sequence_count, 2);
    cr_assert_eq(third->row_count, 2); // all but the last token came from the cache
    cr_assert_eq(third->copy_count[PAGE_FULL], 1);
    answer(s, second, 3);
    cr_assert_eq(answer(s, third, 3), 2);
    sched_close(s);
}

// ---- Answers ------------------------------------------------------------------------------------

enum { CROWD = 24, ANSWER_MAX = 24 };

typedef struct Crowd {
    int32_t answers[CROWD][ANSWER_MAX];
    uint32_t counts[CROWD];
} Crowd;

static uint32_t below(uint64_t seed, uint64_t index, uint32_t n) {
    return (uint32_t)(prng_u64(seed, 0, index) % n);
}

// Draws from all tokens of a sequence; one that the batch only names is looked up.
static void run(const Batch *b, const StepResult *before, StepResult *result) {
    uint32_t count = 0;
    StepSample samples[8];
    for (uint32_t i = 0; i < b->sequence_count; i++) {
        const BatchSequence *q = &b->sequences[i];
        if (!q->sample_rows) {
            continue;
        }
        uint64_t hash = q->draw;
        for (uint32_t t = 0; t < q->history_count; t++) {
            hash = prng_u64(hash, (uint64_t)q->history[t], 0);
        }
        int32_t last = b->tokens[q->row_first + q->row_count - 1];
        cr_assert_eq(batch_token_is_drawn(last), q->history_drawn > 0);
        if (q->history_drawn > 0) {
            cr_assert_eq(last, batch_token_drawn(q->history_drawn - 1));
            cr_assert_lt(q->history_drawn - 1, before->sample_count);
            const StepSample *sample = &before->samples[q->history_drawn - 1];
            cr_assert_eq(sample->tag, q->tag);
            hash = prng_u64(hash, (uint64_t)sample->chosen.token, 0);
        }
        samples[count++] = (StepSample){.tag = q->tag, .chosen = {.token = (int32_t)(hash % 40)}};
    }
    memcpy(result->samples, samples, count * sizeof *samples);
    result->sample_count = count;
}

// Everybody's answer on a scheduler that is short of everything. No sequence is cancelled, so a
// request's tokens can only depend on the request.
static SchedulerStats crowd_run(uint64_t seed, uint32_t plans_max, Crowd *crowd) {
    *crowd = (Crowd){0};
    SchedulerOptions options = fixture_options();
    options.rows_max = 24 + below(seed, 0, 60);
    options.sequences_max = 1 + below(seed, 1, 6);
    options.waiting_max = CROWD;
    options.window = 8 + below(seed, 2, 80);
    options.pages[PAGE_FULL] = 14 + below(seed, 3, 6);
    options.pages[PAGE_SLIDING] = 14 + below(seed, 4, 6);
    Scheduler *s = fixture_open(&options);
    int32_t prompt[200];
    for (int32_t i = 0; i < 200; i++) {
        prompt[i] = (int32_t)below(seed, 1000 + (uint64_t)i, 40);
    }
    const int32_t stop = 3;
    StepSample samples[8];
    StepResult result = {.samples = samples};
    const Batch *open[SCHED_PLANS_MAX];
    uint32_t added = 0, ended = 0, open_count = 0;
    for (uint32_t step = 0; ended < CROWD || open_count > 0; step++) {
        cr_assert_lt(step, 5000, "seed %llu does not end", (unsigned long long)seed);
        for (; added < CROWD && below(seed, 5000 + step, 3) > 0; added++, step++) {
            uint32_t tokens = 1 + below(seed, 100 + added, 200);
            SequenceRequest request =
                fixture_request(tokens, 1 + below(seed, 200 + added, ANSWER_MAX), added);
            request.tokens = prompt + 200 - tokens;
            request.priority =
                below(seed, 300 + added, 3) == 0 ? PRIORITY_BATCH : PRIORITY_INTERACTIVE;
            request.stop_ids = &stop;
            request.stop_count = below(seed, 400 + added, 2);
            fixture_add(s, &request);
        }
        while (open_count < plans_max && (open[open_count] = sched_plan(s)) != NULL) {
            open_count++;
        }
        sched_check_all(s);
        if (open_count == 0) {
            continue;
        }
        run(open[0], &result, &result);
        size_t count = sched_commit(s, &result, events, EVENTS);
        open[0] = open[1];
        open_count--;
        for (size_t i = 0; i < count; i++) {
            uint64_t tag = events[i].tag;
            crowd->answers[tag][crowd->counts[tag]++] = events[i].chosen.token;
            ended += events[i].finish != FINISH_NONE;
        }
    }
    SchedulerStats stats = sched_stats(s);
    cr_assert_eq(pages_used(s), 0);
    sched_close(s);
    return stats;
}

Test(ahead, everybody_gets_the_same_tokens) {
    uint64_t preemptions = 0, dead = 0;
    const char *one = getenv("TESSERA_SEED");
    uint64_t first = one != NULL ? strtoull(one, NULL, 10) : 1, last = one != NULL ? first : 200;
    for (uint64_t seed = first; seed <= last; seed++) {
        Crowd plain, ahead;
        crowd_run(seed, 1, &plain);
        SchedulerStats stats = crowd_run(seed, 2, &ahead);
        preemptions += stats.preemptions;
        dead += stats.dead_rows;
        cr_assert_eq(memcmp(&plain, &ahead, sizeof plain), 0, "seed %llu",
                     (unsigned long long)seed);
    }
    if (one == NULL) { // the crowds must be hard enough to mean something
        cr_assert_gt(preemptions, 200, "%llu preemptions", (unsigned long long)preemptions);
        cr_assert_gt(dead, 200, "%llu dead rows", (unsigned long long)dead);
    }
}
