// SPDX-License-Identifier: Apache-2.0
// One simulated run below the server: random users, requests, floods, cancels, deadlines, limits
// and a failing card against the real stepper and scheduler, on a virtual clock. After every step
// all invariants hold; every request gets exactly one ending, with the tokens it gets alone; at the
// end nothing is held. What is wrong stops the program; sim.c prints the seed.
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "base/bytes.h"
#include "scheduler/sched.h"

typedef struct WorldReport {
    uint64_t requests, answered, cancelled, expired, failed, refused;
    uint64_t steps, rows;
    SchedulerStats scheduler;
    double virtual_ms;
    bool ahead;     // steps were planned ahead
    double busy_ms; // the card had a step
    double idle_ms; // it had none although somebody waited for an answer
} WorldReport;

// `recording` (NULL: none) takes what the scheduler is told, see scheduler/replay.h.
void world_run(uint64_t seed, Buffer *recording, WorldReport *report);

#endif
