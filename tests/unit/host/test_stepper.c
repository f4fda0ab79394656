// SPDX-License-Identifier: Apache-2.0
// The stepper with a made-up engine: every sequence gets exactly one ending, tags can be used
// again, what the scheduler has no room for waits its turn, a broken engine ends everything once:
// with one step at a time and with two.
#include "host/step/stepper.h"

#include <criterion/criterion.h>
#include <string.h>

enum { TAGS = 8, RUNNING = 2, PROMPT = 20, NEW = 3, STEPS_MAX = 200 };

typedef struct Bench {
    Scheduler *scheduler;
    Stepper *stepper;
    uint64_t now_ms;
    const Batch *begun[SCHED_PLANS_MAX];
    uint32_t begun_count, begin_count, end_count;
    uint32_t end_fails_at, begin_fails_at; // 0 = never
    char order[STEPS_MAX + 1];             // of the calls: b, e
    SequenceRequest requests[TAGS];
    uint32_t tokens[TAGS], endings[TAGS], refused[TAGS];
    FinishReason finish[TAGS];
    Status status[TAGS];
} Bench;

static Status break_down(Error *error) {
    return error_set(error, E_DEVICE, "the card has fallen off the bus");
}

static Status begin(void *context, const Batch *batch, Error *error) {
    Bench *bench = context;
    strncat(bench->order, "b", STEPS_MAX - strlen(bench->order));
    bench->begin_count++;
    if (bench->begin_fails_at > 0 && bench->begin_count >= bench->begin_fails_at) {
        return break_down(error);
    }
    cr_assert_lt(bench->begun_count, SCHED_PLANS_MAX);
    bench->begun[bench->begun_count++] = batch;
    return OK;
}

// Draws token 7 for whoever may draw.
static Status end(void *context, StepResult *result, Error *error) {
    Bench *bench = context;
    strncat(bench->order, "e", STEPS_MAX - strlen(bench->order));
    cr_assert_gt(bench->begun_count, 0);
    const Batch *batch = bench->begun[0];
    bench->begun[0] = bench->begun[1];
    bench->begun_count--;
    bench->end_count++;
    if (bench->end_fails_at > 0 && bench->end_count >= bench->end_fails_at) {
        return break_down(error);
    }
    result->sample_count = 0;
    for (uint32_t i = 0; i < batch->sequence_count; i++) {
        if (batch->sequences[i].sample_rows) {
            result->samples[result->sample_count++] =
                (StepSample){.tag = batch->sequences[i].tag, .chosen = {7, -0.5f}};
        }
    }
    return OK;
}

static void open_bench(Bench *bench, uint32_t waiting, bool ahead) {
    static const int32_t prompt[PROMPT];
    *bench = (Bench){.now_ms = 1000};
    const SchedulerOptions options = {
        .rows_max = 64,
        .sequences_max = RUNNING,
        .waiting_max = waiting,
        .tokens_max = 128,
        .window = 32,
        .pages = {40, 40},
        .no_prefix_cache = true,
    };
    cr_assert_eq(sched_open(&options, &bench->scheduler, NULL), OK);
    const StepperOptions stepper = {bench->scheduler, RUNNING, TAGS, begin, end, bench, ahead};
    cr_assert_eq(stepper_open(&stepper, &bench->stepper, NULL), OK);
    for (uint32_t tag = 0; tag < TAGS; tag++) {
        bench->requests[tag] = (SequenceRequest){
            .tokens = prompt,
            .token_count = PROMPT,
            .new_tokens_max = NEW,
            .tag = tag,
        };
    }
}

static void close_bench(Bench *bench) {
    stepper_close(bench->stepper);
    cr_expect_eq(bench->begun_count, 0, "a step was begun and never ended");
    SchedulerStats stats = sched_stats(bench->scheduler);
    cr_expect_eq(stats.running + stats.waiting, 0);
    cr_expect_eq(stats.pages_used[PAGE_FULL] + stats.pages_used[PAGE_SLIDING], 0);
    sched_close(bench->scheduler);
}

static void add(Bench *bench, uint32_t tag) {
    stepper_command(bench->stepper, &(StepperCommand){.kind = STEPPER_ADD,
                                                      .tag = tag,
                                                      .sequence = &bench->requests[tag],
                                                      .after_tag = STEPPER_NO_TAG});
}

