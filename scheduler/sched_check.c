// SPDX-License-Identifier: Apache-2.0
// Every invariant of the scheduler, walked from outside in: docs/scheduler.md lists them with the
// function here that asserts each. Called by tests and the simulator after every plan and commit.
#include "base/check.h"
#include "base/num.h"
#include "scheduler/state.h"

#include <string.h>

static const Plan *open_plan(const Scheduler *scheduler, uint32_t i) {
    return &scheduler->plans[(scheduler->plan_oldest + i) % SCHED_PLANS_MAX];
}

// Each page's holders are the tables it stands in and the copies that open steps make of it.
static void check_holders(const Scheduler *scheduler, int kind) {
    const KvPool *pool = &scheduler->pages.pools[kind];
    memset(scheduler->holders, 0, pool->total * sizeof *scheduler->holders);
    for (uint32_t i = 0; i < scheduler->running.count; i++) {
        const PageTable *table = &scheduler->slots[scheduler->running.slots[i]].tables[kind];
        for (uint32_t j = 0; j < table->count; j++) {
            scheduler->holders[table->pages[j]]++;
        }
    }
    for (uint32_t p = 0; p < scheduler->plan_count; p++) {
        const Plan *plan = open_plan(scheduler, p);
        for (uint32_t i = 0; i < plan->batch.copy_count[kind]; i++) {
            scheduler->holders[plan->copy_from[kind][i]]++;
        }
    }
    for (uint32_t page = 0; page < pool->total; page++) {
        REQUIRE_MESSAGE(scheduler->holders[page] == pool->pages[page].holders,
                        "kind %d page %u: %u holders, counted %u", kind, page,
                        pool->pages[page].holders, scheduler->holders[page]);
        REQUIRE(pool->pages[page].kept == (scheduler->pages.prefixes[kind].known[page] != 0));
    }
    kv_pool_check(pool);
    prefix_check(&scheduler->pages.prefixes[kind]);
}

static void check_waiting(const Sequence *sequence) {
    REQUIRE(sequence->tables[PAGE_FULL].count == 0 && sequence->tables[PAGE_SLIDING].count == 0);
    REQUIRE(sequence->cached_count == 0 && sequence_planned(sequence) == 0 &&
            sequence->drawing == 0);
}

static void check_running(const Scheduler *scheduler, const Sequence *sequence) {
    // One that is ending waits for rows under way and has no next one.
    uint32_t end =
        sequence->ending == FINISH_NONE ? sequence_next(sequence) : sequence->cached_count;
    bool ahead = scheduler->plan_count == SCHED_PLANS_MAX && sequence->drawing > 0;
    REQUIRE(!sequence->held && end <= sequence->token_count + ahead);
    REQUIRE(sequence->cached_count < sequence->token_count || sequence->ending != FINISH_NONE);
    REQUIRE(sequence->drawing == 0 || sequence_planned(sequence) > 0);
    REQUIRE(sequence->token_count <= sequence->prompt_count + sequence->new_tokens_max);
    REQUIRE(sequence->preemptions <= SCHED_PREEMPTIONS_MAX);
    REQUIRE(sequence->reserved == (sequence->preemptions == SCHED_PREEMPTIONS_MAX));
    REQUIRE(sequence_cut_at(sequence, sequence->cached_count) == NULL &&
            sequence_cut_at(sequence, end) == NULL);
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        const PageTable *table = &sequence->tables[kind];
        REQUIRE((table->skip + table->count) * KV_PAGE_TOKENS >= end);
        uint32_t need = sched_pages_needed(&scheduler->options, kind,
                                           sequence->prompt_count + sequence->new_tokens_max);
        REQUIRE(table->count <= need);
    }
    const PageTable *sliding = &sequence->tables[PAGE_SLIDING];
    REQUIRE(sliding->skip == 0 || sliding->skip * KV_PAGE_TOKENS + scheduler->options.window <=
                                      sequence->cached_count + 1);
}

// An open plan: its rows are those its sequences count, but for sequences that have ended.
static void check_plan(const Scheduler *scheduler, const Plan *plan) {
    const Batch *batch = &plan->batch;
    uint32_t rows = 0, samples = 0;
    REQUIRE(batch->row_count > 0 && batch->row_count <= scheduler->options.rows_max);
    REQUIRE(batch->sequence_count <= scheduler->options.sequences_max);
    for (uint32_t i = 0; i < batch->sequence_count; i++) {
        const BatchSequence *row = &batch->sequences[i];
        const Sequence *sequence = &scheduler->slots[plan->slots[i]];
        bool live =
            sequence->state != SEQUENCE_FREE && sched_handle(scheduler, plan->slots[i]) == row->tag;
        REQUIRE(!live || sequence->state == SEQUENCE_RUNNING);
        REQUIRE(!live || sequence->planned_rows[plan - scheduler->plans] == row->row_count);
        REQUIRE(live ||
                plan == open_plan(scheduler, 0)); // it ended when the one before was committed
        REQUIRE(row->row_first == rows);
        rows += row->row_count;
        samples += row->sample_rows;
    }
    REQUIRE(rows == batch->row_count && samples == plan->sample_count);
}

void sched_check_all(const Scheduler *scheduler) {
    uint32_t counts[SEQUENCE_RUNNING + 1] = {0}, ending = 0, reserved = 0;
    uint64_t queued = 0, stored = 0;
    for (uint32_t slot = 0; slot < scheduler->slot_count; slot++) {
        const Sequence *sequence = &scheduler->slots[slot];
        counts[sequence->state]++;
        if (sequence->state == SEQUENCE_FREE) {
            REQUIRE(scheduler->deadlines_ms[slot] == NO_DEADLINE && !sequence->ending_listed);
            continue;
        }
        REQUIRE(scheduler->deadlines_ms[slot] >= scheduler->deadline_soonest_ms);
        stored += token_store_block(sequence->prompt_count + sequence->new_tokens_max);
        queued += sequence->state == SEQUENCE_WAITING ? sequence->token_count : 0;
        ending += sequence->ending_listed;
        reserved += sequence->reserved;
        REQUIRE((sequence->ending != FINISH_NONE) == sequence->ending_listed);
        if (sequence->state == SEQUENCE_WAITING) {
            check_waiting(sequence);
        } else {
            check_running(scheduler, sequence);
        }
    }
    REQUIRE(counts[SEQUENCE_RUNNING] == scheduler->running.count &&
            counts[SEQUENCE_WAITING] == scheduler->waiting_count &&
            counts[SEQUENCE_FREE] == scheduler->free.count);
    REQUIRE(queued == scheduler->queued_tokens && ending == scheduler->ending.count &&
            reserved == scheduler->reserved_count);
    REQUIRE(scheduler->running.count <= scheduler->options.sequences_max);
    for (uint32_t i = 1; i < scheduler->running.count; i++) {
        REQUIRE(sched_ranks_before(&scheduler->slots[scheduler->running.slots[i - 1]],
                                   &scheduler->slots[scheduler->running.slots[i]]));
    }
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        check_holders(scheduler, kind);
    }
    token_store_check(&scheduler->store, stored);
    policy_check(&scheduler->policy, scheduler->slots, scheduler->slot_count);
    for (uint32_t i = 0; i < scheduler->plan_count; i++) {
        check_plan(scheduler, open_plan(scheduler, i));
    }
}
