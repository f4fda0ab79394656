// SPDX-License-Identifier: Apache-2.0
// What the scheduler promises, one small case each. test_random.c has the thousands of random ones.
#include "tests/unit/scheduler/scheduler_fixture.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

Test(sched, a_prompt_is_prefilled_then_decoded_one_row_a_step) {
    Scheduler *s = fixture_start();
    SequenceRequest request = fixture_request(10, 3, 7);
    SchedulerEvent events[16];
    fixture_add(s, &request);
    const Batch *batch = sched_plan(s);
    cr_assert_eq(batch->row_count, 10);
    cr_assert(batch->sequences[0].sample_rows);
    cr_assert_eq(fixture_answer(s, batch, 5, events, 16), 1);
    cr_assert_eq(events[0].tag, 7);
    cr_assert_eq(events[0].finish, FINISH_NONE);
    for (int i = 0; i < 2; i++) {
        batch = sched_plan(s);
        cr_assert_eq(batch->row_count, 1);
        cr_assert_eq(batch->tokens[0], 5);
        cr_assert_eq(batch->positions[0], 10u + (uint32_t)i);
        cr_assert_eq(batch->sequences[0].draw, 1u + (uint64_t)i);
        cr_assert_eq(fixture_answer(s, batch, 5, events, 16), 1);
    }
    cr_assert_eq(events[0].finish, FINISH_LENGTH);
    cr_assert_null(sched_plan(s));
    SchedulerStats stats = sched_stats(s);
    cr_assert_eq(stats.pages_used[PAGE_FULL] + stats.pages_used[PAGE_SLIDING], 0);
    sched_close(s);
}

Test(sched, a_stop_id_ends_the_sequence) {
    Scheduler *s = fixture_start();
    SequenceRequest request = fixture_request(4, 100, 1);
    int32_t stop[] = {1, 106, 50};
    request.stop_ids = stop;
    request.stop_count = 3;
    SchedulerEvent events[16];
    fixture_add(s, &request);
    fixture_answer(s, sched_plan(s), 9, events, 16);
    cr_assert_eq(fixture_answer(s, sched_plan(s), 50, events, 16), 1);
    cr_assert_eq(events[0].finish, FINISH_STOP);
    cr_assert_null(sched_plan(s));
    sched_close(s);
}

Test(sched, an_image_is_never_cut_and_its_rows_see_its_end) {
    Scheduler *s = fixture_start();
    SequenceRequest request = fixture_request(120, 1, 1);
    SequenceMedia images[] = {{.position_first = 40, .row_count = 50},
                              {.position_first = 95, .row_count = 20}};
    request.media = images;
    request.media_count = 2;
    SchedulerEvent events[16];
    fixture_add(s, &request);
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
        fixture_answer(s, batch, 3, events, 16);
    }
    sched_close(s);
}

Test(sched, a_sound_goes_on_in_the_next_step_and_its_rows_see_no_further_than_themselves) {
    Scheduler *s = fixture_start();
    SequenceRequest request = fixture_request(150, 1, 1);
    static const float samples[100];
    const SequenceMedia media[] = {
        {.kind = MEDIA_SOUND, .position_first = 10, .row_count = 100, .samples = samples},
        {.kind = MEDIA_FILM_FRAME, .position_first = 110, .row_count = 30}};
    request.media = media;
    request.media_count = 2;
    SchedulerEvent events[16];
    fixture_add(s, &request);
    // 64 rows end inside the sound, the next 64 would inside the frame.
    const BatchAudio parts[] = {{10, 0, 54, samples}, {0, 54, 46, samples}};
    for (int step = 0; step < 3; step++) {
        const Batch *batch = sched_plan(s);
        cr_assert_eq(batch->audio_count, step < 2);
        cr_assert_eq(batch->image_count, step == 2);
        for (uint32_t i = 0; i < batch->audio_count; i++) {
            cr_expect_eq(batch->audios[i].row_first, parts[step].row_first);
            cr_expect_eq(batch->audios[i].frame_first, parts[step].frame_first);
            cr_expect_eq(batch->audios[i].frame_count, parts[step].frame_count);
            cr_expect_eq(batch->audios[i].samples, samples);
        }
        for (uint32_t row = 0; row < batch->row_count; row++) {
            uint32_t p = batch->positions[row];
            cr_expect_eq(batch->tokens[row] == BATCH_TOKEN_MEDIA, p >= 10 && p < 140);
            cr_expect_eq(batch->sliding_end[row], p >= 110 && p < 140 ? 140 : p + 1);
        }
        fixture_answer(s, batch, 3, events, 16);
    }
    sched_close(s);
}

