// SPDX-License-Identifier: Apache-2.0
// Offline work: many requests from a source through prep threads and the step loop to a sink. The
// calling thread is the step thread and makes all callbacks but PrepRules.wanted. At most
// sizes.batch + sizes.waiting requests exist at a time, which bounds the memory of decoded
// pictures.
//
//   next -> [queue] -> prep threads -> [queue] -> step loop -> finished
#ifndef HOST_ASKING_RUNNER_H
#define HOST_ASKING_RUNNER_H

#include "host/asking/step_loop.h"
#include "host/request/prep.h"

typedef struct RunnerOptions {
    Runtime *runtime;
    uint32_t prep_threads; // at least 1
    PrepRules prep;
    bool (*next)(void *context, Request *request); // fills the question; false: no more
    // May be NULL. False ends the run, as an interruption does.
    bool (*text)(void *context, Request *request, AnswerPart part, Bytes text);
    // False ends the run, as an interruption does.
    bool (*finished)(void *context, Request *request);
    void (*tick)(void *context); // after every step and wait; may be NULL
    void *context;
} RunnerOptions;

// Runs until the source is dry. E_CANCELLED: interrupted, or `text` or `finished` said so; what had
// not finished is dropped without a callback. Other errors are the engine's: nothing more can run,
// and what ran is dropped without a callback too.
Status runner_run(const RunnerOptions *options, StepLoopStats *stats, Error *error);

#endif
