// SPDX-License-Identifier: Apache-2.0
#include "bench/roofline.h"

#include "base/json.h"

#include <math.h>
#include <string.h>

enum { ROOFLINE_BATCH_MAX = 256 };

// Weights of the linears of all layers.
static double linear_weights(const Gemma4Config *config, Projection projection) {
    double hidden = config->hidden, sum = 0;
    for (uint32_t l = 0; l < config->layer_count; l++) {
        const LayerShape *shape = &config->layers[l];
        sum += projection == PROJECTION_ATTENTION
                   ? hidden * gemma4_qkv_rows(shape) +
                         (double)shape->head_count * shape->head_dim * hidden
                   : 3.0 * hidden * config->intermediate;
    }
    return sum;
}

static double head_weights(const Gemma4Config *config) {
    return (double)config->vocab_count * config->hidden;
}

static double vision_weights(const Gemma4Config *config) {
    return config->has_vision
               ? (double)config->vision_hidden * ((double)config->patch_values + config->hidden)
               : 0;
}

double roofline_row_ops(const Gemma4Config *config) {
    return 2.0 * (linear_weights(config, PROJECTION_ATTENTION) +
                  linear_weights(config, PROJECTION_FEED_FORWARD));
}

double roofline_head_ops(const Gemma4Config *config) {
    return 2.0 * head_weights(config);
}

double roofline_attention_ops(const Gemma4Config *config, double seen) {
    double sum = 0;
    for (uint32_t l = 0; l < config->layer_count; l++) {
        const LayerShape *shape = &config->layers[l];
        double positions = shape->kind == LAYER_SLIDING ? fmin(seen, config->window) : seen;
        sum += 4.0 * shape->head_count * shape->head_dim * positions;
    }
    return sum;
}

double roofline_kv_bytes(const Gemma4Config *config, const KvKind kv[LAYER_KIND_COUNT],
                         double tokens) {
    double sum = 0;
    for (uint32_t l = 0; l < config->layer_count; l++) {
        const LayerShape *shape = &config->layers[l];
        double positions = shape->kind == LAYER_SLIDING ? fmin(tokens, config->window) : tokens;
        double page_bytes = (double)cuda_page_bytes(kv[shape->kind], shape);
        sum += page_bytes / KV_PAGE_TOKENS * positions;
    }
    return sum;
}

static double bytes_per_weight(WeightLevel level, uint32_t group) {
    static const double plain[LEVEL_COUNT] = {4.0, 2.0, 1.0, 0.5};
    return plain[level] + (level >= LEVEL_INT8 ? 2.0 / group : 0);
}

// The embedding serves as the head and is int8 where the decoder is int4 (docs/numerics.md).
static WeightLevel head_level(const RooflinePlan *plan) {
    return plan->level == LEVEL_INT4 ? LEVEL_INT8 : plan->level;
}

// Seconds of two operations for each of `weights` weights. int8x2 multiplies twice.
static double product_s(const Card *card, const RooflinePlan *plan, Projection projection,
                        WeightLevel level, double weights) {
    ActivationKind kind = precision_kind(plan->activation, projection, level);
    double rate =
        activation_is_integer(kind) ? card->int8_tops / activation_parts(kind) : card->bf16_tflops;
    return 2.0 * weights / (rate * 1e12 * plan->compute_share);
}

// A step reads `weight_bytes` and computes `rows` rows that each see `seen` positions; `heads` of
// them sample.
typedef struct StepLoad {
    double weight_bytes, rows, seen, heads;
} StepLoad;