Test(sched, requests_that_can_never_fit_are_refused_by_name) {
    Scheduler *s = fixture_start();
    uint64_t handle;
    Error error;
    SequenceRequest long_prompt = fixture_request(250, 7, 1);
    cr_assert_eq(sched_add(s, &long_prompt, &handle, &error), E_CONTEXT);
    cr_assert(strstr(error.text, "256") != NULL);
    SequenceMedia image = {.position_first = 0, .row_count = 62};
    SequenceRequest big_image = fixture_request(70, 1, 1);
    big_image.media = &image;
    big_image.media_count = 1;
    cr_assert_eq(sched_add(s, &big_image, &handle, &error), E_CONTEXT);
    cr_assert(strstr(error.text, "never cut") != NULL);
    image.row_count = 71;
    cr_assert_eq(sched_add(s, &big_image, &handle, &error), E_ARGUMENT);
    SequenceRequest empty = fixture_request(0, 1, 1);
    cr_assert_eq(sched_add(s, &empty, &handle, &error), E_ARGUMENT);
    for (int i = 0; i < 12; i++) {
        SequenceRequest good = fixture_request(5, 5, 1);
        cr_assert_eq(sched_add(s, &good, &handle, &error), OK);
    }
    SequenceRequest one_more = fixture_request(5, 5, 1);
    cr_assert_eq(sched_add(s, &one_more, &handle, &error), E_BUSY);
    sched_close(s);
}

Test(sched, cancel_ends_running_and_waiting_sequences_with_one_event_each) {
    SchedulerOptions options = fixture_options();
    options.sequences_max = 1;
    Scheduler *s = fixture_open(&options);
    SequenceRequest request = fixture_request(8, 50, 1);
    uint64_t running, waiting;
    SchedulerEvent events[16];
    running = fixture_add(s, &request);
    fixture_answer(s, sched_plan(s), 2, events, 16);
    request.tag = 2;
    waiting = fixture_add(s, &request);
    const Batch *batch = sched_plan(s);
    sched_cancel(s, running); // while its step runs
    sched_cancel(s, waiting);
    sched_cancel(s, 0xdeadbeef00000001u); // stale
    cr_assert_eq(fixture_answer(s, batch, 2, events, 16), 2);
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
    Scheduler *s = fixture_start();
    SequenceRequest request = fixture_request(8, 50, 1);
    SchedulerEvent events[16];
    fixture_add(s, &request);
    sched_plan(s);
    cr_assert_eq(sched_commit(s, NULL, events, 16), 1);
    cr_assert_eq(events[0].finish, FINISH_FAILED);
    sched_close(s);
}

// ---- Users and classes --------------------------------------------------------------------------

enum { USERS = 3, SLOTS = 24 };

// What the test itself counts of every user, whose requests have its number as tag.
typedef struct Busy {
    uint32_t in_flight[USERS];
    uint64_t rows[USERS]; // computed
    uint32_t user_of[SLOTS];
} Busy;

// Runs `steps` steps with six requests of everybody in flight.
static void keep_busy(Scheduler *s, const SequenceRequest *requests, uint32_t count, uint32_t steps,
                      Busy *busy) {
    SchedulerEvent events[64];
    uint64_t handle;
    for (uint32_t step = 0; step < steps; step++) {
        for (uint32_t i = 0; i < count; i++) {
            for (; busy->in_flight[i] < 6; busy->in_flight[i]++) {
                handle = fixture_add(s, &requests[i]);
                busy->user_of[(uint32_t)handle] = i;
            }
        }
        const Batch *batch = sched_plan(s);
        cr_assert_not_null(batch);
        for (uint32_t i = 0; i < batch->sequence_count; i++) {
            uint32_t slot = (uint32_t)batch->sequences[i].tag;
            busy->rows[busy->user_of[slot]] += batch->sequences[i].row_count;
        }
        size_t ended = fixture_answer(s, batch, 3, events, 64);
        for (size_t i = 0; i < ended; i++) {
            busy->in_flight[events[i].tag] -= events[i].finish != FINISH_NONE;
        }
        sched_check_all(s);
    }
}

