// SPDX-License-Identifier: Apache-2.0
#include "model/mem_plan.h"

#include "model/kv_store.h"
#include "model/step.h"

MemoryPlan mem_plan_sum(const Weights *weights, const Backend *backend,
                        const EngineOptions *options) {
    const Gemma4Config *config = &weights->config;
    MemoryPlan plan = {.weights = weights_bytes(weights)};
    plan.total = plan.weights;
    for (int pages = 0; pages < PAGE_KIND_COUNT; pages++) {
        plan.page_bytes[pages] = kv_store_page_bytes(config, options->kv, pages, backend);
        plan.kv[pages] = plan.page_bytes[pages] * options->pages[pages];
        plan.total += plan.kv[pages];
    }
    WorkspaceShape shape = workspace_shape(weights, backend, options);
    plan.workspace = workspace_lay_out(&shape, config, NULL).bytes;
    plan.total += plan.workspace;
    plan.host =
        ENGINE_STEPS_MAX * (step_results_bytes(&shape) + step_staging_bytes(&shape, config));
    return plan;
}

static double gib(uint64_t bytes) {
    return (double)bytes / (1024.0 * 1024.0 * 1024.0);
}

Status mem_plan_check(const MemoryPlan *plan, const EngineOptions *options, const Backend *backend,
                      bool taking_failed, Error *error) {
    uint64_t free_bytes = backend->device->memory_bytes(backend->context);
    uint64_t needed = plan->kv[PAGE_SLIDING] + plan->kv[PAGE_FULL] + plan->workspace;
    if (!taking_failed && (free_bytes == 0 || needed <= free_bytes)) {
        return OK;
    }
    return error_set(
        error, E_MEMORY,
        "the engine needs %.2f GiB: weights %.2f, KV cache %.2f for %u sliding pages and %.2f for "
        "%u full pages, workspace %.2f for %u rows and %u sequences; beside the weights %.2f GiB "
        "are free; lower the pages of the KV cache (fewer sequences or a shorter context) or the "
        "rows of a step, or choose a smaller weight level",
        gib(plan->total), gib(plan->weights), gib(plan->kv[PAGE_SLIDING]),
        options->pages[PAGE_SLIDING], gib(plan->kv[PAGE_FULL]), options->pages[PAGE_FULL],
        gib(plan->workspace), options->rows_max, options->sequences_max, gib(free_bytes));
}
