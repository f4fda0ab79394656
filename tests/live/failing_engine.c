// SPDX-License-Identifier: Apache-2.0
// The engine of the program `tessera_failing`, which is tessera with two functions wrapped by the
// linker. From step TESSERA_TEST_FAIL_AT on it fails, as a lost GPU does; with TESSERA_TEST_AHEAD
// it says that it overlaps, so that two steps are under way. Without the variables it is the
// engine.
#include "model/engine.h"

#include <stdlib.h>

Status __real_engine_end(Engine *engine, StepResult *result, Error *error);
Status __wrap_engine_end(Engine *engine, StepResult *result, Error *error);

bool __real_engine_overlaps(const Engine *engine);
bool __wrap_engine_overlaps(const Engine *engine);

bool __wrap_engine_overlaps(const Engine *engine) {
    return getenv("TESSERA_TEST_AHEAD") != NULL || __real_engine_overlaps(engine);
}

Status __wrap_engine_end(Engine *engine, StepResult *result, Error *error) {
    static unsigned long steps;
    const char *fail_at = getenv("TESSERA_TEST_FAIL_AT");
    Status status = __real_engine_end(engine, result, error);
    if (fail_at != NULL && ++steps >= strtoul(fail_at, NULL, 10)) {
        result->sample_count = 0;
        return error_set(error, E_DEVICE, "the test ends the engine at step %lu", steps);
    }
    return status;
}
