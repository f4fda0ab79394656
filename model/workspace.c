// SPDX-License-Identifier: Apache-2.0
#include "model/workspace.h"

#include "base/num.h"
#include "model/step.h"

enum { WORKSPACE_ALIGN = 64 };

// What 32 values of a row take, block sums included.
static size_t width(ActivationKind kind) {
    return activation_value_bytes(kind) * 32 + activation_parts(kind) * sizeof(int32_t);
}

static ActivationKind widest_activation(const Weights *weights, EngineActivation setting) {
    ActivationKind widest = precision_kind(setting, PROJECTION_HEAD, weights->embedding.level);
    for (uint32_t l = 0; l < weights->config.layer_count; l++) {
        const LayerWeights *layer = &weights->layers[l];
        const ActivationKind kinds[] = {
            precision_kind(setting, PROJECTION_ATTENTION, layer->qkv.level),
            precision_kind(setting, PROJECTION_ATTENTION, layer->o.level),
            precision_kind(setting, PROJECTION_FEED_FORWARD, layer->gate_up.level),
            precision_kind(setting, PROJECTION_FEED_FORWARD, layer->down.level),
        };
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            widest = width(kinds[k]) > width(widest) ? kinds[k] : widest;
        }
    }
    return widest;
}

// A sequence's table has each page of the pool at most once, and no more entries than positions
// ask for; two sequences may hold the same page.
static uint32_t page_entries_max(const EngineOptions *options, PageKind kind,
                                 uint32_t position_max) {
    size_t per_sequence = num_min(options->pages[kind], num_ceil_div(position_max, KV_PAGE_TOKENS));
    return (uint32_t)num_min(per_sequence * options->sequences_max, UINT32_MAX);
}

WorkspaceShape workspace_shape(const Weights *weights, const Backend *backend,
                               const EngineOptions *options) {
    const Gemma4Config *config = &weights->config;
    uint32_t samples = (uint32_t)num_max(options->samples_max, options->sequences_max);
    WorkspaceShape shape = {
        .rows = options->rows_max,
        .sequences = options->sequences_max,
        .samples = samples,
        .logits_rows = options->logits_rows_max == 0 ? samples : options->logits_rows_max,
        .scans = backend->device->scans,
        .activation = widest_activation(weights, options->activation),
        .vision = precision_kind(options->activation, PROJECTION_MEDIA,
                                 weights->vision.patch_dense.level),
        .audio =
            precision_kind(options->activation, PROJECTION_MEDIA, weights->audio.projection.level),
    };
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        shape.page_entries[kind] = page_entries_max(options, kind, config->position_max);
    }
    for (uint32_t l = 0; l < config->layer_count; l++) {
        const LayerShape *layer = &config->layers[l];
        shape.qkv_columns = (uint32_t)num_max(shape.qkv_columns, gemma4_qkv_rows(layer));
        shape.attention_columns =
            (uint32_t)num_max(shape.attention_columns, layer->head_count * layer->head_dim);
        shape.head_dim[layer->kind] = layer->head_dim;
    }
    return shape;
}

// A cursor over the memory; addresses as numbers, so that it also runs over no memory at all.
typedef struct Carver {
    uintptr_t base;
    size_t used;
    size_t highest;
} Carver;

static void *carve(Carver *carver, size_t bytes) {
    void *memory = (void *)(carver->base + carver->used); // NOLINT: a measured address is unused
    carver->used += num_round_up(bytes, WORKSPACE_ALIGN);
    carver->highest = num_max(carver->highest, carver->used);
    return memory;
}

static float *carve_floats(Carver *carver, size_t rows, size_t columns) {
    return carve(carver, rows * columns * sizeof(float));
}

static ActivationArea carve_activation(Carver *carver, size_t rows, uint32_t columns,
                                       ActivationKind kind) {
    size_t stride = precision_stride(columns), parts = activation_parts(kind);
    return (ActivationArea){
        .values = carve(carver, rows * stride * activation_value_bytes(kind)),
        .scales = carve(carver, rows * sizeof(float)),
        .block_sums = carve(carver, rows * parts * (stride / 32) * sizeof(int32_t)),
    };
}

Workspace workspace_lay_out(const WorkspaceShape *shape, const Gemma4Config *config, void *base) {
    Workspace w = {0};
    Carver carver = {.base = (uintptr_t)base};
    size_t rows = shape->rows;
    uint32_t widest =
        (uint32_t)num_max(num_max(config->hidden, config->intermediate), shape->attention_columns);
    w.drawn = carve(&carver, 2 * (size_t)shape->samples * sizeof *w.drawn);
    w.results = carve(&carver, shape->samples * sizeof *w.results);
    size_t chunks = shape->scans ? logit_chunks(config->vocab_count) : 0;
    w.suppressed = carve(&carver, chunks * sizeof *w.suppressed);
    w.step_bytes = step_bytes_max(shape);
    w.step = carve(&carver, w.step_bytes);
    w.h = carve_floats(&carver, rows, config->hidden);
    w.activation = carve_activation(&carver, rows, widest, shape->activation);

    size_t phase = carver.used;
    if (config->has_vision) {
        w.pixels = carve(&carver, rows * config->patch_values);
        w.patch_normed = carve_activation(&carver, rows, config->patch_values, shape->vision);
        w.patch_dense = carve_floats(&carver, rows, config->vision_hidden);
        w.patch_finished = carve_activation(&carver, rows, config->vision_hidden, shape->vision);
    }
    if (config->has_audio) {
        w.samples = carve_floats(&carver, rows, config->audio_frame);
        w.frame_normed = carve_activation(&carver, rows, config->audio_frame, shape->audio);
    }

    carver.used = phase;
    for (int kind = 0; kind < LAYER_KIND_COUNT; kind++) {
        w.cosine[kind] = carve_floats(&carver, rows, shape->head_dim[kind] / 2);
        w.sine[kind] = carve_floats(&carver, rows, shape->head_dim[kind] / 2);
    }
    w.wide = carve_floats(&carver, rows, num_max(shape->qkv_columns, config->intermediate));
    w.attention = carve_floats(&carver, rows, shape->attention_columns);
    w.branch = carve_floats(&carver, rows, config->hidden);

    carver.used = phase;
    w.logits = carve_floats(&carver, shape->logits_rows, config->vocab_count);
    w.chunks = carve_floats(&carver, shape->logits_rows, LOGIT_SUM_COUNT * chunks);

    w.bytes = carver.highest;
    return w;
}
