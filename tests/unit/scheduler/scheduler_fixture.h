// SPDX-License-Identifier: Apache-2.0
// A small scheduler, requests of text for it, and an engine that draws one token for everybody.
#ifndef TESTS_UNIT_SCHEDULER_SCHEDULER_FIXTURE_H
#define TESTS_UNIT_SCHEDULER_SCHEDULER_FIXTURE_H

#include "scheduler/sched.h"

// 64 rows, 4 sequences, 8 waiting, 256 tokens, window 48, 40 pages of each kind.
SchedulerOptions fixture_options(void);
Scheduler *fixture_open(const SchedulerOptions *options);
Scheduler *fixture_start(void); // with these options

// A prompt of zeros, the same for all.
SequenceRequest fixture_request(uint32_t tokens, uint32_t new_tokens, uint64_t tag);

uint64_t fixture_add(Scheduler *s, const SequenceRequest *request); // taken, or the test fails

// Commits `batch`, the oldest open plan: every sampling sequence draws `token`.
size_t fixture_answer(Scheduler *s, const Batch *batch, int32_t token, SchedulerEvent *events,
                      size_t events_max);

#endif
