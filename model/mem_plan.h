// SPDX-License-Identifier: Apache-2.0
// The byte budget of an engine, before anything is taken.
#ifndef MODEL_MEM_PLAN_H
#define MODEL_MEM_PLAN_H

#include "model/engine.h"
#include "model/workspace.h"

MemoryPlan mem_plan_sum(const Weights *weights, const Backend *backend,
                        const EngineOptions *options);

// E_MEMORY when the cache and the workspace exceed what the device has free now (weights are placed
// already), or always when `taking_failed`. The text has every line of the plan and what to lower.
Status mem_plan_check(const MemoryPlan *plan, const EngineOptions *options, const Backend *backend,
                      bool taking_failed, Error *error);

#endif
