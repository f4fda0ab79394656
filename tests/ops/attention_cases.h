// SPDX-License-Identifier: Apache-2.0
// The shapes that attention and rope_append are tested on, on every backend.
#ifndef TESTS_OPS_ATTENTION_CASES_H
#define TESTS_OPS_ATTENTION_CASES_H

#include "ops/paged.h"

typedef struct AttentionCase {
    const char *name;
    LayerShape shape;
    uint32_t window;
    uint32_t sequence_count;
    PagedSequence sequences[PAGED_SEQUENCES_MAX];
} AttentionCase;

// head_dim 256 and 512 are the model's, 64 and 128 the demo model's, 96 and 24 edges of the paths.
static const AttentionCase attention_cases[] = {
    {"one token", {LAYER_FULL, 2, 1, 64, false, 8}, 0, 1, {{0, 1, 0, 0}}},
    {"decode sliding", {LAYER_SLIDING, 16, 8, 256, false, 128}, 1024, 1, {{1500, 1, 0, 0}}},
    {"decode full", {LAYER_FULL, 16, 1, 512, true, 64}, 0, 1, {{700, 1, 0, 0}}},
    {"decode of a crowd",
     {LAYER_FULL, 4, 2, 128, true, 16},
     0,
     8,
     {{0, 1, 0, 0},
      {14, 1, 0, 0},
      {15, 1, 0, 0},
      {16, 1, 0, 0},
      {62, 1, 0, 0},
      {63, 1, 0, 0},
      {64, 1, 0, 0},
      {300, 1, 0, 0}}},
    {"prefill sliding", {LAYER_SLIDING, 4, 2, 64, false, 32}, 64, 1, {{0, 200, 0, 0}}},
    {"prefill full", {LAYER_FULL, 4, 2, 128, true, 16}, 0, 1, {{0, 130, 0, 0}}},
    {"prefill of the model, full", {LAYER_FULL, 16, 1, 512, true, 64}, 0, 1, {{5, 33, 0, 0}}},
    {"window edges",
     {LAYER_SLIDING, 2, 2, 64, false, 32},
     17,
     4,
     {{15, 3, 0, 0}, {16, 2, 0, 0}, {17, 20, 0, 0}, {100, 5, 0, 0}}},
    {"an image longer than the window",
     {LAYER_SLIDING, 4, 2, 64, false, 32},
     32,
     2,
     {{20, 120, 4, 100}, {0, 70, 0, 70}}},
    {"an image on a full layer stays causal",
     {LAYER_FULL, 4, 2, 64, true, 8},
     0,
     1,
     {{0, 50, 3, 40}}},
    {"mixed prefill and decode",
     {LAYER_SLIDING, 4, 2, 64, false, 32},
     128,
     3,
     {{400, 1, 0, 0}, {0, 65, 1, 63}, {127, 2, 0, 0}}},
    {"keys beside their values", {LAYER_FULL, 4, 1, 128, false, 16}, 0, 1, {{9, 9, 0, 0}}},
    {"keys beside their values", {LAYER_FULL, 4, 1, 512, false, 64}, 0, 1, {{9, 9, 0, 0}}},
    {"head_dim 256 of a full layer", {LAYER_FULL, 4, 1, 256, true, 32}, 0, 1, {{30, 9, 0, 0}}},
    {"head_dim 96", {LAYER_FULL, 3, 1, 96, true, 12}, 0, 2, {{9, 7, 0, 0}, {0, 1, 0, 0}}},
    {"head_dim without a fast path", {LAYER_FULL, 2, 1, 24, true, 3}, 0, 1, {{9, 7, 0, 0}}},
};

enum { ATTENTION_CASES = sizeof attention_cases / sizeof attention_cases[0] };

// rope_append: the model's two kinds of layer, the demo model's, edges.
static const LayerShape rope_shapes[] = {
    {LAYER_SLIDING, 16, 8, 256, false, 128}, {LAYER_FULL, 16, 1, 512, true, 64},
    {LAYER_SLIDING, 4, 2, 64, false, 32},    {LAYER_FULL, 4, 2, 128, true, 16},
    {LAYER_FULL, 2, 1, 48, true, 6}, // no fast path
};

static const PagedSequence rope_sequences[] = {{0, 1, 0, 0}, {30, 19, 2, 10}, {15, 2, 0, 0}};

enum {
    ROPE_SHAPES = sizeof rope_shapes / sizeof rope_shapes[0],
    ROPE_SEQUENCES = sizeof rope_sequences / sizeof rope_sequences[0],
};

#endif
