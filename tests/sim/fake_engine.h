// SPDX-License-Identifier: Apache-2.0
// An engine that computes hashes instead of a network, fast enough for thousands of runs and as
// sensitive as one: what a position leaves in its page depends on its token (or picture), on the
// position before it and on two others that it may see, one in each kind of layer, all read back
// from the pages. The drawn token depends on the last position and on the whole history. So a page
// lost, shared wrongly, copied late or given away too soon changes the answer, and fake_lone_run
// says, from the request alone, what the answer must be.
//
// A step is computed when it ends, as late as a device may: until then nobody may touch what its
// batch points to. A token named by its place among the samples of the step before is looked up
// there.
//
// It also moves the simulator's clock and fails when told to. The card works on one step after the
// other for as long as card.h says; begin takes the host's time for planning and handing out; end
// waits for the card.
#ifndef TESTS_SIM_FAKE_ENGINE_H
#define TESTS_SIM_FAKE_ENGINE_H

#include "scheduler/sched.h"
#include "tests/sim/card.h"

typedef struct FakeModel {
    uint32_t window;
    uint32_t patch_bytes;             // of one patch
    int32_t token_first, token_count; // tokens it draws, besides:
    int32_t stop_token, stop_one_in;  // drawn once in so many; 0 = never
} FakeModel;

enum { FAKE_STEPS_MAX = 2 };

typedef struct FakeStep {
    const Batch *batch;
    double begin_ms, done_ms; // of the card's work
} FakeStep;

typedef struct FakeEngine {
    FakeModel model;
    const Card *card;
    double *now_ms;          // the clock
    double host_ms;          // of one begin
    double ready_ms;         // when the card has done all that was begun
    double busy_ms, idle_ms; // of the card: steps, and the time between them
    FakeStep begun[FAKE_STEPS_MAX];
    uint32_t begun_count;
    int32_t *history; // [tokens_max] scratch: with a token that is drawn on the card
    int32_t *drawn;   // [sequences_max] by the last step that ended
    uint32_t drawn_count;
    uint32_t pages[PAGE_KIND_COUNT];
    uint64_t *kv[PAGE_KIND_COUNT]; // [pages][KV_PAGE_TOKENS]
    uint64_t steps, rows, images;
    uint64_t fail_at_step; // this step and all after it fail; 0 = none
} FakeEngine;

// Moves *now_ms.
void fake_engine_open(const FakeModel *model, const Card *card, const SchedulerOptions *options,
                      double *now_ms, FakeEngine *out);
void fake_engine_close(FakeEngine *engine);

Status fake_engine_begin(void *fake_engine, const Batch *batch, Error *error);
Status fake_engine_end(void *fake_engine, StepResult *result, Error *error);

// The answer of a request that has the engine to itself: at most new_tokens_max tokens into `out`.
// Returns their number; a stop id, when drawn, is the last.
uint32_t fake_lone_run(const FakeModel *model, const SequenceRequest *request, int32_t *out);

#endif
