// SPDX-License-Identifier: Apache-2.0
// What the scheduler promises, shown on small cases and on thousands of random steps in which every
// invariant of sched.h and sequence.h is checked from outside, on the batch alone.
#include "scheduler/kv_pool.h"
#include "scheduler/sched.h"

#include "base/prng.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static SchedulerOptions small_options(void) {
    return (SchedulerOptions){.rows_max = 64,
                              .sequences_max = 4,
                              .waiting_max = 8,
                              .tokens_max = 256,
                              .images_max = 2,
                              .window = 48,
                              .pages = {40, 40}};
}

static Scheduler *open_scheduler(const SchedulerOptions *options) {
    Scheduler *s;
    Error error = {0};
    cr_assert_eq(sched_open(options, &s, &error), OK, "%s", error.text);
    return s;
}

static int32_t prompt_tokens[4096];

static SequenceRequest text_request(uint32_t tokens, uint32_t new_tokens, uint64_t tag) {
    return (SequenceRequest){.tokens = prompt_tokens,
                             .token_count = tokens,
                             .new_tokens_max = new_tokens,
                             .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f},
                             .tag = tag};
}

// Answers a batch: every sampling sequence draws `token`.
static size_t answer(Scheduler *s, const Batch *batch, int32_t token, SchedulerEvent *events,
                     size_t events_max) {
    static StepSample samples[64];
    StepResult result = {.samples = samples};
    for (uint32_t i = 0; i < batch->sequence_count; i++) {
        if (batch->sequences[i].sample) {
            samples[result.sample_count++] =
                (StepSample){.tag = batch->sequences[i].tag, .chosen = {.token = token}};
        }
    }
    return sched_commit(s, &result, events, events_max);
}

Test(sched, a_prompt_is_prefilled_then_decoded_one_row_a_step) {
    SchedulerOptions options = small_options();
    Scheduler *s = open_scheduler(&options);
    SequenceRequest request = text_request(10, 3, 7);
    uint64_t handle;
    SchedulerEvent events[16];
    cr_assert_eq(sched_add(s, &request, &handle, NULL), OK);
    const Batch *batch = sched_plan(s);
    cr_assert_eq(batch->row_count, 10);
    cr_assert(batch->sequences[0].sample);
    cr_assert_eq(answer(s, batch, 5, events, 16), 1);
    cr_assert_eq(events[0].tag, 7);
    cr_assert_eq(events[0].finish, FINISH_NONE);
    for (int i = 0; i < 2; i++) {
        batch = sched_plan(s);
        cr_assert_eq(batch->row_count, 1);
        cr_assert_eq(batch->tokens[0], 5);
        cr_assert_eq(batch->positions[0], 10u + (uint32_t)i);
        cr_assert_eq(batch->sequences[0].draw, 1u + (uint64_t)i);
        cr_assert_eq(answer(s, batch, 5, events, 16), 1);
    }
    cr_assert_eq(events[0].finish, FINISH_LENGTH);
    cr_assert_null(sched_plan(s));
    SchedulerStats stats = sched_stats(s);
    cr_assert_eq(stats.pages_used[PAGE_FULL] + stats.pages_used[PAGE_SLIDING], 0);
    sched_close(s);
}

Test(sched, a_stop_id_ends_the_sequence) {
    SchedulerOptions options = small_options();
    Scheduler *s = open_scheduler(&options);
    SequenceRequest request = text_request(4, 100, 1);
    int32_t stop[] = {1, 106, 50};
    request.stop_ids = stop;
    request.stop_count = 3;
    uint64_t handle;
    SchedulerEvent events[16];
    sched_add(s, &request, &handle, NULL);
    answer(s, sched_plan(s), 9, events, 16);
    cr_assert_eq(answer(s, sched_plan(s), 50, events, 16), 1);
    cr_assert_eq(events[0].finish, FINISH_STOP);
    cr_assert_null(sched_plan(s));
    sched_close(s);
}