static void cancel(Bench *bench, uint32_t tag) {
    stepper_command(bench->stepper, &(StepperCommand){.kind = STEPPER_CANCEL, .tag = tag});
}

static void step(Bench *bench) {
    const StepperEvent *events;
    stepper_tick(bench->stepper, bench->now_ms++);
    size_t count = stepper_step(bench->stepper, &events);
    for (size_t i = 0; i < count; i++) {
        const StepperEvent *e = &events[i];
        bench->tokens[e->tag] += e->kind == STEPPER_TOKEN;
        bench->refused[e->tag] += e->kind == STEPPER_REFUSED;
        if (e->kind != STEPPER_TOKEN || e->event.finish != FINISH_NONE) {
            bench->endings[e->tag]++;
            bench->finish[e->tag] = e->event.finish;
            bench->status[e->tag] = e->status;
        }
    }
}

static void run_dry(Bench *bench) {
    for (int i = 0; stepper_busy(bench->stepper); i++) {
        cr_assert_lt(i, STEPS_MAX, "it never ends");
        step(bench);
    }
}

// The body runs with one step at a time and with two under way.
#define EACH_WAY(name)                                                                             \
    static void name(bool ahead);                                                                  \
    Test(stepper, name) {                                                                          \
        name(false);                                                                               \
        name(true);                                                                                \
    }                                                                                              \
    static void name(bool ahead)

EACH_WAY(every_sequence_gets_its_tokens_and_one_ending) {
    Bench bench;
    open_bench(&bench, TAGS, ahead);
    for (uint32_t tag = 0; tag < TAGS; tag++) {
        add(&bench, tag);
    }
    run_dry(&bench);
    for (uint32_t tag = 0; tag < TAGS; tag++) {
        cr_expect_eq(bench.tokens[tag], NEW);
        cr_expect_eq(bench.endings[tag], 1);
        cr_expect_eq(bench.finish[tag], FINISH_LENGTH);
    }
    close_bench(&bench);
}

EACH_WAY(a_busy_scheduler_is_asked_again_in_order) {
    Bench bench;
    open_bench(&bench, 0, ahead); // room for two, nobody waits in the scheduler
    for (uint32_t tag = 0; tag < TAGS; tag++) {
        add(&bench, tag);
    }
    for (uint32_t last = 0; last < TAGS;) {
        step(&bench);
        for (uint32_t tag = 0; tag < TAGS; tag++) {
            cr_expect(bench.endings[tag] == 0 || tag <= last + 2, "tag %u before %u", tag, last);
        }
        while (last < TAGS && bench.endings[last] > 0) {
            last++;
        }
        cr_assert_lt(bench.now_ms, 1000 + STEPS_MAX);
    }
    cr_expect_not(stepper_busy(bench.stepper));
    close_bench(&bench);
}

EACH_WAY(cancelling_ends_what_runs_waits_or_is_parked_and_nothing_else) {
    Bench bench;
    open_bench(&bench, 1, ahead); // two run, one waits in the scheduler, the others are parked
    for (uint32_t tag = 0; tag < 6; tag++) {
        add(&bench, tag);
    }
    step(&bench);
    for (uint32_t tag = 0; tag < 6; tag += 2) {
        cancel(&bench, tag);
        cancel(&bench, tag);
    }
    cancel(&bench, 7); // was never there
    run_dry(&bench);
    for (uint32_t tag = 0; tag < 6; tag++) {
        cr_expect_eq(bench.endings[tag], 1, "tag %u", tag);
        cr_expect_eq(bench.finish[tag], tag % 2 == 0 ? FINISH_CANCEL : FINISH_LENGTH);
    }
    cr_expect_eq(bench.endings[7], 0);
    add(&bench, 0); // a tag is free again after its ending
    run_dry(&bench);
    cr_expect_eq(bench.endings[0], 2);
    close_bench(&bench);
}

