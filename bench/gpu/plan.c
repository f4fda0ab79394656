// SPDX-License-Identifier: Apache-2.0
// The plans: tables and nothing else.
#include "bench/gpu/gpu.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const GpuLinearShape shapes_12b[] = {
    {"qkv", 8192, 3840, LINEAR_PLAIN, false},         {"o", 3840, 4096, LINEAR_PLAIN, false},
    {"gate_up", 30720, 3840, LINEAR_GELU_MUL, false}, {"down", 3840, 15360, LINEAR_PLAIN, false},
    {"lm_head", 262144, 3840, LINEAR_PLAIN, true},
};

static const uint32_t rows_12b[] = {1, 8, 32, 64, 128, 512, 2048};

#define SLIDING                                                                                    \
    { LAYER_SLIDING, 16, 8, 256, false, 128 }
#define FULL                                                                                       \
    { LAYER_FULL, 16, 1, 512, true, 64 }

static const GpuAttentionCase attention_12b[] = {
    {"decode sliding", SLIDING, 409, 1, 1},   {"decode sliding", SLIDING, 409, 1, 8},
    {"decode sliding", SLIDING, 409, 1, 64},  {"decode sliding", SLIDING, 4095, 1, 1},
    {"decode sliding", SLIDING, 4095, 1, 32}, {"decode full", FULL, 409, 1, 1},
    {"decode full", FULL, 409, 1, 64},        {"decode full", FULL, 4095, 1, 1},
    {"decode full", FULL, 4095, 1, 32},       {"decode full", FULL, 32767, 1, 1},
    {"decode full", FULL, 32767, 1, 8},       {"prefill sliding", SLIDING, 0, 330, 1},
    {"prefill sliding", SLIDING, 0, 330, 6},  {"prefill sliding", SLIDING, 2048, 2048, 1},
    {"prefill full", FULL, 0, 330, 1},        {"prefill full", FULL, 0, 330, 6},
    {"prefill full", FULL, 2048, 2048, 1},
};

static const uint32_t batches_12b[] = {1, 8, 32, 64, 128, 0};

const GpuPlan gpu_plan_12b = {
    .name = "12b",
    .shapes = shapes_12b,
    .shape_count = COUNT(shapes_12b),
    .row_counts = rows_12b,
    .row_count_count = COUNT(rows_12b),
    .head_rows_max = 256,
    .attention = attention_12b,
    .attention_count = COUNT(attention_12b),
    .window = 1024,
    .group = 32,
    .arena_bytes = (size_t)5 << 29,
    .peak_rounds = 20000,
    .rounds = 7,
    .tune_launches = 8,
    .round_ms = 5,
    .model = "synthetic:gemma-4-12b",
    .prompt = 330,
    .patches = 280,
    .output = 80,
    .step_rows = 2048,
    .batches = batches_12b,
    .batch_count = COUNT(batches_12b),
    .batch_max = 256,
    .step_batches = {1, 32},
    .step_output = 16,
    .delay_rounds = 8000,
};

static const GpuLinearShape shapes_tiny[] = {
    {"qkv", 64, 128, LINEAR_PLAIN, false},
    {"gate_up", 64, 64, LINEAR_GELU_MUL, false},
    {"lm_head", 80, 128, LINEAR_PLAIN, true},
};

static const uint32_t rows_tiny[] = {1, 20};

static const GpuAttentionCase attention_tiny[] = {
    {"decode sliding", {LAYER_SLIDING, 4, 2, 64, false, 32}, 70, 1, 2},
    {"decode full", {LAYER_FULL, 4, 1, 64, true, 8}, 40, 1, 1},
    {"prefill sliding", {LAYER_SLIDING, 4, 2, 64, false, 32}, 0, 18, 1},
};

static const uint32_t batches_tiny[] = {1, 0};

const GpuPlan gpu_plan_tiny = {
    .name = "tiny",
    .shapes = shapes_tiny,
    .shape_count = COUNT(shapes_tiny),
    .row_counts = rows_tiny,
    .row_count_count = COUNT(rows_tiny),
    .head_rows_max = 8,
    .attention = attention_tiny,
    .attention_count = COUNT(attention_tiny),
    .window = 64,
    .group = 32,
    .arena_bytes = (size_t)1 << 20,
    .peak_rounds = 2,
    .rounds = 3,
    .tune_launches = 1,
    .round_ms = 0,
    .model = "synthetic:tiny",
    .prompt = 12,
    .patches = 4,
    .output = 3, // a step follows the one that ends with the first token
    .step_rows = 26,
    .batches = batches_tiny,
    .batch_count = COUNT(batches_tiny),
    .batch_max = 2,
    .step_batches = {1, 0},
    .step_output = 2,
    .delay_rounds = 1,
};
