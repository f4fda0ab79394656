// SPDX-License-Identifier: Apache-2.0
// The scheduler: which rows of which sequences the next step computes, and in which pages they
// live. A pure state machine: no device, no thread, no socket, no allocation after sched_open, and
// no clock but sched_tick. The caller's loop is
//
//     sched_tick(s, now); sched_add ...; while ((batch = sched_plan(s)) != NULL) { engine_step;
//     sched_commit; }
//
// One step may be planned ahead, while the one before it still runs: then a row may stand for a
// token that is not drawn yet (batch.h). Steps run in the order of their plans, one behind the
// other, so what a later one writes comes after what an earlier one reads.
//
//     sched_plan, begin; for (;;) { sched_plan, begin; end, sched_commit of the oldest; }
//
// What it decides, in this order, in every plan:
//   1. Every running sequence with one uncached token is decoded.
//   2. What is left of the token budget goes to prompts: running ones with more to compute and
//      waiting ones, by class, then by the least served user. A chunk never ends inside a
//      picture.
//      While one prompt is unfinished others are admitted only if they fit the step whole.
//   3. A waiting sequence is admitted while a place, budget and pages for the whole prompt (and a
//      watermark beyond it) are free. Whose turn it is: policy.h.
// When decoding runs out of pages, the running sequence of least rank (batch before interactive,
// then the youngest) goes back to waiting and is computed again later, its tokens kept. So does one
// that makes room for a waiting one (policy.h: batch for interactive, and in a class one of a user
// who runs several for one who runs nothing). After SCHED_PREEMPTIONS_MAX times it comes back only
// when pages for all it may ever need are set aside. Nothing is sent back while a step is under
// way: a plan that would have to lets the pipeline run dry, and the next one with nothing under way
// does it.
//
// A prompt that begins like one computed before (same tokens, same media) shares its pages:
// prefix.h.
#ifndef SCHEDULER_SCHED_H
#define SCHEDULER_SCHED_H

#include "base/bytes.h"
#include "base/hash.h"
#include "base/status.h"
#include "scheduler/batch.h"

#include <stddef.h>

typedef struct Scheduler Scheduler;

// Batch waits while interactive does not, but ages: see policy.h.
typedef enum Priority { PRIORITY_INTERACTIVE, PRIORITY_BATCH, PRIORITY_COUNT } Priority;

enum {
    SCHED_STOP_MAX = 16,
    SCHED_PREEMPTIONS_MAX = 3,
    SCHED_PLANS_MAX = 2, // uncommitted at a time
};

// Zero in a field marked (0 = ...) takes the default.
typedef struct SchedulerOptions {
    uint32_t rows_max;      // token budget of one step
    uint32_t sequences_max; // running at once
    uint32_t waiting_max;   // accepted but not running
    uint32_t tokens_max;    // prompt + output of one sequence
    uint32_t media_max;     // of one sequence
    uint32_t window;        // sliding window of the model
    uint32_t pages[PAGE_KIND_COUNT];
    uint32_t users_max;          // (0 = 1)
    uint64_t stored_tokens_max;  // prompt + output of everything accepted (0 = room for every slot)
    uint32_t watermark_permille; // of each pool, kept free at admission (0 = 10)
    uint32_t age_ms;      // a batch request this old competes with interactive ones (0 = 10,000)
    bool no_prefix_cache; // nothing is shared: for tests and benches
    bool prefix_per_user; // users do not share pages with each other
    // Of the names of beginnings: secret and random where users may be enemies
    uint64_t prefix_seed;
    // Takes every entry of a recording, whole, from inside the functions below (replay.h). NULL:
    // none.
    void (*record)(void *context, Bytes entry);
    void *record_context;
} SchedulerOptions;

// What stands in a prompt in the place of tokens. A film is many frames with text between them.
typedef enum MediaKind { MEDIA_PICTURE, MEDIA_SOUND, MEDIA_FILM_FRAME, MEDIA_KIND_COUNT } MediaKind;
extern const char *const media_kind_words[MEDIA_KIND_COUNT]; // "picture", "sound", "film frame"

// Every row of a picture or a frame sees all of it, so it is never cut. A sound is causal as text
// is: a step may end inside it.
static inline bool media_is_whole(MediaKind kind) {
    return kind != MEDIA_SOUND;
}

// One medium: its rows in a prompt and its bytes. The bytes are borrowed until the event that
// finishes the sequence (a preempted sequence needs them again).
typedef struct SequenceMedia {
    MediaKind kind;
    uint32_t position_first;
    uint32_t row_count;        // its soft tokens: patches, or frames of a sound
    const uint8_t *pixels;     // of a picture or a frame: [row_count][patch_values]
    const uint16_t *positions; // with the pixels: [row_count][2]
    const float *samples;      // of a sound: [row_count][audio_frame]
    Hash128 name;              // equal for equal bytes, for the prefix cache; zero = never shared
} SequenceMedia;

