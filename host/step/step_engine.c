// SPDX-License-Identifier: Apache-2.0
#include "host/step/step_engine.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"

void step_engine_options(StepEngine *self, StepperOptions *options) {
    options->begin = step_engine_begin;
    options->end = step_engine_end;
    options->context = self;
    options->ahead = engine_overlaps(self->engine);
}

static void step_engine_log(const StepBegun *step, uint64_t ns, Status status, const Error *error) {
    log_event(status == OK ? LOG_DEBUG : LOG_ERROR, "step",
              "rows=%u sequences=%u images=%u seconds=%.4f status=%s error=%s", step->rows,
              step->sequences, step->images, (double)ns * 1e-9, status_name(status),
              status == OK ? "" : error->text);
}

static uint64_t step_engine_from_ns(const StepEngine *self, const StepBegun *step) {
    return num_max(step->begin_ns, self->end_ns);
}

uint64_t step_engine_plan_ns(const StepEngine *self) {
    if (self->begun_count == 0) {
        return 0;
    }
    const StepBegun *step = &self->begun[0];
    return step_engine_from_ns(self, step) + step_pace_wait_ns(&self->pace, step->rows);
}

Status step_engine_begin(void *step_engine, const Batch *batch, Error *error) {
    StepEngine *self = step_engine;
    REQUIRE(self->begun_count < ENGINE_STEPS_MAX);
    const StepBegun step = {clock_ns(), batch->row_count, batch->sequence_count,
                            batch->image_count};
    Status status = engine_begin(self->engine, batch, error);
    if (status == OK) {
        self->begun[self->begun_count++] = step;
        log_event(LOG_DEBUG, "begun", "rows=%u under_way=%u", step.rows, self->begun_count);
    } else {
        step_engine_log(&step, 0, status, error);
    }
    return status;
}

Status step_engine_end(void *step_engine, StepResult *result, Error *error) {
    StepEngine *self = step_engine;
    REQUIRE(self->begun_count > 0);
    const StepBegun step = self->begun[0];
    self->begun[0] = self->begun[1];
    self->begun_count--;
    Status status = engine_end(self->engine, result, error);
    uint64_t from_ns = step_engine_from_ns(self, &step);
    self->end_ns = clock_ns();
    self->last_ns = self->end_ns - from_ns;
    self->last_rows = step.rows;
    self->busy_ns += self->last_ns;
    step_pace_note(&self->pace, step.rows, self->last_ns);
    self->steps++;
    step_engine_log(&step, self->last_ns, status, error);
    return status;
}
