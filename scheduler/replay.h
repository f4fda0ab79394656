// SPDX-License-Identifier: Apache-2.0
// Recordings of everything a scheduler was told (SchedulerOptions.record): options, time, users,
// requests, cancels, for whom a set of tokens came, and what each step drew, and of each plan its
// fingerprint. A scheduler depends on nothing else, so a replay makes the same plans: what happened
// on a server can be looked at on a desk with every invariant checked. Prompts are in it as token
// ids; of media only kind and name.
//
// Bytes: "TSRC5", then entries: a kind byte, then numbers as LEB128 varints; real numbers and
// hashes as they lie in memory (little endian).
#ifndef SCHEDULER_REPLAY_H
#define SCHEDULER_REPLAY_H

#include "base/bytes.h"
#include "scheduler/sched.h"

typedef struct ReplayReport {
    uint64_t entries, requests, refusals, plans, events;
    uint64_t first_difference; // number of the first plan unlike the recorded one, 0 = none
    SchedulerStats stats;      // at the end
} ReplayReport;

// Replays onto a fresh scheduler; calls sched_check_all after every plan and commit. E_ARGUMENT
// when the bytes are no recording (the sentence says where); E_MEMORY.
// For tests and the simulator.
Status replay_run(Bytes recording, ReplayReport *report, Error *error);

// A SchedulerOptions.record whose context is a Buffer.
// For tests.
void replay_record_to_buffer(void *buffer, Bytes entry);

#endif