typedef struct SequenceRequest {
    // Prompt; the values at positions of media are not looked at. Copied.
    const int32_t *tokens;
    uint32_t token_count;
    const SequenceMedia *media; // ascending, not overlapping. Copied.
    uint32_t media_count;
    uint32_t new_tokens_max; // at least 1
    const int32_t *stop_ids; // copied, at most SCHED_STOP_MAX
    uint32_t stop_count;
    Sampling sampling;
    // The tokens that its first one is drawn from (batch.h); NULL: all, for this and every other
    // token. With a set here each further token waits for its own (sched_allow).
    const uint32_t *allowed;
    uint64_t tag;  // the caller's name for it, handed back in events
    uint32_t user; // below users_max
    Priority priority;
    uint64_t deadline_ms; // of sched_tick's clock; 0 = none
    uint64_t after; // handle of a sequence whose prompt should be cached first (n samples of one
                    // prompt: the first computes, the others share); stale or 0 = no wait
} SequenceRequest;

typedef enum FinishReason {
    FINISH_NONE,   // not finished: one more token
    FINISH_STOP,   // a stop id was drawn (it is in the event and not part of the text)
    FINISH_LENGTH, // new_tokens_max or tokens_max reached
    FINISH_CANCEL,
    FINISH_DEADLINE,
    FINISH_FAILED, // its step failed
} FinishReason;

typedef struct SchedulerEvent {
    uint64_t tag;
    uint64_t handle;
    FinishReason finish;
    bool has_token; // true for FINISH_NONE, FINISH_STOP and FINISH_LENGTH
    TokenChoice chosen;
    uint32_t cached_tokens; // prompt tokens that came from the prefix cache, at the last admission
    uint32_t queued_ms;     // from sched_add to the last admission
    uint32_t top_count;
    TokenChoice top[BATCH_LOGPROBS_MAX];
} SchedulerEvent;

typedef struct SchedulerStats {
    uint32_t running, waiting;
    uint64_t queued_tokens;
    uint32_t pages_used[PAGE_KIND_COUNT], pages_cached[PAGE_KIND_COUNT],
        pages_total[PAGE_KIND_COUNT];
    uint64_t steps, prefill_rows, decode_rows, preemptions, recomputed_tokens;
    uint64_t dead_rows; // planned ahead for a sequence that ended before their step did
    uint64_t prefix_hit_tokens, prefix_asked_tokens;
} SchedulerStats;

// Most pages of a kind that token_count tokens of one sequence can need at once. Of the options it
// reads window and rows_max.
uint32_t sched_pages_needed(const SchedulerOptions *options, int kind, uint32_t token_count);

// All memory is taken here. E_MEMORY, E_ARGUMENT.
Status sched_open(const SchedulerOptions *options, Scheduler **out, Error *error);
void sched_close(Scheduler *scheduler);

// Tells the time, in milliseconds of any clock that never goes back. Deadlines and ageing use it.
void sched_tick(Scheduler *scheduler, uint64_t now_ms);

// A user's share against other users of the class; 1 until it is told.
void sched_user_weight(Scheduler *scheduler, uint32_t user, double weight);

// Accepts or refuses at once.
//   E_BUSY      places, or room for tokens, are exhausted
//   E_CONTEXT   can never fit: tokens_max, rows_max for a picture, or the page pools
//   E_ARGUMENT  media out of order, unknown user, ...
Status sched_add(Scheduler *scheduler, const SequenceRequest *request, uint64_t *handle,
                 Error *error);

// Ends a sequence: one FINISH_CANCEL event at the next commit, or when a step under way computes
// rows of it, at that one's. A stale handle does nothing.
void sched_cancel(Scheduler *scheduler, uint64_t handle);

// The tokens that the next one of a sequence is drawn from, if its request had a set: borrowed
// until the event of that token. To be told after each event that the sequence goes on; until then
// no row of it is planned, and while it waits in the queue it keeps its turn. A stale handle does
// nothing.
void sched_allow(Scheduler *scheduler, uint64_t handle, const uint32_t *allowed);

// The next step, or NULL when nothing can run. It may be called while one plan is uncommitted; NULL
// then means: nothing can be planned before that one's commit. A Batch and its arrays stay until
// its commit, except `history` of a sequence whose event said that it is finished: that must have
// been read when its step began.
const Batch *sched_plan(Scheduler *scheduler);

// Takes the engine's samples for the oldest plan and writes events: one per sampled token, one per
// cancelled, expired or failed sequence. Samples of sequences that ended after their row was
// planned are dropped. When the step failed pass result NULL, for the plan behind it too: its
// sequences end with FINISH_FAILED. Without an open plan it only reports cancelled and expired
// sequences. events_max is at least sequences_max; what does not fit comes with the next commit.
// Returns the number of events.
size_t sched_commit(Scheduler *scheduler, const StepResult *result, SchedulerEvent *events,
                    size_t events_max);

SchedulerStats sched_stats(const Scheduler *scheduler);
// The virtual counter of a user, of both classes.
// For tests and the simulator.
double sched_user_service(const Scheduler *scheduler, uint32_t user);

// Walks everything and checks every invariant with REQUIRE; for tests and the simulator. Slow.
void sched_check_all(const Scheduler *scheduler);

#endif
