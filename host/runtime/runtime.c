// SPDX-License-Identifier: Apache-2.0
#include "host/runtime/runtime.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/file_write.h"
#include "base/log.h"
#include "base/num.h"
#include "cuda/plan.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEP_TOKENS_DEFAULT = 512, STEP_TEXT_TOKENS = 32, CONTEXT_TEXT_LEAST = 232 };

static Status runtime_open_tokenizer(Runtime *runtime, Error *error) {
    const TokenizerOrigin *origin = &runtime->weights->tokenizer;
    if (runtime->options.without_text) {
        return OK;
    }
    switch (origin->form) {
    case TOKENIZER_TABLES:
        return tokenizer_open_blob(origin->tables, &runtime->tokenizer, error);
    case TOKENIZER_JSON:
        TRY(tokenizer_open_json(origin->path, &runtime->tokenizer, error));
        return weights_add_tokenizer(runtime->weights, tokenizer_tables(runtime->tokenizer), error);
    default:
        log_event(LOG_WARN, "no_tokenizer", "model=%s tokens=made_up", runtime->options.model);
        return OK;
    }
}

static Status runtime_check_tokenizer(const Runtime *runtime, Error *error) {
    if (runtime->tokenizer == NULL) {
        return OK;
    }
    uint32_t tokens = tokenizer_vocab_size(runtime->tokenizer);
    if (tokens > runtime->weights->config.vocab_count) {
        return error_set(error, E_TOKENIZER,
                         "%s: the tokenizer has %u tokens, the model only %u; they do not belong "
                         "together",
                         runtime->options.model, tokens, runtime->weights->config.vocab_count);
    }
    return OK;
}

// cuBLASLt multiplies bf16 by bf16, on a GPU.
static Status runtime_check_products(const Runtime *runtime, Error *error) {
    const RuntimeOptions *options = &runtime->options;
    bool bf16 = options->activation == ENGINE_ACTIVATION_AUTO ||
                options->activation == ENGINE_ACTIVATION_BF16;
    if (!options->device.cublaslt ||
        (options->device.choice == DEVICE_CUDA && bf16 && runtime->weights->level == LEVEL_BF16)) {
        return OK;
    }
    char level[16];
    runtime_level_text(runtime, level);
    return error_set(error, E_ARGUMENT,
                     "--bf16-products cublaslt is for bf16 weights and activations on an NVIDIA "
                     "GPU, and here are %s weights%s%s; add --weights bf16 --activations bf16 "
                     "--device cuda, or leave it out",
                     level, bf16 ? "" : " with other activations",
                     options->device.choice == DEVICE_CUDA ? "" : " on the CPU");
}

Status runtime_open_weights(const RuntimeOptions *options, Runtime *out, Error *error) {
    *out = (Runtime){.options = *options};
    uint64_t begin_ns = clock_ns();
    TRY(weights_open(options->model, &options->weights, &out->weights, error));
    TRY(runtime_check_products(out, error));
    uint64_t weights_ns = clock_ns();
    TRY(runtime_open_tokenizer(out, error));
    TRY(runtime_check_tokenizer(out, error));
    log_event(LOG_INFO, "model_open",
              "model=%s identity=%s weights_seconds=%.3f tokenizer_seconds=%.3f", options->model,
              out->weights->identity, (double)(weights_ns - begin_ns) * 1e-9,
              (double)(clock_ns() - weights_ns) * 1e-9);
    return OK;
}

Status runtime_open(const RuntimeOptions *options, Runtime *out, Error *error) {
    TRY(runtime_open_weights(options, out, error));
    TRY(device_open(&options->device, &out->backend, error));
    log_event(LOG_INFO, "device_open", "device=%s", device_name(out->backend));
    return OK;
}

uint32_t runtime_image_budget(const Runtime *runtime) {
    return runtime->options.budget != 0 ? runtime->options.budget
                                        : runtime->weights->config.image_budget;
}

