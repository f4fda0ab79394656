// SPDX-License-Identifier: Apache-2.0
// What makes the program `tessera_failing` out of tessera: functions that the linker wraps. Without
// the variables below it is tessera.
//   TESSERA_TEST_GATES    a folder of gates (gate.h), so that a test can make work last: "open" is
//                         passed before an engine is opened, "step" before each step ends, "prep"
//                         before a request is prepared.
//   TESSERA_TEST_FAIL_AT  from this step on the engine fails, as a lost GPU does.
//   TESSERA_TEST_AHEAD    the engine says that it overlaps, so that two steps are under way.
#include "host/request/prep.h"
#include "model/engine.h"
#include "tests/live/gate.h"

#include <stdlib.h>

// As they are declared, so that a wrapper never has another type.
__typeof__(engine_open) __real_engine_open, __wrap_engine_open;
__typeof__(engine_step) __real_engine_step, __wrap_engine_step;
__typeof__(engine_end) __real_engine_end, __wrap_engine_end;
__typeof__(engine_overlaps) __real_engine_overlaps, __wrap_engine_overlaps;
__typeof__(prep_run) __real_prep_run, __wrap_prep_run;

void __wrap_prep_run(Prep *prep, Request *request) {
    gate_pass("prep");
    __real_prep_run(prep, request);
}

Status __wrap_engine_open(const Weights *weights, const struct Backend *backend,
                          const EngineOptions *options, Engine **out, Error *error) {
    gate_pass("open");
    return __real_engine_open(weights, backend, options, out, error);
}

bool __wrap_engine_overlaps(const Engine *engine) {
    return getenv("TESSERA_TEST_AHEAD") != NULL || __real_engine_overlaps(engine);
}

Status __wrap_engine_step(Engine *engine, const Batch *batch, StepResult *result, Error *error) {
    gate_pass("step");
    return __real_engine_step(engine, batch, result, error);
}

Status __wrap_engine_end(Engine *engine, StepResult *result, Error *error) {
    static unsigned long steps;
    const char *fail_at = getenv("TESSERA_TEST_FAIL_AT");
    gate_pass("step");
    Status status = __real_engine_end(engine, result, error);
    if (fail_at != NULL && ++steps >= strtoul(fail_at, NULL, 10)) {
        result->sample_count = 0;
        return error_set(error, E_DEVICE, "the test ends the engine at step %lu", steps);
    }
    return status;
}
