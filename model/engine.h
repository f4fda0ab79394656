// SPDX-License-Identifier: Apache-2.0
// The waist between the server side and the network: open, begin a step, end it, close. No device
// type in it. One Engine belongs to one thread (the step thread).
//
// Steps run in the order of their beginning, each after all that the one before it reads and
// writes. So the next one may be begun while one is under way, with rows whose token the first one
// has yet to draw (Batch.tokens) and pages that it was the last to use.
//
// The Engine owns the KV store behind the page numbers, the workspace and the device copy of the
// weights. It trusts a Batch (the scheduler's promise) and never sees a socket, a clock or a queue.
#ifndef MODEL_ENGINE_H
#define MODEL_ENGINE_H

#include "base/bytes.h"
#include "base/status.h"
#include "scheduler/batch.h"
#include "weights/weights.h"

typedef struct Engine Engine;
struct Backend;

// What the linears read (model/precision.h has the rule).
typedef enum EngineActivation {
    ENGINE_ACTIVATION_AUTO, // int8 for int8 and int4 weights, bf16 for bf16, f32 for f32
    ENGINE_ACTIVATION_F32,
    ENGINE_ACTIVATION_BF16,
    ENGINE_ACTIVATION_INT8,
    ENGINE_ACTIVATION_INT8X2, // 15 bits in two int8 products
    ENGINE_ACTIVATION_MIXED,  // int8x2 for q, k, v and o, int8 elsewhere
    ENGINE_ACTIVATION_COUNT
} EngineActivation;

// "auto", "f32", "bf16", "int8", "int8x2", "mixed"; ENGINE_ACTIVATION_COUNT for any other name.
EngineActivation engine_activation_named(const char *name);
const char *engine_activation_name(EngineActivation setting);

typedef enum EngineKv {
    ENGINE_KV_BF16,
    ENGINE_KV_F32,      // truth
    ENGINE_KV_INT8,     // sliding layers int8, full layers bf16
    ENGINE_KV_INT8_ALL, // all layers int8
    ENGINE_KV_COUNT
} EngineKv;

// "bf16", "f32", "int8", "int8-all"; ENGINE_KV_COUNT for any other name.
EngineKv engine_kv_named(const char *name);
const char *engine_kv_name(EngineKv setting);

typedef struct EngineOptions {
    EngineActivation activation;
    EngineKv kv;              // what keys and values are kept in
    bool eager;               // never replay recorded steps, where the backend has them
    uint32_t rows_max;        // rows of one step; at least the largest image, 1,122 for budget 1120
    uint32_t sequences_max;   // sequences of one step
    uint32_t samples_max;     // rows sampled in one step; at least sequences_max
    uint32_t logits_rows_max; // rows whose logits are made at once; 0 = samples_max
    uint32_t pages[PAGE_KIND_COUNT]; // pages of each kind in the KV store
} EngineOptions;

// Predicted bytes, line by line, before anything is taken.
typedef struct MemoryPlan {
    uint64_t weights, kv[PAGE_KIND_COUNT], workspace, total;
    uint64_t page_bytes[PAGE_KIND_COUNT]; // of one page over all layers of its kind
    uint64_t host; // of the host's memory, for what steps send and get; no part of the total
} MemoryPlan;

MemoryPlan engine_plan(const Weights *weights, const struct Backend *backend,
                       const EngineOptions *options);

// `weights` and `backend` must outlive the engine and stay the caller's. E_MEMORY names the plan's
// sum and what to lower; E_ARGUMENT names the option.
Status engine_open(const Weights *weights, const struct Backend *backend,
                   const EngineOptions *options, Engine **out, Error *error);
void engine_close(Engine *engine); // waits for the steps under way

enum { ENGINE_STEPS_MAX = 2 }; // begun and not ended

// Begins a step. An error begins nothing. A batch is read by this call alone, save that all_logits
// is only filled when the step has ended.
Status engine_begin(Engine *engine, const Batch *batch, Error *error);

// Ends the oldest step under way: waits until it is done and fills `result` (result->samples is the
// caller's array). After an error the step has ended too, without a result.
//
// After a device fault, whichever of the two found it, the engine stays failed: each of them
// returns the same Status from then on, and every step that was begun is still to be ended.
Status engine_end(Engine *engine, StepResult *result, Error *error);

// Whether engine_begin returns before the work is done. Where it does not, a step begun ahead only
// holds back the tokens of the one before it.
bool engine_overlaps(const Engine *engine);

// A step begun and ended, with none under way.
Status engine_step(Engine *engine, const Batch *batch, StepResult *result, Error *error);

#endif