Test(policy, backlogged_users_get_equal_service_whatever_they_ask_for) {
    SchedulerOptions options = fixture_options();
    options.users_max = USERS;
    options.waiting_max = 20;
    options.no_prefix_cache = true;
    Scheduler *s = fixture_open(&options);
    Busy busy = {0};
    // Long prompts, long answers, short everything: all always have six requests in flight.
    SequenceRequest requests[] = {fixture_request(100, 4, 0), fixture_request(6, 40, 1),
                                  fixture_request(8, 6, 2)};
    for (uint32_t i = 0; i < USERS; i++) {
        requests[i].user = i;
    }
    keep_busy(s, requests, USERS, 3000, &busy);
    double low = 1e18, high = 0;
    for (uint32_t i = 0; i < USERS; i++) {
        double service = sched_user_service(s, i);
        low = service < low ? service : low;
        high = service > high ? service : high;
    }
    // The paper's bound: twice the larger of one prompt and what the running places can take
    // meanwhile (4 sequences of at most 104 tokens).
    cr_assert_leq(high - low, 2 * 4 * 104, "services %g to %g", low, high);
    cr_assert_gt(low, 5000);
    sched_close(s);
}

Test(policy, weights_divide_the_service) {
    SchedulerOptions options = fixture_options();
    options.users_max = 2;
    options.waiting_max = 20;
    options.no_prefix_cache = true;
    Scheduler *s = fixture_open(&options);
    Busy busy = {0};
    sched_user_weight(s, 1, 3.0);
    SequenceRequest requests[] = {fixture_request(20, 10, 0), fixture_request(20, 10, 1)};
    requests[1].user = 1;
    keep_busy(s, requests, 2, 4000, &busy);
    double ratio = (double)busy.rows[1] / (double)busy.rows[0];
    cr_assert_float_eq(ratio, 3.0, 0.1, "ratio %g", ratio);
    sched_close(s);
}

Test(policy, a_user_who_was_away_has_earned_no_credit) {
    SchedulerOptions options = fixture_options();
    options.users_max = 2;
    options.waiting_max = 20;
    options.no_prefix_cache = true;
    Scheduler *s = fixture_open(&options);
    Busy busy = {0};
    SequenceRequest requests[] = {fixture_request(20, 10, 0), fixture_request(20, 10, 1)};
    requests[1].user = 1;
    keep_busy(s, requests, 1, 2000, &busy); // user 0 alone
    uint64_t before = busy.rows[0];
    keep_busy(s, requests, 2, 1000, &busy); // user 1 joins
    uint64_t mine = busy.rows[0] - before, theirs = busy.rows[1];
    cr_assert_float_eq((double)theirs / (double)mine, 1.0, 0.1, "%llu and %llu",
                       (unsigned long long)mine, (unsigned long long)theirs);
    sched_close(s);
}

Test(policy, interactive_takes_the_place_of_batch_and_aged_batch_still_runs) {
    SchedulerOptions options = fixture_options();
    options.sequences_max = 2;
    options.waiting_max = 30;
    options.age_ms = 100;
    Scheduler *s = fixture_open(&options);
    SequenceRequest batch_request = fixture_request(20, 200, 1), chat = fixture_request(10, 5, 2);
    batch_request.priority = PRIORITY_BATCH;
    uint64_t handle;
    SchedulerEvent events[64];
    for (int i = 0; i < 3; i++) {
        handle = fixture_add(s, &batch_request);
    }
    fixture_answer(s, sched_plan(s), 3, events, 64);
    handle = fixture_add(s, &chat);
    const Batch *batch = sched_plan(s);
    bool chat_runs = false;
    for (uint32_t i = 0; i < batch->sequence_count; i++) {
        chat_runs |= batch->sequences[i].tag == handle;
    }
    cr_assert(chat_runs);
    cr_assert_eq(sched_stats(s).preemptions, 1);
    fixture_answer(s, batch, 3, events, 64);
    // Interactive requests never stop coming; the batch ones still advance once they have aged.
    uint32_t batch_tokens = 0;
    for (uint64_t now = 0; now < 3000; now += 10) {
        sched_tick(s, now);
        while (sched_stats(s).waiting < 8) {
            handle = fixture_add(s, &chat);
        }
        size_t count = fixture_answer(s, sched_plan(s), 3, events, 64);
        for (size_t i = 0; i < count; i++) {
            batch_tokens += events[i].tag == 1;
        }
        sched_check_all(s);
    }
    cr_assert_gt(batch_tokens, 50);
    sched_close(s);
}

