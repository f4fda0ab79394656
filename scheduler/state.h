// SPDX-License-Identifier: Apache-2.0
// The scheduler's own memory, shared by sched.c (what comes in), plan.c (what goes out) and
// commit.c (what comes of it). Nobody else includes this.
#ifndef SCHEDULER_STATE_H
#define SCHEDULER_STATE_H

#include "base/arena.h"
#include "scheduler/policy.h"
#include "scheduler/sched.h"
#include "scheduler/sequence.h"
#include "scheduler/token_store.h"

typedef struct SlotList {
    uint32_t *slots; // [slot_count]
    uint32_t count;
} SlotList;

#define NO_DEADLINE UINT64_MAX

// One step and the arrays its batch points to.
typedef struct Plan {
    Batch batch;
    int32_t *tokens;
    uint32_t *positions, *sliding_end, *row_sequence;
    BatchSequence *sequences;
    BatchImage *images; // [sequences_max * media_max]
    BatchAudio *audios; // [sequences_max * media_max]
    uint32_t *pages_out[PAGE_KIND_COUNT];
    uint32_t *copy_from[PAGE_KIND_COUNT], *copy_to[PAGE_KIND_COUNT]; // [sequences_max]
    uint32_t *slots; // [sequences_max] slot of each batch sequence
    uint32_t sample_count;
} Plan;

struct Scheduler {
    // Set by sched_open.
    SchedulerOptions options;
    uint32_t slot_count;
    Arena arena;
    Sequence *slots;
    uint16_t *holders; // [larger pool] scratch of sched_check_all
    Hash128 *keys;     // [tokens_max / KV_PAGE_TOKENS + 2] scratch of the prefix lookup
    Buffer entry;      // of the recording
    // Changed by add, tick, plan and commit.
    uint64_t now_ms;
    Plan plans[SCHED_PLANS_MAX];
    uint32_t plan_oldest, plan_count; // the open ones
    uint32_t making;                  // the plan that sched_plan fills
    bool draining;                    // the next plan waits until none is open
    TokenStore store;
    Pages pages;
    Policy policy;
    SlotList free;                // unused slots
    SlotList running;             // by rank: interactive before batch, then oldest first
    SlotList ending;              // cancelled, expired or failed, to be swept
    SlotList prefilling;          // of the plan being made: running, more than one token uncached
    uint64_t *deadlines_ms;       // [slot_count] NO_DEADLINE where there is none
    uint64_t deadline_soonest_ms; // no deadline is sooner
    uint32_t waiting_count;
    uint32_t reserved_count;
    uint64_t queued_tokens;
    uint64_t next_order;
    SchedulerStats stats;
};

static inline uint64_t sched_handle(const Scheduler *scheduler, uint32_t slot) {
    return (uint64_t)scheduler->slots[slot].generation << 32 | slot;
}

// A sequence begins to wait, before the others of its user or behind them; and waits no longer.
void sched_wait_begin(Scheduler *scheduler, uint32_t slot, bool before);
void sched_wait_end(Scheduler *scheduler, uint32_t slot);

// Marks a sequence as ending, once.
void sched_end(Scheduler *scheduler, uint32_t slot, FinishReason reason);

// Takes a sequence out of every list and gives everything back.
void sched_release(Scheduler *scheduler, uint32_t slot);

// Lets sequences that wait for `leader`'s prompt run.
void sched_release_held(Scheduler *scheduler, uint32_t leader);

// Ends sequences whose deadline has passed.
void sched_expire(Scheduler *scheduler);

bool sched_ranks_before(const Sequence *a, const Sequence *b);
void sched_list_insert_by_rank(Scheduler *scheduler, uint32_t slot);
void sched_list_remove(SlotList *list, uint32_t slot);

#endif
