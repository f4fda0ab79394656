// SPDX-License-Identifier: Apache-2.0
// Captioning end to end on any backend, without files: waves of requests that are all there at
// once, each a picture of random pixels, some text and an answer of a fixed length, through the
// stepper and the engine that the product runs (host/step). What a wave does not contain is the
// rest of the host's work: decoding pictures, the tokenizer, sockets.
#ifndef BENCH_CAPTIONS_H
#define BENCH_CAPTIONS_H

#include "model/engine.h"
#include "model/ops.h"

enum { CAPTIONS_BATCH_MAX = 256 };

// How requests look and how the model is run.
typedef struct CaptionsOptions {
    EngineActivation activation;
    EngineKv kv;
    uint32_t prompt, patches, output; // tokens of a request; the patches are part of the prompt
    uint32_t step_rows;               // most rows of a step
} CaptionsOptions;

// An engine with room for batch_max requests at once, and requests.
typedef struct Captions {
    CaptionsOptions options;
    const Weights *weights;
    Engine *engine;
    EngineOptions engine_options;
    MemoryPlan plan;
    uint64_t taken_bytes; // what opening took of the device's free memory; 0 = unknown
    uint32_t batch_max;
    int32_t *tokens;     // [batch_max][prompt]
    uint8_t *pixels;     // [patches][patch_values]
    uint16_t *positions; // [patches][2]
} Captions;

// Of one wave. Steps with a row of a prompt are prefill steps, the others decode steps; rates
// divide their rows by their time.
typedef struct CaptionsWave {
    uint32_t batch;
    double seconds;
    double captions_per_second;
    double prefill_tokens_per_second, decode_tokens_per_second;
    double first_token_ms_mean, first_token_ms_max;
    double decode_step_ms; // median of the steps that decode the whole batch; NAN: there was none
} CaptionsWave;

// "W4A8 kv int8": weights and activations in bits, bf16 by name.
void captions_setting(WeightLevel level, EngineActivation activation, EngineKv kv, char out[32]);

// How many requests at once a plan of at most `bytes_max` has room for, at most CAPTIONS_BATCH_MAX;
// 0: not one.
uint32_t captions_batch_max(const Weights *weights, const Backend *backend,
                            const CaptionsOptions *options, uint64_t bytes_max);

// `batch_max` of at least 1. E_MEMORY; what engine_open says.
Status captions_open(const Weights *weights, const Backend *backend, const CaptionsOptions *options,
                     uint32_t batch_max, Captions *out, Error *error);
void captions_close(Captions *captions); // a zero Captions is fine

// `batch` requests at once, at most batch_max.
Status captions_wave(const Captions *captions, uint32_t batch, CaptionsWave *out, Error *error);

#endif