// 16 places, answers of 2,000 tokens; user 0 has 40 of them under way or waiting.
static Scheduler *filled_by_user_0(Priority priority) {
    SchedulerOptions options = fixture_options();
    options.sequences_max = 16;
    options.waiting_max = 100;
    options.tokens_max = 2048;
    options.pages[PAGE_FULL] = options.pages[PAGE_SLIDING] = 16 * 129;
    options.users_max = 8;
    Scheduler *s = fixture_open(&options);
    SequenceRequest request = fixture_request(16, 2000, 0);
    SchedulerEvent events[32];
    request.priority = priority;
    for (int i = 0; i < 40; i++) {
        fixture_add(s, &request);
    }
    for (int i = 0; i < 50; i++) {
        fixture_answer(s, sched_plan(s), 3, events, 32);
    }
    cr_assert_eq(sched_stats(s).running, 15);
    return s;
}

// Steps until every tag of 1 .. count has its first token, with `most` plans open at once.
static int steps_to_first_tokens(Scheduler *s, uint64_t count, uint32_t most) {
    SchedulerEvent events[32];
    const Batch *open[2];
    uint32_t open_count = 0;
    bool seen[16] = {false};
    for (int steps = 1; steps <= 5000; steps++) {
        while (open_count < most && (open[open_count] = sched_plan(s)) != NULL) {
            open_count++;
        }
        size_t n = fixture_answer(s, open[0], 3, events, 32);
        open[0] = open[1];
        open_count--;
        sched_check_all(s);
        for (size_t i = 0; i < n; i++) {
            count -= events[i].tag > 0 && !seen[events[i].tag];
            seen[events[i].tag] = true;
        }
        if (count == 0) {
            for (; open_count > 0; open_count--) {
                fixture_answer(s, open[0], 3, events, 32);
            }
            return steps;
        }
    }
    return INT_MAX;
}

Test(policy, users_who_have_nothing_running_wait_for_steps_and_not_for_a_long_answer) {
    for (uint32_t plans = 1; plans <= 2; plans++) {
        Scheduler *s = filled_by_user_0(PRIORITY_INTERACTIVE);
        SequenceRequest request = fixture_request(16, 2000, 0);
        for (uint32_t user = 1; user <= 4; user++) {
            request.user = user;
            request.tag = user;
            fixture_add(s, &request);
        }
        // 16 steps of patience, one for each of the three, and ahead one to run dry for each.
        cr_expect_leq(steps_to_first_tokens(s, 4, plans), 24);
        // The one free place, and three of the heavy user, who keeps the others: no user is cut to
        // nothing, and who runs one already waits for his second in turn.
        cr_expect_eq(sched_stats(s).preemptions, 3);
        request.tag = 5;
        fixture_add(s, &request);
        cr_expect_gt(steps_to_first_tokens(s, 1, plans), 500);
        cr_expect_eq(sched_stats(s).preemptions, 3);
        sched_close(s);
    }
}

Test(policy, interactive_takes_every_place_of_batch_with_several_users_too) {
    for (uint32_t plans = 1; plans <= 2; plans++) {
        Scheduler *s = filled_by_user_0(PRIORITY_BATCH);
        SequenceRequest request = fixture_request(4, 2000, 0);
        request.user = 1;
        for (uint64_t tag = 1; tag <= 8; tag++) {
            request.tag = tag;
            fixture_add(s, &request);
        }
        cr_expect_leq(steps_to_first_tokens(s, 8, plans), 8 * (int)plans + 2);
        sched_close(s);
    }
}

Test(policy, admissions_of_one_step_alternate_between_users) {
    SchedulerOptions options = fixture_options();
    options.users_max = 2;
    Scheduler *s = fixture_open(&options);
    SequenceRequest request = fixture_request(10, 5, 0);
    for (uint32_t i = 0; i < 4; i++) { // four of user 0 come before two of user 1
        fixture_add(s, &request);
    }
    request.user = 1;
    uint64_t theirs[2];
    theirs[0] = fixture_add(s, &request);
    theirs[1] = fixture_add(s, &request);
    const Batch *batch = sched_plan(s);
    cr_assert_eq(batch->sequence_count, 4);
    cr_assert_eq(batch->sequences[1].tag, theirs[0]);
    cr_assert_eq(batch->sequences[3].tag, theirs[1]);
    sched_close(s);
}