Test(sched, an_image_is_never_cut_and_its_rows_see_its_end) {
    SchedulerOptions options = small_options();
    Scheduler *s = open_scheduler(&options);
    SequenceRequest request = text_request(120, 1, 1);
    SequenceImage images[] = {{.position_first = 40, .patch_count = 50},
                              {.position_first = 95, .patch_count = 20}};
    request.images = images;
    request.image_count = 2;
    uint64_t handle;
    SchedulerEvent events[16];
    cr_assert_eq(sched_add(s, &request, &handle, NULL), OK);
    const uint32_t ends[] = {40, 95, 120}; // 64 rows would cut the first image, then the second
    uint32_t position = 0;
    for (int step = 0; step < 3; step++) {
        const Batch *batch = sched_plan(s);
        cr_assert_eq(batch->positions[0], position);
        position += batch->row_count;
        cr_assert_eq(position, ends[step], "step %d ends at %u", step, position);
        for (uint32_t row = 0; row < batch->row_count; row++) {
            uint32_t p = batch->positions[row];
            uint32_t end = p >= 40 && p < 90 ? 90 : p >= 95 && p < 115 ? 115 : p + 1;
            cr_assert_eq(batch->sliding_end[row], end);
            cr_assert_eq(batch->tokens[row] == -1, end != p + 1 || p == 89 || p == 114);
        }
        answer(s, batch, 3, events, 16);
    }
    sched_close(s);
}

Test(sched, requests_that_can_never_fit_are_refused_by_name) {
    SchedulerOptions options = small_options();
    Scheduler *s = open_scheduler(&options);
    uint64_t handle;
    Error error;
    SequenceRequest long_prompt = text_request(250, 7, 1);
    cr_assert_eq(sched_add(s, &long_prompt, &handle, &error), E_CONTEXT);
    cr_assert(strstr(error.text, "256") != NULL);
    SequenceImage image = {.position_first = 0, .patch_count = 62};
    SequenceRequest big_image = text_request(70, 1, 1);
    big_image.images = &image;
    big_image.image_count = 1;
    cr_assert_eq(sched_add(s, &big_image, &handle, &error), E_CONTEXT);
    cr_assert(strstr(error.text, "never cut") != NULL);
    image.patch_count = 71;
    cr_assert_eq(sched_add(s, &big_image, &handle, &error), E_ARGUMENT);
    SequenceRequest empty = text_request(0, 1, 1);
    cr_assert_eq(sched_add(s, &empty, &handle, &error), E_ARGUMENT);
    for (int i = 0; i < 12; i++) {
        SequenceRequest good = text_request(5, 5, 1);
        cr_assert_eq(sched_add(s, &good, &handle, &error), OK);
    }
    SequenceRequest one_more = text_request(5, 5, 1);
    cr_assert_eq(sched_add(s, &one_more, &handle, &error), E_BUSY);
    sched_close(s);
}

Test(sched, cancel_ends_running_and_waiting_sequences_with_one_event_each) {
    SchedulerOptions options = small_options();
    options.sequences_max = 1;
    Scheduler *s = open_scheduler(&options);
    SequenceRequest request = text_request(8, 50, 1);
    uint64_t running, waiting;
    SchedulerEvent events[16];
    sched_add(s, &request, &running, NULL);
    answer(s, sched_plan(s), 2, events, 16);
    request.tag = 2;
    sched_add(s, &request, &waiting, NULL);
    const Batch *batch = sched_plan(s);
    sched_cancel(s, running); // while its step runs
    sched_cancel(s, waiting);
    sched_cancel(s, 0xdeadbeef00000001u); // stale
    cr_assert_eq(answer(s, batch, 2, events, 16), 2);
    cr_assert_eq(events[0].finish, FINISH_CANCEL);
    cr_assert_eq(events[1].finish, FINISH_CANCEL);
    cr_assert_neq(events[0].tag, events[1].tag);
    cr_assert_null(sched_plan(s));
    cr_assert_eq(sched_stats(s).pages_used[PAGE_SLIDING], 0);
    sched_cancel(s, running); // ended: nothing happens
    cr_assert_eq(sched_commit(s, NULL, events, 16), 0);
    sched_close(s);
}

