// SPDX-License-Identifier: Apache-2.0
// The architecture gemma4_unified as numbers: what config.json, generation_config.json and
// processor_config.json say, checked and flattened. Everything the network, the scheduler and the
// host need to know about a checkpoint without its tensors. Plain data, no pointers.
//
// What is easily got wrong (docs/numerics.md has the whole list): norm weights are w, not 1 + w;
// layer_scalar multiplies the whole residual stream; attention scale is 1.0; full layers have no v
// projection; proportional RoPE divides by the whole head_dim; there are three stop ids.
#ifndef WEIGHTS_GEMMA4_H
#define WEIGHTS_GEMMA4_H

#include <stdbool.h>
#include <stdint.h>

enum {
    GEMMA4_LAYERS_MAX = 128,
    GEMMA4_STOP_MAX = 16,
    GEMMA4_SUPPRESS_MAX = 64,
    GEMMA4_CHANNELS = 3,
};

typedef enum LayerKind { LAYER_SLIDING, LAYER_FULL, LAYER_KIND_COUNT } LayerKind;

typedef struct LayerShape {
    LayerKind kind;
    uint32_t head_count; // query heads; head i reads kv head i / (head_count / kv_head_count)
    uint32_t kv_head_count;
    uint32_t head_dim;      // even
    bool value_is_key;      // no v projection: v = rms(raw k projection)
    uint32_t rotated_pairs; // RoPE turns pairs (j, j + head_dim / 2) of j below it, and no others
} LayerShape;

// Angles: position * theta^(-2j / head_dim) / factor for j < rotated_pairs, 0 for the other pairs.
// Pair j is (j, j + head_dim / 2).
typedef struct RopeShape {
    double theta;
    double factor;
    double rotary_fraction; // 1.0 for "default", partial_rotary_factor for "proportional"
} RopeShape;

typedef struct GenerationDefaults {
    bool do_sample;
    float temperature;        // used when do_sample
    uint32_t top_k;           // 0 = off
    float top_p;              // 1 = off
    float min_p;              // 0 = off
    float repetition_penalty; // 1 = off
    uint32_t stop_count;
    int32_t stop_ids[GEMMA4_STOP_MAX];
    uint32_t suppress_count;
    int32_t suppress_ids[GEMMA4_SUPPRESS_MAX];
} GenerationDefaults;

typedef struct Gemma4Config {
    uint32_t hidden;
    uint32_t intermediate;
    uint32_t layer_count;
    uint32_t vocab_count;
    uint32_t window;       // keys a sliding layer sees, itself included
    uint32_t position_max; // max_position_embeddings
    LayerShape layers[GEMMA4_LAYERS_MAX];
    RopeShape rope[LAYER_KIND_COUNT];
    float rms_eps;
    float logit_softcap; // 0 = none
    float embed_scale;   // sqrt(hidden) rounded to bf16, as the original multiplies

    bool has_vision;
    uint32_t patch_side;     // 48 pixels
    uint32_t patch_values;   // patch_side^2 * 3
    uint32_t vision_hidden;  // mm_embed_dim
    uint32_t position_count; // rows of the 2-D position table
    float vision_rms_eps;    // the three LayerNorms use 1e-5, this is the weightless RMS norm
    uint32_t image_budget;   // default soft tokens an image may take: 70, 140, 280, 560 or 1120

    bool has_audio;
    uint32_t audio_frame; // samples of one soft token
    float audio_rms_eps;

    int32_t pad_id, bos_id, eos_id;
    int32_t image_begin_id, image_id, image_end_id;
    int32_t audio_begin_id, audio_id, audio_end_id;
    int32_t video_id;

    GenerationDefaults generation;
} Gemma4Config;

// Rotated pairs of a layer kind: floor(rotary_fraction * head_dim / 2).
static inline uint32_t gemma4_rotated_pairs(const RopeShape *rope, uint32_t head_dim) {
    return (uint32_t)(rope->rotary_fraction * head_dim / 2.0);
}

// Columns of the fused q, k, v projection of a layer: q rows, then k rows, then v rows (absent when
// value_is_key).
static inline uint32_t gemma4_qkv_rows(const LayerShape *shape) {
    uint32_t kv = shape->kv_head_count * shape->head_dim;
    return shape->head_count * shape->head_dim + kv + (shape->value_is_key ? 0 : kv);
}

#endif
