// SPDX-License-Identifier: Apache-2.0
// The scheduler: which rows of which sequences the next step computes, and in which pages they
// live. A pure state machine: no device, clock, thread or socket, and no allocation after
// sched_open. The caller's loop is
//
//     sched_add ... ; while ((batch = sched_plan(s, now)) != NULL) { engine_step; sched_commit; }
//
// Every sequence is decoded in every step (decode rows first), prefill chunks fill the rest of the
// token budget, an image is never cut between two chunks. A sequence is admitted when the pages of
// its whole prompt and of one more page per kind are free; when decoding runs out of pages, the
// youngest sequence is put back to waiting and computed again later (its tokens are kept).
#ifndef SCHEDULER_SCHED_H
#define SCHEDULER_SCHED_H

#include "base/status.h"
#include "scheduler/batch.h"

#include <stddef.h>

typedef struct Scheduler Scheduler;

typedef struct SchedulerOptions {
    uint32_t rows_max;      // token budget of one step
    uint32_t sequences_max; // running at once
    uint32_t waiting_max;   // accepted but not running
    uint32_t tokens_max;    // prompt + output of one sequence
    uint32_t images_max;    // of one sequence
    uint32_t window;        // sliding window of the model
    uint32_t pages[PAGE_KIND_COUNT];
} SchedulerOptions;

// Position range of one image in a prompt and its pixels. The pixels are borrowed until the event
// that finishes the sequence (a preempted sequence needs them again).
typedef struct SequenceImage {
    uint32_t position_first;
    uint32_t patch_count;
    const uint8_t *pixels;     // [patch_count][patch_values]
    const uint16_t *positions; // [patch_count][2]
} SequenceImage;

typedef struct SequenceRequest {
    const int32_t
        *tokens; // prompt; the value at soft-token positions is the image token id. Copied.
    uint32_t token_count;
    const SequenceImage *images; // ascending, not overlapping. Copied.
    uint32_t image_count;
    uint32_t new_tokens_max; // at least 1
    const int32_t *stop_ids; // copied, at most SCHED_STOP_MAX
    uint32_t stop_count;
    Sampling sampling;
    uint64_t tag; // the caller's name for it, handed back in events
} SequenceRequest;

enum { SCHED_STOP_MAX = 16 };

typedef enum FinishReason {
    FINISH_NONE,   // not finished: one more token
    FINISH_STOP,   // a stop id was drawn (it is in the event and not part of the text)
    FINISH_LENGTH, // new_tokens_max or tokens_max reached
    FINISH_CANCEL,
} FinishReason;

typedef struct SchedulerEvent {
    uint64_t tag;
    uint64_t handle;
    FinishReason finish;
    bool has_token; // false only for FINISH_CANCEL
    TokenChoice chosen;
    uint32_t top_count;
    TokenChoice top[BATCH_LOGPROBS_MAX];
} SchedulerEvent;

typedef struct SchedulerStats {
    uint32_t running, waiting;
    uint32_t pages_used[PAGE_KIND_COUNT], pages_total[PAGE_KIND_COUNT];
    uint64_t steps, prefill_rows, decode_rows, preemptions;
} SchedulerStats;

// All memory is taken here. E_MEMORY, E_ARGUMENT.
Status sched_open(const SchedulerOptions *options, Scheduler **out, Error *error);
void sched_close(Scheduler *scheduler);

// Accepts or refuses at once. E_BUSY: waiting_max reached, try after an event. E_CONTEXT: can never
// fit (tokens_max, rows_max for an image, or the page pools); the text says which and by how much.
// E_ARGUMENT: images out of order or out of range.
Status sched_add(Scheduler *scheduler, const SequenceRequest *request, uint64_t *handle,
                 Error *error);

// Ends a sequence: one FINISH_CANCEL event at the next commit. A stale handle does nothing.
void sched_cancel(Scheduler *scheduler, uint64_t handle);

// The next step, or NULL when nothing can run. Valid until the next plan. A plan must be committed
// before the next one.
const Batch *sched_plan(Scheduler *scheduler);

// Takes the engine's samples and writes at most sequences_max + cancelled events. When the step
// failed pass result NULL: every sequence of the step is finished with FINISH_CANCEL. Returns the
// number of events, in events[0 .. events_max).
size_t sched_commit(Scheduler *scheduler, const StepResult *result, SchedulerEvent *events,
                    size_t events_max);

SchedulerStats sched_stats(const Scheduler *scheduler);

#endif