Test(sched, batch_keeps_its_pages_when_they_would_not_be_enough) {
    SchedulerOptions options = fixture_options();
    options.pages[PAGE_FULL] = options.pages[PAGE_SLIDING] = 16;
    options.no_prefix_cache = true;
    Scheduler *s = fixture_open(&options);
    SequenceRequest chat = fixture_request(150, 50, 1), batch_request = fixture_request(20, 30, 2);
    batch_request.priority = PRIORITY_BATCH;
    SchedulerEvent events[16];
    fixture_add(s, &chat);
    fixture_add(s, &batch_request);
    for (int i = 0; i < 4; i++) {
        fixture_answer(s, sched_plan(s), 3, events, 16);
    }
    cr_assert_eq(sched_stats(s).running, 2);
    fixture_add(s, &chat); // 10 pages; 4 free, 2 of batch
    fixture_answer(s, sched_plan(s), 3, events, 16);
    cr_assert_eq(sched_stats(s).running, 2);
    cr_assert_eq(sched_stats(s).preemptions, 0);
    sched_close(s);
}

Test(sched, preemptions_of_one_sequence_are_bounded) {
    SchedulerOptions options = fixture_options();
    options.sequences_max = 1;
    Scheduler *s = fixture_open(&options);
    SequenceRequest batch_request = fixture_request(20, 60, 1), chat = fixture_request(10, 2, 2);
    batch_request.priority = PRIORITY_BATCH;
    SchedulerEvent events[16];
    fixture_add(s, &batch_request);
    bool ended = false;
    for (int i = 0; i < 400 && !ended; i++) { // a chat request comes whenever batch runs
        const Batch *batch = sched_plan(s);
        size_t count = fixture_answer(s, batch, 3, events, 16);
        for (size_t j = 0; j < count; j++) {
            ended |= events[j].tag == 1 && events[j].finish == FINISH_LENGTH;
        }
        if (sched_stats(s).waiting == 0) {
            fixture_add(s, &chat);
        }
        sched_check_all(s);
    }
    cr_assert(ended);
    cr_assert_eq(sched_stats(s).preemptions, SCHED_PREEMPTIONS_MAX);
    sched_close(s);
}

Test(sched, memory_is_taken_at_open_and_never_again) {
    Scheduler *s = fixture_start();
    SchedulerEvent events[16];
    uint64_t handle;
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 500; i++) {
        SequenceRequest request = fixture_request(1 + (uint32_t)i % 200, 1 + (uint32_t)i % 50, 1);
        sched_add(s, &request, &handle, NULL); // refused ones among them
        const Batch *batch = sched_plan(s);
        if (batch != NULL) {
            fixture_answer(s, batch, 3, events, 16);
        }
        if (i % 7 == 0) {
            sched_cancel(s, handle);
        }
    }
    cr_assert_eq(mallinfo2().uordblks, before);
    sched_close(s);
}

Test(sched, a_deadline_ends_a_sequence_wherever_it_is) {
    SchedulerOptions options = fixture_options();
    options.sequences_max = 1;
    Scheduler *s = fixture_open(&options);
    SequenceRequest request = fixture_request(8, 50, 1);
    request.deadline_ms = 100;
    SchedulerEvent events[16];
    fixture_add(s, &request);
    request.tag = 2;
    fixture_add(s, &request);
    fixture_answer(s, sched_plan(s), 3, events, 16);
    sched_tick(s, 100);
    const Batch *batch = sched_plan(s);
    cr_assert_null(batch);
    cr_assert_eq(sched_commit(s, NULL, events, 16), 2);
    cr_assert_eq(events[0].finish, FINISH_DEADLINE);
    cr_assert_eq(events[1].finish, FINISH_DEADLINE);
    sched_check_all(s);
    sched_close(s);
}

// ---- Prefix cache -------------------------------------------------------------------------------

