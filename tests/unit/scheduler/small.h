// SPDX-License-Identifier: Apache-2.0
// A small scheduler, requests of text for it, and an engine that draws one token for everybody.
#ifndef TESTS_UNIT_SCHEDULER_SMALL_H
#define TESTS_UNIT_SCHEDULER_SMALL_H

#include "scheduler/sched.h"

// 64 rows, 4 sequences, 8 waiting, 256 tokens, window 48, 40 pages of each kind.
SchedulerOptions small_options(void);
Scheduler *small_open(const SchedulerOptions *options);

// A prompt of zeros, the same for all.
SequenceRequest small_request(uint32_t tokens, uint32_t new_tokens, uint64_t tag);

// Commits `batch`, the oldest open plan: every sampling sequence draws `token`.
size_t small_answer(Scheduler *s, const Batch *batch, int32_t token, SchedulerEvent *events,
                    size_t events_max);

#endif
