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

static FinishReason finish_reason(const Sequence *q, int32_t token) {
    for (uint32_t i = 0; i < q->stop_count; i++) {
        if (q->stop_ids[i] == token) {
            return FINISH_STOP;
        }
    }
    return q->token_count == q->prompt_count + q->new_tokens_max ? FINISH_LENGTH : FINISH_NONE;
}

// Did the sequence end after its rows were planned? It may be another's slot by now; or it is still
// there, cancelled, and the token these rows wait for was never taken.
static bool is_dead(const Scheduler *s, uint32_t slot, const BatchSequence *row) {
    const Sequence *q = &s->slots[slot];
    if (q->state != SEQUENCE_RUNNING || sched_handle(s, slot) != row->tag) {
        return true;
    }
    bool fits = row->position_first == q->cached_count &&
                row->position_first + row->row_count <= q->token_count;
    REQUIRE(fits || q->ending != FINISH_NONE);
    return !fits;
}

static void leave_plan(Scheduler *s, Sequence *q) {
    q->planned_rows[s->plan_oldest] = 0;
    if (sequence_planned(q) == 0) {
        q->drawing = 0;
    }
}

// Takes one sequence of the oldest plan over the line; returns whether an event was written.
static bool commit_sequence(Scheduler *s, uint32_t index, const StepSample *sample, bool failed,
                            SchedulerEvent *event) {
    const Plan *plan = &s->plans[s->plan_oldest];
    const BatchSequence *row = &plan->sequences[index];
    uint32_t slot = plan->slots[index];
    Sequence *q = &s->slots[slot];
    bool dead = is_dead(s, slot, row);
    if (sched_handle(s, slot) == row->tag) {
        leave_plan(s, q);
    }
    if (dead) {
        s->stats.dead_rows += row->row_count;
        return false;
    }
    if (failed) {
        q->shareable_end = 0; // its pages hold nobody knows what
        sched_end(s, slot, FINISH_FAILED);
        return false;
    }
    uint32_t before = q->cached_count;
    q->cached_count += row->row_count;
    sequence_learn(q, &s->pages, before);
    if (q->cached_count >= q->prompt_count) {
        sched_release_held(s, slot);
    }
    sequence_slide(q, &s->pages, s->options.window, q->cached_count);
    if (row->row_count == 1) {
        s->stats.decode_rows++;
    } else {
        s->stats.prefill_rows += row->row_count;
    }
    if (q->ending != FINISH_NONE || row->sample_rows == 0) {
        return false;
    }
    REQUIRE(sample != NULL && sample->tag == row->tag);
    q->tokens[q->token_count++] = sample->chosen.token;
    q->allowed = NULL;
    policy_charge(&s->policy, q->user, q->priority, 1);
    event->tag = q->tag;
    event->handle = row->tag;
    event->finish = finish_reason(q, sample->chosen.token);
    event->has_token = true;
    event->chosen = sample->chosen;
    event->cached_tokens = q->hit_tokens;
    event->queued_ms = q->queued_ms;
    event->top_count = sample->top_count;
    memcpy(event->top, sample->top, sample->top_count * sizeof *event->top);
    if (event->finish != FINISH_NONE) {
        sched_release(s, slot);
    }
    return true;
}

static size_t sweep_ending(Scheduler *s, SchedulerEvent *events, size_t events_max) {
    size_t count = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->ending.count; i++) {
        uint32_t slot = s->ending.slots[i];
        Sequence *q = &s->slots[slot];
        if (!q->ending_listed) {
            continue; // it ended by itself in this step
        }
        if (count == events_max || sequence_planned(q) > 0) { // a step under way reads its media
            s->ending.slots[kept++] = slot;
            continue;
        }
        events[count++] =
            (SchedulerEvent){.tag = q->tag, .handle = sched_handle(s, slot), .finish = q->ending};
        sched_release(s, slot);
    }
    s->ending.count = kept;
    return count;
}

// Takes the oldest plan, and closes it.
static size_t commit_plan(Scheduler *s, const StepResult *result, SchedulerEvent *events) {
    const Plan *plan = &s->plans[s->plan_oldest];
    const Batch *b = &plan->batch;
    size_t count = 0;
    uint32_t sample = 0;
    for (uint32_t i = 0; i < b->sequence_count; i++) {
        const StepSample *drawn = NULL;
        if (result != NULL && plan->sequences[i].sample_rows > 0) {
            REQUIRE(sample < result->sample_count);
            drawn = &result->samples[sample++];
        }
        count += commit_sequence(s, i, drawn, result == NULL, &events[count]);
    }
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        for (uint32_t i = 0; i < b->copy_count[kind]; i++) {
            kv_pool_give(&s->pages.pools[kind], plan->copy_from[kind][i]);
        }
    }
    s->plan_oldest = (s->plan_oldest + 1) % SCHED_PLANS_MAX;
    s->plan_count--;
    return count;
}

size_t sched_commit(Scheduler *s, const StepResult *result, SchedulerEvent *events,
                    size_t events_max) {
    size_t count = 0;
    record_commit(s, result, events_max);
    if (s->plan_count > 0) {
        REQUIRE(events_max >= s->plans[s->plan_oldest].batch.sequence_count);
        count = commit_plan(s, result, events);
    }
    sched_expire(s);
    return count + sweep_ending(s, events + count, events_max - count);
}
