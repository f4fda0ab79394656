// SPDX-License-Identifier: Apache-2.0
// What a card could do with a model at best: the bytes and operations of a step counted from the
// shapes, divided by the card's rates. Arithmetic only; nothing here was measured, and whoever
// prints it says so. Bytes are those our kernels move: codes and scales of the weights once a step,
// keys and values of every position a row sees once a step.
#ifndef BENCH_ROOFLINE_H
#define BENCH_ROOFLINE_H

#include "base/bytes.h"
#include "host/runtime/cards.h"
#include "model/precision.h"

// How a model is run.
typedef struct RooflinePlan {
    WeightLevel level;
    uint32_t group;
    EngineActivation activation;
    KvKind kv[LAYER_KIND_COUNT];
    uint32_t prompt, output; // tokens of a request
    uint32_t chunk;          // rows of a prefill step
    // Shares of the card's rates that are reached; 1 and 1 is the floor.
    double bandwidth_share, compute_share;
} RooflinePlan;

typedef struct Roofline {
    double weight_bytes;        // resident, vision included
    double step_bytes;          // of the weights, read once a step that samples
    double request_bytes;       // keys and values of one whole request
    uint32_t batch_max;         // requests that fit, or 0 when the weights do not
    double decode_ms;           // one step of one request in mid-answer
    double prefill_ms;          // one prompt alone
    double batch_ms;            // one decode step of the batch below, in mid-answer
    uint32_t batch;             // min(batch_max, asked)
    double captions_per_second; // of that batch: all prompts, then all answers
} Roofline;

// Linear operations of a row (two per weight), the head's, and attention's for one row that sees
// `seen` positions.
double roofline_row_ops(const Gemma4Config *config);
double roofline_head_ops(const Gemma4Config *config);
double roofline_attention_ops(const Gemma4Config *config, double seen);

// Bytes of keys and values of `tokens` positions, as resident on a GPU (sliding layers stop at the
// window, keys share the values' bytes where they can be), scales included.
double roofline_kv_bytes(const Gemma4Config *config, const KvKind kv[LAYER_KIND_COUNT],
                         double tokens);

// `batch_asked` 0 = as many as fit, at most 256.
Roofline roofline_of(const Gemma4Config *config, const Card *card, const RooflinePlan *plan,
                     uint32_t batch_asked);

// Best captions a second that lines of JSON, as `tessera bench gpu` prints them, have of this card
// and setting; 0: none.
double roofline_measured(Bytes rows, const Card *card, const char *setting);

#endif
