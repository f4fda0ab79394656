// SPDX-License-Identifier: Apache-2.0
// Every invariant of the scheduler, walked from outside in: docs/scheduler.md lists them with the
// function here that asserts each. Called by tests and the simulator after every plan and commit.
#include "base/check.h"
#include "base/num.h"
#include "scheduler/state.h"

#include <string.h>

static const Plan *open_plan(const Scheduler *s, uint32_t i) {
    return &s->plans[(s->plan_oldest + i) % SCHED_PLANS_MAX];
}

// Each page's holders are the tables it stands in and the copies that open steps make of it.
static void check_holders(const Scheduler *s, int kind) {
    const KvPool *pool = &s->pages.pools[kind];
    memset(s->holders, 0, pool->total * sizeof *s->holders);
    for (uint32_t i = 0; i < s->running.count; i++) {
        const PageTable *table = &s->slots[s->running.slots[i]].tables[kind];
        for (uint32_t j = 0; j < table->count; j++) {
            s->holders[table->pages[j]]++;
        }
    }
    for (uint32_t p = 0; p < s->plan_count; p++) {
        const Plan *plan = open_plan(s, p);
        for (uint32_t i = 0; i < plan->batch.copy_count[kind]; i++) {
            s->holders[plan->copy_from[kind][i]]++;
        }
    }
    for (uint32_t page = 0; page < pool->total; page++) {
        REQUIRE_MESSAGE(s->holders[page] == pool->pages[page].holders,
                        "kind %d page %u: %u holders, counted %u", kind, page,
                        pool->pages[page].holders, s->holders[page]);
        REQUIRE(pool->pages[page].kept == (s->pages.prefixes[kind].known[page] != 0));
    }
    kv_pool_check(pool);
    prefix_check(&s->pages.prefixes[kind]);
}

static void check_waiting(const Sequence *q) {
    REQUIRE(q->tables[PAGE_FULL].count == 0 && q->tables[PAGE_SLIDING].count == 0);
    REQUIRE(q->cached_count == 0 && sequence_planned(q) == 0 && q->drawing == 0);
}

static void check_running(const Scheduler *s, const Sequence *q) {
    // One that is ending waits for rows under way and has no next one.
    uint32_t end = q->ending == FINISH_NONE ? sequence_next(q) : q->cached_count;
    bool ahead = s->plan_count == SCHED_PLANS_MAX && q->drawing > 0;
    REQUIRE(!q->held && end <= q->token_count + ahead);
    REQUIRE(q->cached_count < q->token_count || q->ending != FINISH_NONE);
    REQUIRE(q->drawing == 0 || sequence_planned(q) > 0);
    REQUIRE(q->token_count <= q->prompt_count + q->new_tokens_max);
    REQUIRE(q->preemptions <= SCHED_PREEMPTIONS_MAX);
    REQUIRE(q->reserved == (q->preemptions == SCHED_PREEMPTIONS_MAX));
    REQUIRE(sequence_cut_at(q, q->cached_count) == NULL && sequence_cut_at(q, end) == NULL);
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        const PageTable *table = &q->tables[kind];
        REQUIRE((table->skip + table->count) * KV_PAGE_TOKENS >= end);
        uint32_t need = sched_pages_needed(&s->options, kind, q->prompt_count + q->new_tokens_max);
        REQUIRE(table->count <= need);
    }
    const PageTable *sliding = &q->tables[PAGE_SLIDING];
    REQUIRE(sliding->skip == 0 ||
            sliding->skip * KV_PAGE_TOKENS + s->options.window <= q->cached_count + 1);
}

// An open plan: its rows are those its sequences count, but for sequences that have ended.
static void check_plan(const Scheduler *s, const Plan *plan) {
    const Batch *b = &plan->batch;
    uint32_t rows = 0, samples = 0;
    REQUIRE(b->row_count > 0 && b->row_count <= s->options.rows_max);
    REQUIRE(b->sequence_count <= s->options.sequences_max);
    for (uint32_t i = 0; i < b->sequence_count; i++) {
        const BatchSequence *row = &b->sequences[i];
        const Sequence *q = &s->slots[plan->slots[i]];
        bool live = q->state != SEQUENCE_FREE && sched_handle(s, plan->slots[i]) == row->tag;
        REQUIRE(!live || q->state == SEQUENCE_RUNNING);
        REQUIRE(!live || q->planned_rows[plan - s->plans] == row->row_count);
        REQUIRE(live || plan == open_plan(s, 0)); // it ended when the one before was committed
        REQUIRE(row->row_first == rows);
        rows += row->row_count;
        samples += row->sample_rows;
    }
    REQUIRE(rows == b->row_count && samples == plan->sample_count);
}

void sched_check_all(const Scheduler *s) {
    uint32_t counts[SEQUENCE_RUNNING + 1] = {0}, ending = 0, reserved = 0;
    uint64_t queued = 0, stored = 0;
    for (uint32_t slot = 0; slot < s->slot_count; slot++) {
        const Sequence *q = &s->slots[slot];
        counts[q->state]++;
        if (q->state == SEQUENCE_FREE) {
            REQUIRE(s->deadlines_ms[slot] == NO_DEADLINE && !q->ending_listed);
            continue;
        }
        REQUIRE(s->deadlines_ms[slot] >= s->deadline_soonest_ms);
        stored += token_store_block(q->prompt_count + q->new_tokens_max);
        queued += q->state == SEQUENCE_WAITING ? q->token_count : 0;
        ending += q->ending_listed;
        reserved += q->reserved;
        REQUIRE((q->ending != FINISH_NONE) == q->ending_listed);
        if (q->state == SEQUENCE_WAITING) {
            check_waiting(q);
        } else {
            check_running(s, q);
        }
    }
    REQUIRE(counts[SEQUENCE_RUNNING] == s->running.count &&
            counts[SEQUENCE_WAITING] == s->waiting_count && counts[SEQUENCE_FREE] == s->free.count);
    REQUIRE(queued == s->queued_tokens && ending == s->ending.count &&
            reserved == s->reserved_count);
    REQUIRE(s->running.count <= s->options.sequences_max);
    for (uint32_t i = 1; i < s->running.count; i++) {
        REQUIRE(
            sched_ranks_before(&s->slots[s->running.slots[i - 1]], &s->slots[s->running.slots[i]]));
    }
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        check_holders(s, kind);
    }
    token_store_check(&s->store, stored);
    policy_check(&s->policy, s->slots, s->slot_count);
    for (uint32_t i = 0; i < s->plan_count; i++) {
        check_plan(s, open_plan(s, i));
    }
}