Test(prefix, ten_questions_about_one_picture_cost_one_picture) {
    SchedulerOptions options = fixture_options();
    options.rows_max = 100;
    Scheduler *s = fixture_open(&options);
    SequenceMedia image = {.position_first = 5, .row_count = 70, .name = {1, 2}};
    SchedulerEvent events[16];
    uint64_t rows = 0;
    for (int i = 0; i < 10; i++) {
        int32_t tokens[90] = {0};
        for (int j = 0; j < 90; j++) {
            tokens[j] = j < 76 ? j : 1000 * i + j; // the question differs from 76 on
        }
        SequenceRequest request = fixture_request(90, 1, 1);
        request.tokens = tokens;
        request.media = &image;
        request.media_count = 1;
        fixture_add(s, &request);
        const Batch *batch = sched_plan(s);
        rows += batch->row_count;
        cr_assert_eq(batch->image_count, i == 0);
        cr_assert_eq(batch->copy_count[PAGE_FULL], i > 0); // the page in which the picture ends
        cr_assert_eq(fixture_answer(s, batch, 3, events, 16), 1);
        cr_assert_eq(events[0].cached_tokens, i == 0 ? 0 : 75);
        sched_check_all(s);
    }
    cr_assert_eq(rows, 90 + 9 * 15);
    sched_close(s);
}

Test(prefix, questions_about_one_sound_may_begin_inside_it) {
    Scheduler *s = fixture_start();
    const SequenceMedia sound = {
        .kind = MEDIA_SOUND, .position_first = 8, .row_count = 32, .name = {3, 4}};
    SchedulerEvent events[16];
    for (int i = 0; i < 2; i++) {
        SequenceRequest request = fixture_request(40, 1, 1); // its last row is computed again
        request.media = &sound;
        request.media_count = 1;
        fixture_add(s, &request);
        const Batch *batch = sched_plan(s);
        cr_assert_eq(batch->row_count, i == 0 ? 40 : 1);
        cr_assert_eq(batch->audios[0].frame_first, i == 0 ? 0 : 31);
        fixture_answer(s, batch, 3, events, 16);
        sched_check_all(s);
    }
    sched_close(s);
}

Test(prefix, other_content_or_other_budget_shares_nothing) {
    Scheduler *s = fixture_start();
    const Hash128 contents[] = {{1, 2}, {1, 3}, {2, 2}, {0, 0}, {0, 0}};
    SchedulerEvent events[16];
    for (int i = 0; i < 5; i++) {
        SequenceMedia image = {.position_first = 0, .row_count = 40, .name = contents[i]};
        SequenceRequest request = fixture_request(50, 1, 1);
        request.media = &image;
        request.media_count = 1;
        fixture_add(s, &request);
        const Batch *batch = sched_plan(s);
        cr_assert_eq(batch->row_count, 50, "content %d", i);
        fixture_answer(s, batch, 3, events, 16);
    }
    sched_close(s);
}

Test(prefix, users_share_unless_each_has_a_cache_of_its_own) {
    for (int per_user = 0; per_user < 2; per_user++) {
        SchedulerOptions options = fixture_options();
        options.users_max = 2;
        options.prefix_per_user = per_user;
        options.prefix_seed = 7;
        Scheduler *s = fixture_open(&options);
        SchedulerEvent events[16];
        static const uint32_t users[] = {0, 1, 0, 1};
        for (int i = 0; i < 4; i++) {
            SequenceRequest request = fixture_request(50, 1, 1);
            request.user = users[i];
            fixture_add(s, &request);
            cr_assert_eq(fixture_answer(s, sched_plan(s), 3, events, 16), 1);
            bool first = i == 0 || (per_user && i == 1);
            cr_expect_eq(events[0].cached_tokens, first ? 0 : 49, "request %d", i);
            sched_check_all(s);
        }
        sched_close(s);
    }
}

Test(prefix, samples_of_one_prompt_wait_for_it_and_share_its_pages) {
    SchedulerOptions options = fixture_options();
    options.rows_max = 30;
    Scheduler *s = fixture_open(&options);
    SequenceRequest request = fixture_request(100, 8, 1);
    SchedulerEvent events[16];
    uint64_t leader = fixture_add(s, &request);
    request.after = leader;
    for (int i = 0; i < 3; i++) {
        fixture_add(s, &request);
    }
    for (int step = 0; step < 4; step++) { // four chunks of the leader, nobody else
        const Batch *batch = sched_plan(s);
        cr_assert_eq(batch->sequence_count, 1);
        fixture_answer(s, batch, 3, events, 16);
    }
    const Batch *batch = sched_plan(s);
    cr_assert_eq(batch->sequence_count, 4);
    cr_assert_eq(batch->row_count, 4); // one row each: all the others came from the cache
    cr_assert_eq(batch->copy_count[PAGE_FULL], 3);
    fixture_answer(s, batch, 3, events, 16);
    sched_check_all(s);
    sched_close(s);
}
