// SPDX-License-Identifier: Apache-2.0
// The stepper's begin and end on the real engine: runs the steps, measures them, logs them. A
// step's time is what the engine was busy with it: from its begin, or from the end of the step
// before it when that was still under way, to its end.
#ifndef HOST_STEP_STEP_ENGINE_H
#define HOST_STEP_STEP_ENGINE_H

#include "host/step/step_pace.h"
#include "host/step/stepper.h"
#include "model/engine.h"

typedef struct StepBegun {
    uint64_t begin_ns;
    uint32_t rows, sequences, images;
} StepBegun;

typedef struct StepEngine {
    Engine *engine;
    StepBegun begun[ENGINE_STEPS_MAX]; // under way, oldest first
    uint32_t begun_count;
    uint64_t end_ns; // of the last step that ended
    uint64_t steps;
    uint64_t busy_ns; // of all steps
    uint64_t last_ns; // of the last one
    uint32_t last_rows;
    StepPace pace;
} StepEngine;

// A Stepper's options on `self`, which must not move afterwards: begin, end, and ahead where the
// engine overlaps.
void step_engine_options(StepEngine *self, StepperOptions *options);

// On clock_ns: when the step behind the one under way should be planned; 0 = at once.
uint64_t step_engine_plan_ns(const StepEngine *self);

Status step_engine_begin(void *step_engine, const Batch *batch, Error *error);
Status step_engine_end(void *step_engine, StepResult *result, Error *error);

#endif