uint32_t runtime_context_least(const Runtime *runtime) {
    const Gemma4Config *config = &runtime->weights->config;
    uint32_t image = config->has_vision ? runtime_image_budget(runtime) : 0;
    return (uint32_t)num_min(image + CONTEXT_TEXT_LEAST, config->position_max);
}

void runtime_level_text(const Runtime *runtime, char out[16]) {
    const Weights *weights = runtime->weights;
    Buffer text = {0};
    buffer_append_text(&text, weight_level_name(weights->level));
    if (weights->group != 0) {
        buffer_printf(&text, " g%u", weights->group);
    }
    memcpy(out, text.data, num_min(text.length + 1, 16));
    out[15] = '\0';
    buffer_free(&text);
}

// Lowers the page counts until the plan fits `limit`; `least` is what one request needs.
static Status runtime_fit(Runtime *runtime, uint64_t limit, const uint32_t least[PAGE_KIND_COUNT],
                          Error *error) {
    EngineOptions *engine = &runtime->engine_options;
    runtime->plan = engine_plan(runtime->weights, runtime->backend, engine);
    if (limit == 0 || runtime->plan.total <= limit) {
        return OK;
    }
    uint64_t kv = runtime->plan.kv[PAGE_SLIDING] + runtime->plan.kv[PAGE_FULL];
    uint64_t rest = runtime->plan.total - kv;
    double share = rest < limit && kv > 0 ? (double)(limit - rest) / (double)kv : 0.0;
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        uint32_t lowered = (uint32_t)(share * engine->pages[kind]);
        if (lowered < least[kind]) {
            return error_set(
                error, E_MEMORY,
                "%llu MiB are needed (weights %llu, cache %llu, workspace %llu) and %llu may be "
                "used; lower --context, --batch or --step-tokens, take smaller --weights or "
                "a larger --group, or raise --memory",
                (unsigned long long)(runtime->plan.total >> 20),
                (unsigned long long)(runtime->plan.weights >> 20), (unsigned long long)(kv >> 20),
                (unsigned long long)(runtime->plan.workspace >> 20),
                (unsigned long long)(limit >> 20));
        }
        engine->pages[kind] = lowered;
    }
    runtime->plan = engine_plan(runtime->weights, runtime->backend, engine);
    log_event(LOG_WARN, "cache_lowered",
              "share=%.2f note=\"fewer requests than --batch may fit at once\"", share);
    return OK;
}

// Sizes and engine options as wanted, with pages for every token of `batch` requests; `least` is
// what one of them needs.
static Status runtime_lay_out(Runtime *runtime, const ServingSizes *wanted,
                              uint32_t least[PAGE_KIND_COUNT], Error *error) {
    const RuntimeOptions *options = &runtime->options;
    const Gemma4Config *config = &runtime->weights->config;
    ServingSizes *sizes = &runtime->sizes;
    *sizes = *wanted;
    if (sizes->context > config->position_max) {
        return error_set(error, E_CONTEXT,
                         "a context of %u tokens is more than the %u the model was made for; lower "
                         "--context or --max-tokens",
                         sizes->context, config->position_max);
    }
    // An image is never cut, and a row for every other sequence comes before it.
    uint32_t image_rows = sizes->media > 0 ? runtime_image_budget(runtime) : 0;
    uint32_t least_rows = (uint32_t)num_max(image_rows, 1) + sizes->batch;
    if (options->step_tokens != 0 && options->step_tokens < least_rows) {
        return error_set(
            error, E_ARGUMENT,
            "--step-tokens: %u is too few; %u sequences and an image of %u tokens need "
            "%u",
            options->step_tokens, sizes->batch, image_rows, least_rows);
    }
    if (options->step_tokens != 0) {
        sizes->rows = options->step_tokens;
    } else if (sizes->rows == 0) {
        sizes->rows = STEP_TOKENS_DEFAULT;
    }
    sizes->rows = (uint32_t)num_max(sizes->rows, least_rows + STEP_TEXT_TOKENS);
    runtime->engine_options = (EngineOptions){
        .activation = options->activation,
        .kv = options->kv,
        .rows_max = sizes->rows,
        .sequences_max = sizes->batch,
        .logits_rows_max = sizes->logits_all ? sizes->rows : 0,
    };
    const SchedulerOptions step = {.rows_max = sizes->rows, .window = config->window};
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        least[kind] = sched_pages_needed(&step, kind, sizes->context);
        uint64_t pages;
        if (!num_mul(least[kind] + 1, sizes->batch, &pages) || pages > UINT32_MAX) {
            return error_set(error, E_LIMIT,
                             "--batch %u with --context %u is more than 2^32 cache pages",
                             sizes->batch, sizes->context);
        }
        runtime->engine_options.pages[kind] = (uint32_t)pages;
    }
    return OK;
}