Test(sched, a_failed_step_cancels_its_sequences) {
    SchedulerOptions options = small_options();
    Scheduler *s = open_scheduler(&options);
    SequenceRequest request = text_request(8, 50, 1);
    uint64_t handle;
    SchedulerEvent events[16];
    sched_add(s, &request, &handle, NULL);
    sched_plan(s);
    cr_assert_eq(sched_commit(s, NULL, events, 16), 1);
    cr_assert_eq(events[0].finish, FINISH_CANCEL);
    sched_close(s);
}

Test(kv_pool, shared_pages_are_free_after_the_last_holder) {
    KvPool pool;
    cr_assert_eq(kv_pool_open(2, &pool, NULL), OK);
    uint32_t a, b, c;
    cr_assert(kv_pool_take(&pool, &a));
    cr_assert(kv_pool_take(&pool, &b));
    cr_assert_not(kv_pool_take(&pool, &c));
    kv_pool_share(&pool, a);
    kv_pool_give(&pool, a);
    cr_assert_eq(pool.free_count, 0);
    kv_pool_give(&pool, a);
    cr_assert_eq(pool.free_count, 1);
    kv_pool_give(&pool, b);
    kv_pool_close(&pool);
}

// ---- Random runs --------------------------------------------------------------------------------

typedef struct Expectation {
    bool live;
    SequenceRequest request;
    SequenceImage images[2];
    uint32_t drawn, drawn_max;
} Expectation;

// The token a sequence draws depends on its tag and the index only, as with the counter PRNG.
static int32_t token_of(uint64_t tag, uint64_t draw) {
    return (int32_t)(prng_u64(99, tag, draw) % 50);
}

static void check_batch(const SchedulerOptions *o, const Batch *b,
                        unsigned char *owner[PAGE_KIND_COUNT]) {
    cr_assert_leq(b->row_count, o->rows_max);
    cr_assert_leq(b->sequence_count, o->sequences_max);
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        memset(owner[kind], 0, o->pages[kind]);
    }
    uint32_t row = 0;
    for (uint32_t i = 0; i < b->sequence_count; i++) {
        const BatchSequence *q = &b->sequences[i];
        cr_assert_eq(q->row_first, row);
        cr_assert_gt(q->row_count, 0);
        uint32_t end = q->position_first + q->row_count;
        for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
            uint32_t covered = (q->page_skip[kind] + q->page_count[kind]) * KV_PAGE_TOKENS;
            cr_assert_geq(covered, end);
            uint32_t first_seen = 0;
            if (kind == PAGE_SLIDING && q->position_first + 1 > o->window) {
                first_seen = q->position_first + 1 - o->window;
            }
            cr_assert_leq(q->page_skip[kind] * KV_PAGE_TOKENS, first_seen);
            for (uint32_t p = 0; p < q->page_count[kind]; p++) {
                uint32_t page = b->pages[kind][q->page_first[kind] + p];
                cr_assert_lt(page, o->pages[kind]);
                cr_assert_eq(owner[kind][page], 0, "page %u has two owners", page);
                owner[kind][page] = 1;
            }
        }
        for (uint32_t r = 0; r < q->row_count; r++, row++) {
            cr_assert_eq(b->positions[row], q->position_first + r);
            cr_assert_eq(b->row_sequence[row], i);
        }
        cr_assert_eq(q->sample, end == q->history_count);
    }
    cr_assert_eq(row, b->row_count);
}

typedef struct Dice {
    uint64_t seed, thrown;
} Dice;

static uint32_t throw_below(Dice *dice, uint32_t n) {
    return (uint32_t)(prng_u64(dice->seed, 0, dice->thrown++) % n);
}

