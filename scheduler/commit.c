// SPDX-License-Identifier: Apache-2.0
// What comes of a step: the oldest plan's samples become tokens and events, its pages are known to
// the prefix cache, and sequences that ended leave. A plan behind it may hold rows of those: they
// are dead, their samples are dropped. Their pages are given back at once all the same, because who
// gets them writes in a step behind the dead rows'.
#include "base/check.h"
#include "base/num.h"
#include "scheduler/record.h"
#include "scheduler/state.h"

#include <string.h>

static FinishReason finish_reason(const Sequence *sequence, int32_t token) {
    for (uint32_t i = 0; i < sequence->stop_count; i++) {
        if (sequence->stop_ids[i] == token) {
            return FINISH_STOP;
        }
    }
    return sequence->token_count == sequence->prompt_count + sequence->new_tokens_max
               ? FINISH_LENGTH
               : FINISH_NONE;
}

// Did the sequence end after its rows were planned? It may be another's slot by now; or it is still
// there, cancelled, and the token these rows wait for was never taken.
static bool is_dead(const Scheduler *scheduler, uint32_t slot, const BatchSequence *row) {
    const Sequence *sequence = &scheduler->slots[slot];
    if (sequence->state != SEQUENCE_RUNNING || sched_handle(scheduler, slot) != row->tag) {
        return true;
    }
    bool fits = row->position_first == sequence->cached_count &&
                row->position_first + row->row_count <= sequence->token_count;
    REQUIRE(fits || sequence->ending != FINISH_NONE);
    return !fits;
}

static void leave_plan(Scheduler *scheduler, Sequence *sequence) {
    sequence->planned_rows[scheduler->plan_oldest] = 0;
    if (sequence_planned(sequence) == 0) {
        sequence->drawing = 0;
    }
}

// Takes one sequence of the oldest plan over the line; returns whether an event was written.
static bool commit_sequence(Scheduler *scheduler, uint32_t index, const StepSample *sample,
                            bool failed, SchedulerEvent *event) {
    const Plan *plan = &scheduler->plans[scheduler->plan_oldest];
    const BatchSequence *row = &plan->sequences[index];
    uint32_t slot = plan->slots[index];
    Sequence *sequence = &scheduler->slots[slot];
    bool dead = is_dead(scheduler, slot, row);
    if (sched_handle(scheduler, slot) == row->tag) {
        leave_plan(scheduler, sequence);
    }
    if (dead) {
        scheduler->stats.dead_rows += row->row_count;
        return false;
    }
    if (failed) {
        sequence->shareable_end = 0; // its pages hold nobody knows what
        sched_end(scheduler, slot, FINISH_FAILED);
        return false;
    }
    uint32_t before = sequence->cached_count;
    sequence->cached_count += row->row_count;
    sequence_learn(sequence, &scheduler->pages, before);
    if (sequence->cached_count >= sequence->prompt_count) {
        sched_release_held(scheduler, slot);
    }
    sequence_slide(sequence, &scheduler->pages, scheduler->options.window, sequence->cached_count);
    if (row->row_count == 1) {
        scheduler->stats.decode_rows++;
    } else {
        scheduler->stats.prefill_rows += row->row_count;
    }
    if (sequence->ending != FINISH_NONE || row->sample_rows == 0) {
        return false;
    }
    REQUIRE(sample != NULL && sample->tag == row->tag);
    sequence->tokens[sequence->token_count++] = sample->chosen.token;
    sequence->allowed = NULL;
    policy_charge(&scheduler->policy, sequence->user, sequence->priority, 1);
    event->tag = sequence->tag;
    event->handle = row->tag;
    event->finish = finish_reason(sequence, sample->chosen.token);
    event->has_token = true;
    event->chosen = sample->chosen;
    event->cached_tokens = sequence->hit_tokens;
    event->queued_ms = sequence->queued_ms;
    event->top_count = sample->top_count;
    memcpy(event->top, sample->top, sample->top_count * sizeof *event->top);
    if (event->finish != FINISH_NONE) {
        sched_release(scheduler, slot);
    }
    return true;
}

static size_t sweep_ending(Scheduler *scheduler, SchedulerEvent *events, size_t events_max) {
    size_t count = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < scheduler->ending.count; i++) {
        uint32_t slot = scheduler->ending.slots[i];
        Sequence *sequence = &scheduler->slots[slot];
        if (!sequence->ending_listed) {
            continue; // it ended by itself in this step
        }
        if (count == events_max ||
            sequence_planned(sequence) > 0) { // a step under way reads its media
            scheduler->ending.slots[kept++] = slot;
            continue;
        }
        events[count++] = (SchedulerEvent){.tag = sequence->tag,
                                           .handle = sched_handle(scheduler, slot),
                                           .finish = sequence->ending};
        sched_release(scheduler, slot);
    }
    scheduler->ending.count = kept;
    return count;
}

// Takes the oldest plan, and closes it.
static size_t commit_plan(Scheduler *scheduler, const StepResult *result, SchedulerEvent *events) {
    const Plan *plan = &scheduler->plans[scheduler->plan_oldest];
    const Batch *batch = &plan->batch;
    size_t count = 0;
    uint32_t sample = 0;
    for (uint32_t i = 0; i < batch->sequence_count; i++) {
        const StepSample *drawn = NULL;
        if (result != NULL && plan->sequences[i].sample_rows > 0) {
            REQUIRE(sample < result->sample_count);
            drawn = &result->samples[sample++];
        }
        count += commit_sequence(scheduler, i, drawn, result == NULL, &events[count]);
    }
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        for (uint32_t i = 0; i < batch->copy_count[kind]; i++) {
            kv_pool_give(&scheduler->pages.pools[kind], plan->copy_from[kind][i]);
        }
    }
    scheduler->plan_oldest = (scheduler->plan_oldest + 1) % SCHED_PLANS_MAX;
    scheduler->plan_count--;
    return count;
}

size_t sched_commit(Scheduler *scheduler, const StepResult *result, SchedulerEvent *events,
                    size_t events_max) {
    size_t count = 0;
    record_commit(scheduler, result, events_max);
    if (scheduler->plan_count > 0) {
        REQUIRE(events_max >= scheduler->plans[scheduler->plan_oldest].batch.sequence_count);
        count = commit_plan(scheduler, result, events);
    }
    sched_expire(scheduler);
    return count + sweep_ending(scheduler, events + count, events_max - count);
}
