// SPDX-License-Identifier: Apache-2.0
// The offline step loop: prepared requests in, answers out, on a Stepper with the engine. Owns no
// thread and no queue; whoever calls it is the step thread. The caller's loop is
//
//     step_loop_add ... ; while (step_loop_busy(loop)) { step_loop_step(loop); }
#ifndef HOST_ASKING_STEP_LOOP_H
#define HOST_ASKING_STEP_LOOP_H

#include "host/asking/asker.h"
#include "host/step/step_engine.h"

typedef struct StepLoop StepLoop;

typedef struct StepLoopOptions {
    Runtime *runtime; // its engine and scheduler are used by nobody else meanwhile
    // New text of an answer as it is made, whole UTF-8. May be NULL.
    void (*text)(void *context, Request *request, AnswerPart part, Bytes text);
    // The request has its answer (status OK) or will never have one. Exactly once per add.
    void (*finished)(void *context, Request *request);
    // The logits of every row of a step, [row_count][vocabulary], of the one request that runs
    // then. NULL: they are not wanted. The engine must have been made for them.
    void (*rows)(void *context, const Request *request, const float *logits, uint32_t row_count);
    void *context;
} StepLoopOptions;

Status step_loop_open(const StepLoopOptions *options, StepLoop **out, Error *error); // E_MEMORY
// Requests that still run are dropped: the scheduler is empty afterwards, `finished` is not called.
void step_loop_close(StepLoop *loop);

// Takes a prepared request, until `finished`. What the scheduler refuses for good is an error of
// the request and `finished` is called before this returns; a busy scheduler is asked again before
// every step, in order of arrival.
void step_loop_add(StepLoop *loop, Request *request);

bool step_loop_busy(const StepLoop *loop); // requests run or wait, or a step is under way

// One step. An error is the engine's: every running request has been finished with it, and further
// steps will fail alike.
Status step_loop_step(StepLoop *loop, Error *error);
bool step_loop_failed(const StepLoop *loop); // true also inside the `finished` calls of that step

AskerStats step_loop_stats(const StepLoop *loop);

#endif