// Returns the number of preemptions, so that the caller can see that they happen at all.
static uint64_t random_run(uint64_t seed) {
    Dice dice = {.seed = seed};
    SchedulerOptions o = {.rows_max = 24 + throw_below(&dice, 60),
                          .sequences_max = 1 + throw_below(&dice, 6),
                          .waiting_max = throw_below(&dice, 6),
                          .tokens_max = 32 + throw_below(&dice, 200),
                          .images_max = 2,
                          .window = 8 + throw_below(&dice, 80)};
    o.pages[0] = 5 + throw_below(&dice, 20);
    o.pages[1] = 5 + throw_below(&dice, 20);
    Scheduler *s = open_scheduler(&o);
    unsigned char owner0[64], owner1[64];
    unsigned char *owner[] = {owner0, owner1};
    enum { TAGS = 40 };
    static Expectation expected[TAGS];
    memset(expected, 0, sizeof expected);
    uint32_t added = 0, finished = 0;
    SchedulerEvent events[32];
    for (uint32_t step = 0; step < 4000 && (added < TAGS || finished < added); step++) {
        if (added < TAGS && throw_below(&dice, 3) == 0) {
            Expectation *e = &expected[added];
            e->request = text_request(1 + throw_below(&dice, o.tokens_max - 1),
                                      1 + throw_below(&dice, 80), added);
            if (throw_below(&dice, 2) && e->request.token_count > 12) {
                e->images[0] = (SequenceImage){
                    .position_first = 1 + throw_below(&dice, 4),
                    .patch_count = 1 + throw_below(&dice, e->request.token_count / 3)};
                e->request.images = e->images;
                e->request.image_count = 1;
            }
            uint64_t handle;
            Status status = sched_add(s, &e->request, &handle, NULL);
            cr_assert(status == OK || status == E_BUSY || status == E_CONTEXT);
            if (status != E_BUSY) {
                e->live = status == OK;
                e->drawn_max = e->request.new_tokens_max;
                finished += status == E_CONTEXT;
                added++;
                if (status == OK && throw_below(&dice, 15) == 0) {
                    sched_cancel(s, handle);
                }
            }
        }
        const Batch *b = sched_plan(s);
        StepSample samples[8];
        StepResult result = {.samples = samples};
        if (b != NULL) {
            check_batch(&o, b, owner);
            for (uint32_t i = 0; i < b->sequence_count; i++) {
                const BatchSequence *q = &b->sequences[i];
                if (q->sample) {
                    samples[result.sample_count++] = (StepSample){
                        .tag = q->tag, .chosen = {.token = token_of(q->history_count, q->draw)}};
                }
            }
        }
        size_t count = sched_commit(s, b != NULL ? &result : NULL, events, 32);
        for (size_t i = 0; i < count; i++) {
            Expectation *e = &expected[events[i].tag];
            cr_assert(e->live, "seed %llu: an event after the end", (unsigned long long)seed);
            e->drawn += events[i].has_token;
            cr_assert_leq(e->drawn, e->drawn_max);
            if (events[i].finish != FINISH_NONE) {
                e->live = false;
                finished++;
                cr_assert(events[i].finish != FINISH_LENGTH || e->drawn == e->drawn_max);
            }
        }
    }
    cr_assert_eq(finished, added, "seed %llu: %u of %u sequences ended", (unsigned long long)seed,
                 finished, added);
    cr_assert_eq(added, TAGS, "seed %llu", (unsigned long long)seed);
    SchedulerStats stats = sched_stats(s);
    cr_assert_eq(stats.pages_used[0] + stats.pages_used[1], 0, "seed %llu leaks pages",
                 (unsigned long long)seed);
    sched_close(s);
    return stats.preemptions;
}

Test(sched, every_sequence_ends_and_no_page_is_lost_or_shared_in_2000_random_runs) {
    uint64_t preemptions = 0;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        preemptions += random_run(seed);
    }
    cr_assert_gt(preemptions, 1000, "only %llu preemptions: the runs are too easy",
                 (unsigned long long)preemptions);
}
