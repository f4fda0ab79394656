// SPDX-License-Identifier: Apache-2.0
// A pool of worker threads for data-parallel loops. The calling thread is worker 0 and works too,
// so a pool of n uses n processors and never more. Workers spin briefly between loops of one step
// and sleep when the engine is idle. One caller at a time; no allocation in pool_run.
#ifndef CPU_POOL_H
#define CPU_POOL_H

#include "base/status.h"

typedef struct Pool Pool;

typedef void PoolTask(void *argument, uint32_t task, uint32_t worker);

// The threads it starts stand back by `niceness` steps (base/niceness.h); the caller is left alone.
Status pool_open(uint32_t thread_count, int niceness, Pool **out, Error *error);
void pool_close(Pool *pool);
uint32_t pool_thread_count(const Pool *pool);

// Calls task(argument, i, worker) once for every i < task_count, in any order, on any worker, and
// returns when all are done. What the tasks wrote is visible to the caller.
void pool_run(Pool *pool, uint32_t task_count, PoolTask *task, void *argument);

#endif
