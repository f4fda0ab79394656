// SPDX-License-Identifier: Apache-2.0
// Writes the entries of a recording (replay.h has the format) for sched.c, plan.c and commit.c.
// Each call does nothing when the scheduler is not recorded.
#ifndef SCHEDULER_RECORD_H
#define SCHEDULER_RECORD_H

#include "scheduler/state.h"

#define RECORD_MAGIC "TSRC5"

typedef enum RecordKind {
    RECORD_OPTIONS,
    RECORD_TICK,
    RECORD_USER,
    RECORD_ADD,
    RECORD_CANCEL,
    RECORD_PLAN,
    RECORD_COMMIT,
    RECORD_ALLOW,
    RECORD_KIND_COUNT
} RecordKind;

Status record_open(Scheduler *scheduler, Error *error); // E_MEMORY
void record_tick(Scheduler *scheduler, uint64_t now_ms);
void record_user(Scheduler *scheduler, uint32_t user, double weight);
void record_add(Scheduler *scheduler, const SequenceRequest *request);
void record_cancel(Scheduler *scheduler, uint64_t handle);
void record_allow(Scheduler *scheduler, uint64_t handle);
void record_plan(Scheduler *scheduler, const Batch *batch); // NULL: nothing could run
void record_commit(Scheduler *scheduler, const StepResult *result, size_t events_max);

// What a plan's entry holds: equal for equal batches.
uint64_t record_fingerprint(const Batch *batch);

#endif