// Most bytes that the plan may sum up to; 0: unknown.
static uint64_t runtime_limit(const Runtime *runtime) {
    const RuntimeOptions *options = &runtime->options;
    if (options->memory_bytes != 0) {
        return options->memory_bytes;
    }
    // Of the machine's memory weights on the heap are no longer free, but are part of the plan;
    // a mapped file is not taken yet. A card takes its copy later.
    bool on_heap = options->device.choice == DEVICE_CPU && !options->weights.shape_only &&
                   weights_on_heap(runtime->weights);
    uint64_t weights = weights_bytes(runtime->weights);
    uint64_t free_bytes = device_memory_bytes(runtime->backend);
    if (free_bytes != 0 && options->device.choice == DEVICE_CUDA) {
        return cuda_plan_bytes_max(free_bytes);
    }
    return free_bytes == 0 ? 0 : free_bytes / 10 * 9 + (on_heap ? weights : 0);
}

static bool runtime_halve(uint32_t *number, uint32_t least) {
    if (least == 0 || *number <= least) {
        return false;
    }
    *number = (uint32_t)num_max(*number / 2, least);
    return true;
}

// Lowers one of the sizes that were not asked for; false: none is left.
static bool runtime_lower(const Runtime *runtime, ServingSizes *sizes) {
    if (runtime->options.step_tokens == 0 && sizes->rows == 0) {
        sizes->rows = 1; // then they are as many as an image needs
        return true;
    }
    return runtime_halve(&sizes->context, sizes->context_least) ||
           runtime_halve(&sizes->batch, sizes->batch_least);
}

Status runtime_size(Runtime *runtime, const ServingSizes *wanted, Error *error) {
    uint64_t limit = runtime_limit(runtime);
    ServingSizes sizes = *wanted;
    for (bool lowered = false;; lowered = true) {
        uint32_t least[PAGE_KIND_COUNT] = {0};
        TRY(runtime_lay_out(runtime, &sizes, least, error));
        Status status = runtime_fit(runtime, limit, least, error);
        if (status == OK && lowered) {
            log_event(LOG_WARN, "sizes_lowered",
                      "batch=%u context=%u step_tokens=%u note=\"the memory has no room for more\"",
                      runtime->sizes.batch, runtime->sizes.context, runtime->sizes.rows);
        }
        if (status != E_MEMORY || !runtime_lower(runtime, &sizes)) {
            return status;
        }
    }
}

static bool runtime_fits(const Runtime *runtime, const ServingSizes *wanted, uint32_t batch,
                         uint64_t limit) {
    Runtime probe = *runtime;
    ServingSizes sizes = *wanted;
    uint32_t least[PAGE_KIND_COUNT];
    sizes.batch = batch;
    return runtime_lay_out(&probe, &sizes, least, NULL) == OK &&
           engine_plan(probe.weights, probe.backend, &probe.engine_options).total <= limit;
}