static double step_ms(const Gemma4Config *config, const Card *card, const RooflinePlan *plan,
                      StepLoad load) {
    double row_s = 0;
    for (Projection p = PROJECTION_ATTENTION; p <= PROJECTION_FEED_FORWARD; p++) {
        row_s += product_s(card, plan, p, plan->level, linear_weights(config, p));
    }
    double head_s = product_s(card, plan, PROJECTION_HEAD, head_level(plan), head_weights(config));
    // Attention multiplies in bf16 whatever the weights are.
    double attention_rate = card->bf16_tflops * 1e12 * plan->compute_share;
    double compute_s = load.rows * row_s + load.heads * head_s +
                       load.rows * roofline_attention_ops(config, load.seen) / attention_rate;
    double kv_bytes = load.heads * roofline_kv_bytes(config, plan->kv, load.seen);
    double memory_s =
        (load.weight_bytes + kv_bytes) / (card->memory_gbs * 1e9 * plan->bandwidth_share);
    return fmax(compute_s, memory_s) * 1e3;
}

Roofline roofline_of(const Gemma4Config *config, const Card *card, const RooflinePlan *plan,
                     uint32_t batch_asked) {
    Roofline r = {0};
    double linear_bytes =
        0.5 * roofline_row_ops(config) * bytes_per_weight(plan->level, plan->group);
    double head_bytes = head_weights(config) * bytes_per_weight(head_level(plan), plan->group);
    double vision_bytes = vision_weights(config) * bytes_per_weight(LEVEL_BF16, 0);
    r.step_bytes = linear_bytes + head_bytes;
    r.weight_bytes = r.step_bytes + vision_bytes;
    double tokens = (double)plan->prompt + plan->output;
    double pages = ceil(tokens / KV_PAGE_TOKENS) * KV_PAGE_TOKENS;
    r.request_bytes = roofline_kv_bytes(config, plan->kv, pages);
    double room = (card->memory_gib - card->kept_gib) * 1073741824.0 - r.weight_bytes;
    r.batch_max = room > r.request_bytes ? (uint32_t)(room / r.request_bytes) : 0;
    r.batch = batch_asked != 0 ? batch_asked : ROOFLINE_BATCH_MAX;
    r.batch = r.batch < r.batch_max ? r.batch : r.batch_max;

    double prompt_bytes = r.step_bytes + vision_bytes; // of a step
    double middle = plan->prompt + 0.5 * plan->output;
    double seen = 0.5 * plan->prompt; // a row of a prompt, on average
    r.decode_ms = step_ms(config, card, plan, (StepLoad){r.step_bytes, 1, middle, 1});
    r.prefill_ms = step_ms(config, card, plan, (StepLoad){prompt_bytes, plan->prompt, seen, 1});
    if (r.batch > 0) {
        double rows = (double)r.batch * plan->prompt;
        double chunks = ceil(rows / plan->chunk);
        double prompts_ms =
            step_ms(config, card, plan, (StepLoad){chunks * prompt_bytes, rows, seen, r.batch});
        r.batch_ms =
            step_ms(config, card, plan, (StepLoad){r.step_bytes, r.batch, middle, r.batch});
        r.captions_per_second = r.batch / (prompts_ms + plan->output * r.batch_ms) * 1e3;
    }
    return r;
}

// Captions a second of one row, or 0 when it is of something else.
static double row_rate(Bytes line, const Card *card, const char *setting) {
    json_t *row;
    if (json_parse(line, "results", &row, NULL) != OK) {
        return 0;
    }
    const char *gpu = json_string_value(json_object_get(row, "gpu"));
    const char *what = json_string_value(json_object_get(row, "setting"));
    bool mine = gpu != NULL && what != NULL && strcmp(gpu, card->driver_name) == 0 &&
                strcmp(what, setting) == 0;
    double rate = mine ? json_number_value(json_object_get(row, "captions_per_second")) : 0;
    json_decref(row);
    return rate;
}

double roofline_measured(Bytes rows, const Card *card, const char *setting) {
    double best = 0;
    while (rows.length > 0) {
        const uint8_t *end = memchr(rows.data, '\n', rows.length);
        size_t length = end != NULL ? (size_t)(end - rows.data) : rows.length;
        best = fmax(best, row_rate((Bytes){rows.data, length}, card, setting));
        length += end != NULL;
        rows = (Bytes){rows.data + length, rows.length - length};
    }
    return best;
}
