// SPDX-License-Identifier: Apache-2.0
#include "host/step_engine.h"

#include "base/clock.h"
#include "host/log.h"

Status step_engine_run(void *step_engine, const Batch *batch, StepResult *result, Error *error) {
    StepEngine *self = step_engine;
    uint64_t begin_ns = clock_ns();
    Status status = engine_step(self->engine, batch, result, error);
    self->last_ns = clock_ns() - begin_ns;
    self->last_rows = batch->row_count;
    self->busy_ns += self->last_ns;
    self->steps++;
    log_event(status == OK ? LOG_DEBUG : LOG_ERROR, "step",
              "rows=%u sequences=%u images=%u seconds=%.4f status=%s error=\"%s\"",
              batch->row_count, batch->sequence_count, batch->image_count,
              (double)self->last_ns * 1e-9, status_name(status), status == OK ? "" : error->text);
    return status;
}
