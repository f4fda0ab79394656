// SPDX-License-Identifier: Apache-2.0
// Starting and stopping what serves a model, in order: weights, tokenizer, backend (runtime_open),
// then engine and scheduler (runtime_start), whose sizes the caller may choose in between, knowing
// the model. runtime_close stops whatever was started, in reverse.
#ifndef HOST_RUNTIME_RUNTIME_H
#define HOST_RUNTIME_RUNTIME_H

#include "host/runtime/device.h"
#include "host/text/tokenizer.h"
#include "model/engine.h"
#include "scheduler/sched.h"
#include "weights/weights.h"

#include <stdio.h>

typedef struct RuntimeOptions {
    const char *model;
    WeightsOptions weights;
    EngineActivation activation;
    EngineKv kv;
    DeviceOptions device;
    uint32_t batch;
    bool batch_given;      // by the caller, not by the default
    uint32_t context;      // 0 = as the command needs
    uint32_t budget;       // image tokens; 0 = the model's
    uint32_t step_tokens;  // 0 = chosen
    uint64_t memory_bytes; // 0 = of the machine nine tenths of what is free, of a GPU all but
                           // CUDA_RESERVE_BYTES
    uint64_t prefix_seed;  // of the prefix cache (scheduler/sched.h)
    bool prefix_per_user;
    bool without_text;  // all prompts are token ids: no tokenizer is opened, none need be there
    const char *record; // file that takes all the scheduler is told (scheduler/replay.h), or NULL
} RuntimeOptions;

// What engine and scheduler are made for.
typedef struct ServingSizes {
    uint32_t batch;   // sequences at once
    uint32_t waiting; // requests prepared or being prepared meanwhile
    uint32_t media;   // of one request
    uint32_t context; // tokens of one request
    uint32_t rows;    // of one step
    uint32_t users;   // who share the scheduler; 0 = one
    bool logits_all;  // the logits of every row of a step are wanted
    // What batch and context may be lowered to where memory is short; 0: they were asked for.
    uint32_t batch_least, context_least;
} ServingSizes;

typedef struct Runtime {
    RuntimeOptions options;
    Weights *weights;
    Tokenizer *tokenizer;    // NULL for synthetic models
    struct Backend *backend; // NULL: not open
    ServingSizes sizes;
    EngineOptions engine_options;
    MemoryPlan plan;
    Engine *engine;
    Scheduler *scheduler;
    FILE *record;
} Runtime;

// Weights and, unless without_text, tokenizer; runtime_open then also opens the backend.
Status runtime_open_weights(const RuntimeOptions *options, Runtime *out, Error *error);
Status runtime_open(const RuntimeOptions *options, Runtime *out, Error *error);

// Engine and scheduler sizes for `sizes` (rows 0 = chosen): fills runtime->sizes, engine_options
// and plan. Pages are as many as `batch` requests of `context` tokens need, or fewer when the
// memory does not allow them. When not even one request fits, what was not asked for is lowered:
// the rows of a step, then the context, then the batch. E_MEMORY when that does not help either;
// the text has the sums.
Status runtime_size(Runtime *runtime, const ServingSizes *sizes, Error *error);

// How many requests like those of `sizes` fit the memory whole at once, at most `most`; 0: not one,
// or the memory is unknown. Needs weights and backend.
uint32_t runtime_batch_max(const Runtime *runtime, const ServingSizes *sizes, uint32_t most);

Status runtime_start(Runtime *runtime, const ServingSizes *sizes, Error *error);
void runtime_close(Runtime *runtime); // a zero Runtime is fine

uint32_t runtime_image_budget(const Runtime *runtime);

// The shortest context worth serving: a picture, a question and a short answer.
uint32_t runtime_context_least(const Runtime *runtime);
void runtime_level_text(const Runtime *runtime, char out[16]); // "bf16", "int4 g32"

#endif
