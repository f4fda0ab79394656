// SPDX-License-Identifier: Apache-2.0
// The stepper's step on the real engine: runs it, measures it, logs it.
#ifndef HOST_STEP_ENGINE_H
#define HOST_STEP_ENGINE_H

#include "host/stepper.h"
#include "model/engine.h"

typedef struct StepEngine {
    Engine *engine;
    uint64_t steps;
    uint64_t busy_ns; // of all steps
    uint64_t last_ns; // of the last one
    uint32_t last_rows;
} StepEngine;

Status step_engine_run(void *step_engine, const Batch *batch, StepResult *result, Error *error);

#endif