EACH_WAY(a_cancelled_sequence_gives_its_pages_back_in_the_next_step) {
    Bench bench;
    open_bench(&bench, TAGS, ahead);
    bench.requests[0].new_tokens_max = 100;
    add(&bench, 0);
    step(&bench);
    step(&bench);
    cr_assert_gt(stepper_stats(bench.stepper).pages_used[PAGE_FULL], 0);
    cancel(&bench, 0);
    step(&bench);
    cr_expect_eq(stepper_stats(bench.stepper).pages_used[PAGE_FULL], 0);
    cr_expect_eq(stepper_stats(bench.stepper).pages_used[PAGE_SLIDING], 0);
    close_bench(&bench);
}

EACH_WAY(what_can_never_fit_is_refused_with_a_sentence) {
    Bench bench;
    open_bench(&bench, TAGS, ahead);
    bench.requests[1].new_tokens_max = 1000;
    add(&bench, 0);
    add(&bench, 1);
    run_dry(&bench);
    cr_expect_eq(bench.refused[1], 1);
    cr_expect_eq(bench.status[1], E_CONTEXT);
    cr_expect_eq(bench.tokens[1], 0);
    cr_expect_eq(bench.tokens[0], NEW);
    close_bench(&bench);
}

EACH_WAY(a_broken_engine_ends_everything_with_its_error) {
    Bench bench;
    open_bench(&bench, TAGS, ahead);
    bench.end_fails_at = 3;
    for (uint32_t tag = 0; tag < TAGS - 1; tag++) {
        bench.requests[tag].new_tokens_max = 50;
        add(&bench, tag);
    }
    run_dry(&bench);
    add(&bench, TAGS - 1); // later ones too
    run_dry(&bench);
    for (uint32_t tag = 0; tag < TAGS; tag++) {
        cr_expect_eq(bench.endings[tag], 1);
        cr_expect_eq(bench.finish[tag], FINISH_FAILED);
        cr_expect_eq(bench.status[tag], E_DEVICE);
    }
    cr_assert_not_null(stepper_error(bench.stepper));
    cr_expect_str_eq(stepper_error(bench.stepper)->text, "the card has fallen off the bus");
    close_bench(&bench);
}

EACH_WAY(an_engine_that_takes_no_step_ends_everything_too) {
    Bench bench;
    open_bench(&bench, TAGS, ahead);
    bench.begin_fails_at = 4;
    for (uint32_t tag = 0; tag < TAGS; tag++) {
        bench.requests[tag].new_tokens_max = 50;
        add(&bench, tag);
    }
    run_dry(&bench);
    for (uint32_t tag = 0; tag < TAGS; tag++) {
        cr_expect_eq(bench.endings[tag], 1);
        cr_expect_eq(bench.finish[tag], FINISH_FAILED);
        cr_expect_eq(bench.status[tag], E_DEVICE);
    }
    cr_expect_eq(bench.tokens[0], 3); // of the steps that were begun
    close_bench(&bench);
}

EACH_WAY(the_next_step_is_begun_before_the_one_under_way_is_waited_for) {
    Bench bench;
    open_bench(&bench, TAGS, ahead);
    add(&bench, 0);
    run_dry(&bench);
    cr_expect_eq(bench.tokens[0], NEW);
    cr_expect_str_eq(bench.order, ahead ? "bbebee" : "bebebe");
    close_bench(&bench);
}

EACH_WAY(nobody_is_idle_before_the_last_step_has_ended) {
    static const int32_t stop = 7; // the first token: a second step has been begun in vain
    Bench bench;
    open_bench(&bench, TAGS, ahead);
    bench.requests[0].stop_ids = &stop;
    bench.requests[0].stop_count = 1;
    add(&bench, 0);
    step(&bench);
    cr_expect_eq(bench.finish[0], FINISH_STOP);
    cr_expect_eq(stepper_busy(bench.stepper), ahead);
    run_dry(&bench);
    cr_expect_str_eq(bench.order, ahead ? "bbee" : "be");
    cr_expect_eq(bench.endings[0], 1);
    close_bench(&bench);
}

EACH_WAY(closing_empties_the_scheduler) {
    Bench bench;
    open_bench(&bench, 2, ahead);
    for (uint32_t tag = 0; tag < TAGS; tag++) {
        add(&bench, tag);
    }
    step(&bench);
    close_bench(&bench);
}
