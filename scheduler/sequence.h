// SPDX-License-Identifier: Apache-2.0
// One sequence as the scheduler sees it: its tokens, its images, its pages and how far it has come.
//
//   free -> WAITING -> RUNNING -> free
//              ^          |
//              +----------+   preempted: pages given back, tokens kept, computed again later
//
// Invariants (asserted in sched.c, tested in tests/unit/scheduler):
//   cached_count <= token_count; while RUNNING after a commit token_count - cached_count >= 1
//   page tables cover exactly [page_skip * KV_PAGE_TOKENS, cached_count) rounded up to pages
//   a WAITING sequence holds no page
#ifndef SCHEDULER_SEQUENCE_H
#define SCHEDULER_SEQUENCE_H

#include "scheduler/kv_pool.h"
#include "scheduler/sched.h"

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
    uint32_t prompt_count;
    uint32_t new_tokens_max;
    uint32_t image_count;
    uint32_t stop_count;
    SequenceImage *images; // [images_max]
    int32_t stop_ids[SCHED_STOP_MAX];
    Sampling sampling;
    // Changed by plan and commit.
    int32_t *tokens; // [tokens_max] prompt, then output
    uint32_t token_count;
    uint32_t cached_count; // positions whose keys and values are in pages
    uint32_t planned_rows; // rows of the step being run, 0 between steps
    bool cancelled;
    PageTable tables[PAGE_KIND_COUNT];
} Sequence;

// Makes the tables cover positions [.., position_end). False when a pool has too few free pages;
// what was taken stays with the sequence and counts for the next try.
bool sequence_grow(Sequence *sequence, KvPool pools[PAGE_KIND_COUNT], uint32_t position_end);

// Gives back sliding pages that no row at `position` or later can see.
void sequence_slide(Sequence *sequence, KvPool pools[PAGE_KIND_COUNT], uint32_t window,
                    uint32_t position);

// Gives every page back; the sequence then has nothing cached.
void sequence_drop_pages(Sequence *sequence, KvPool pools[PAGE_KIND_COUNT]);

// Largest n <= want such that rows [cached_count, cached_count + n) end at no place inside an
// image.
uint32_t sequence_chunk(const Sequence *sequence, uint32_t want);

#endif