uint32_t runtime_batch_max(const Runtime *runtime, const ServingSizes *wanted, uint32_t most) {
    uint64_t limit = runtime_limit(runtime);
    uint32_t fits = 0, beyond = most + 1;
    while (limit != 0 && fits + 1 < beyond) {
        uint32_t middle = fits + (beyond - fits) / 2;
        if (runtime_fits(runtime, wanted, middle, limit)) {
            fits = middle;
        } else {
            beyond = middle;
        }
    }
    return fits;
}

static void runtime_close_record(Runtime *runtime) {
    if (runtime->record == NULL) {
        return;
    }
    bool failed = ferror(runtime->record) != 0;
    if (fclose(runtime->record) != 0 || failed) {
        log_event(LOG_ERROR, "record", "file=%s note=\"cannot be written whole, it is cut\"",
                  runtime->options.record);
    }
    runtime->record = NULL;
}

// A recording that cannot be written is cut short, and says so once; it never stops the server.
static void runtime_record(void *context, Bytes entry) {
    Runtime *runtime = context;
    if (runtime->record != NULL &&
        fwrite(entry.data, 1, entry.length, runtime->record) != entry.length) {
        runtime_close_record(runtime);
    }
}

static Status runtime_open_record(Runtime *runtime, SchedulerOptions *scheduler, Error *error) {
    const char *path = runtime->options.record;
    if (path == NULL) {
        return OK;
    }
    int fd;
    TRY(file_write_private(path, &fd, error));
    runtime->record = fdopen(fd, "wb");
    if (runtime->record == NULL) {
        close(fd);
        return error_set(error, E_MEMORY, "%s: no memory to write it", path);
    }
    scheduler->record = runtime_record;
    scheduler->record_context = runtime;
    return OK;
}

Status runtime_start(Runtime *runtime, const ServingSizes *wanted, Error *error) {
    TRY(runtime_size(runtime, wanted, error));
    const ServingSizes *sizes = &runtime->sizes;
    uint64_t free_before = device_memory_bytes(runtime->backend);
    TRY(engine_open(runtime->weights, runtime->backend, &runtime->engine_options, &runtime->engine,
                    error));
    if (runtime->options.device.choice == DEVICE_CUDA) {
        uint64_t free_after = device_memory_bytes(runtime->backend);
        log_event(LOG_INFO, "device_memory", "planned_mib=%llu taken_mib=%llu free_mib=%llu",
                  (unsigned long long)(runtime->plan.total >> 20),
                  (unsigned long long)((free_before - free_after) >> 20),
                  (unsigned long long)(free_after >> 20));
    }
    SchedulerOptions scheduler = {
        .rows_max = sizes->rows,
        .sequences_max = sizes->batch,
        .waiting_max = sizes->waiting,
        .tokens_max = sizes->context,
        .media_max = sizes->media,
        .users_max = sizes->users,
        .window = runtime->weights->config.window,
        .prefix_per_user = runtime->options.prefix_per_user,
        .prefix_seed = runtime->options.prefix_seed,
    };
    memcpy(scheduler.pages, runtime->engine_options.pages, sizeof scheduler.pages);
    TRY(runtime_open_record(runtime, &scheduler, error));
    TRY(sched_open(&scheduler, &runtime->scheduler, error));
    log_event(LOG_INFO, "engine_open",
              "batch=%u context=%u rows=%u pages_sliding=%u pages_full=%u plan_mib=%llu",
              sizes->batch, sizes->context, sizes->rows, scheduler.pages[PAGE_SLIDING],
              scheduler.pages[PAGE_FULL], (unsigned long long)(runtime->plan.total >> 20));
    return OK;
}

void runtime_close(Runtime *runtime) {
    sched_close(runtime->scheduler);
    runtime_close_record(runtime);
    if (runtime->engine != NULL) {
        engine_close(runtime->engine);
    }
    device_close(runtime->backend);
    if (runtime->tokenizer != NULL) {
        tokenizer_close(runtime->tokenizer);
    }
    if (runtime->weights != NULL) {
        weights_close(runtime->weights);
    }
    *runtime = (Runtime){0};
}
