// SPDX-License-Identifier: Apache-2.0
// One sequence as the scheduler sees it: its tokens, its media, its pages and how far it has come.
//
//   free -> WAITING -> RUNNING -> free
//              ^          |
//              +----------+   preempted: pages given back, tokens kept, computed again later
//
// Invariants (asserted by sched_check_all, which the tests call after every step):
//   cached_count + rows planned <= token_count, one more when a plan is ahead: the row of the token
//   that the step before it draws
//   while RUNNING and not ending token_count - cached_count >= 1
//   page tables cover [page_skip * KV_PAGE_TOKENS, cached_count + rows planned) at least
//   a WAITING sequence holds no page and stands in no open plan
#ifndef SCHEDULER_SEQUENCE_H
#define SCHEDULER_SEQUENCE_H

#include "scheduler/kv_pool.h"
#include "scheduler/prefix.h"
#include "scheduler/sched.h"

#define NO_SLOT UINT32_MAX

// A list of sequences, linked by Sequence.next and .previous.
typedef struct Queue {
    uint32_t head, tail; // slots
} Queue;

typedef enum SequenceState { SEQUENCE_FREE, SEQUENCE_WAITING, SEQUENCE_RUNNING } SequenceState;

typedef struct PageTable {
    uint32_t *pages;   // [capacity]
    uint32_t count;    // entries held
    uint32_t skip;     // logical pages already given back at the front
    uint32_t capacity; // fixed at sched_open
} PageTable;

typedef struct Sequence {
    // Set by sched_add.
    SequenceState state;
    uint32_t generation; // of the slot; part of the handle
    uint64_t tag;
    uint64_t order; // arrival; smaller is older
    uint64_t added_ms;
    uint64_t after; // handle of the sequence whose prompt this one waits for, or 0
    uint32_t user;
    Priority priority;
    uint32_t prompt_count;
    uint32_t new_tokens_max;
    uint32_t media_count;
    uint32_t stop_count;
    uint32_t shareable_end; // positions from here on are never shared: a medium without a name
    SequenceMedia *media;   // [media_max]
    int32_t stop_ids[SCHED_STOP_MAX];
    Sampling sampling;
    bool constrained; // every token is drawn from a set
    int32_t *tokens;  // prompt, then output; room for prompt_count + new_tokens_max
    // Changed by plan and commit.
    const uint32_t *allowed; // the set of the next token; NULL and `constrained`: still to be told
    uint64_t waits_from;     // steps there had been when it began to wait
    uint32_t next, previous; // in its user's queue, or in `followers` of another, while WAITING
    bool held;               // WAITING for `after`, in the followers of that sequence
    Queue followers;         // held until this one's prompt is cached or it ends
    FinishReason ending;     // cancelled, expired or failed: swept at the next commit
    bool ending_listed;
    uint32_t token_count;
    uint32_t cached_count;                  // positions whose keys and values are in pages
    uint32_t planned_rows[SCHED_PLANS_MAX]; // in each open plan; 0 in the others
    uint32_t drawing; // 1 + i: its next token is sample i of the youngest plan it stands in, which
                      // is open; 0: all its tokens are known
    uint32_t preemptions;
    uint32_t charged_count; // prompt positions charged to the user: recomputing is on the house
    uint32_t hit_tokens;    // from the prefix cache at the last admission
    uint32_t queued_ms;     // from sched_add to the last admission
    bool reserved;          // pages for all it may need are set aside
    Hash128 chain;          // prefix key of the first chain_pages pages
    uint32_t chain_pages;
    PageTable tables[PAGE_KIND_COUNT];
} Sequence;

static inline uint32_t sequence_planned(const Sequence *sequence) {
    uint32_t rows = 0;
    for (int i = 0; i < SCHED_PLANS_MAX; i++) {
        rows += sequence->planned_rows[i];
    }
    return rows;
}

// Its next token must be drawn from a set that is not known yet.
static inline bool sequence_waits_for_set(const Sequence *sequence) {
    return sequence->constrained && sequence->allowed == NULL;
}

// The first position that is neither cached nor in an open plan.
static inline uint32_t sequence_next(const Sequence *sequence) {
    return sequence->cached_count + sequence_planned(sequence);
}

// The two pools and what the prefix cache knows of their pages.
typedef struct Pages {
    KvPool pools[PAGE_KIND_COUNT];
    PrefixTable prefixes[PAGE_KIND_COUNT];
    uint64_t prefix_seed; // of the keys
    bool prefix_per_user; // keys of different users differ
} Pages;

bool pages_take(Pages *pages, int kind, uint32_t *page);

// Makes the tables cover positions [.., position_end). False when a pool has too few pages; what
// was taken stays with the sequence and counts for the next try.
bool sequence_grow(Sequence *sequence, Pages *pages, uint32_t position_end);

// Gives back sliding pages that no row at `position` or later can see.
void sequence_slide(Sequence *sequence, Pages *pages, uint32_t window, uint32_t position);

// Gives every page back, last first, so that the beginnings of prompts stay cached longest.
void sequence_drop_pages(Sequence *sequence, Pages *pages);

// Largest n <= want such that n rows from sequence_next on end at no place inside a picture.
uint32_t sequence_chunk(const Sequence *sequence, uint32_t want);

// The medium that would be cut before `position` and must not be (media_is_whole), or NULL.
const SequenceMedia *sequence_cut_at(const Sequence *sequence, uint32_t position);

// The prefix key of no position; and of the first `count` positions given the key of the `done`
// before them; count - done <= 16.
Hash128 sequence_key_begin(const Sequence *sequence, const Pages *pages);
Hash128 sequence_key(const Sequence *sequence, const Pages *pages, Hash128 key, uint32_t done,
                     uint32_t count);

// Tells the prefix cache about pages that have become whole, and about tails that end at a medium's
// or the prompt's end inside the last page.
void sequence_learn(Sequence *sequence, Pages *pages, uint32_t cached_before);

#endif
