// SPDX-License-Identifier: Apache-2.0
// An engine that computes hashes instead of a network, fast enough for thousands of runs and as
// sensitive as one: what a position leaves in its page depends on its token (or picture), on the
// position before it and on two others that it may see, one in each kind of layer, all read back
// from the pages. The drawn token depends on the last position and on the whole history. So a page
// lost, shared wrongly, copied late or given away too soon changes the answer, and fake_lone_run
// says, from the request alone, what the answer must be.
//
// It also keeps the simulator's clock (card.h) and fails when told to.
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

typedef struct FakeEngine {
    FakeModel model;
    const Card *card;
    uint32_t pages[PAGE_KIND_COUNT];
    uint64_t *kv[PAGE_KIND_COUNT]; // [pages][KV_PAGE_TOKENS]
    uint64_t steps, rows, images;
    double spent_ms;       // virtual time of all steps
    uint64_t fail_at_step; // this step and all after it fail; 0 = none
} FakeEngine;

void fake_engine_open(const FakeModel *model, const Card *card, const SchedulerOptions *options,
                      FakeEngine *out);
void fake_engine_close(FakeEngine *engine);

Status fake_engine_step(void *fake_engine, const Batch *batch, StepResult *result, Error *error);

// The answer of a request that has the engine to itself: at most new_tokens_max tokens into `out`.
// Returns their number; a stop id, when drawn, is the last.
uint32_t fake_lone_run(const FakeModel *model, const SequenceRequest *request, int32_t *out);

#endif
