// SPDX-License-Identifier: Apache-2.0
#include "model/placed.h"

#include "base/check.h"

static Status place(const Backend *backend, Matrix *matrix) {
    Matrix host = *matrix;
    return backend->device->place_matrix(backend->context, &host, matrix);
}

static Status place_floats(const Backend *backend, const float **floats, size_t count) {
    return backend->device->place_floats(backend->context, *floats, count, floats);
}

static Status place_layer(const Backend *backend, const Gemma4Config *config,
                          const LayerShape *shape, LayerWeights *layer) {
    TRY(place_floats(backend, &layer->input_norm, config->hidden));
    TRY(place_floats(backend, &layer->post_attention_norm, config->hidden));
    TRY(place_floats(backend, &layer->pre_ffn_norm, config->hidden));
    TRY(place_floats(backend, &layer->post_ffn_norm, config->hidden));
    TRY(place_floats(backend, &layer->q_norm, shape->head_dim));
    TRY(place_floats(backend, &layer->k_norm, shape->head_dim));
    TRY(place(backend, &layer->qkv));
    TRY(place(backend, &layer->o));
    TRY(place(backend, &layer->gate_up));
    return place(backend, &layer->down);
}

static Status place_vision(const Backend *backend, const Gemma4Config *config,
                           VisionWeights *vision) {
    size_t width = config->vision_hidden;
    TRY(place_floats(backend, &vision->patch_norm_weight, config->patch_values));
    TRY(place_floats(backend, &vision->patch_norm_bias, config->patch_values));
    TRY(place(backend, &vision->patch_dense));
    TRY(place_floats(backend, &vision->patch_dense_bias, width));
    TRY(place_floats(backend, &vision->dense_norm_weight, width));
    TRY(place_floats(backend, &vision->dense_norm_bias, width));
    TRY(place_floats(backend, &vision->positions, (size_t)config->position_count * 2 * width));
    TRY(place_floats(backend, &vision->position_norm_weight, width));
    TRY(place_floats(backend, &vision->position_norm_bias, width));
    return place(backend, &vision->projection);
}

// What will be placed, with room for rounding up the ten pieces of a layer.
static void expect(const Weights *host, const Backend *backend) {
    enum { LAYER_ROOM = 8 * 1024 };
    if (backend->device->expect_weights != NULL) {
        WeightsBytes bytes = weights_bytes(host);
        backend->device->expect_weights(
            backend->context, bytes.decoder + bytes.embedding + bytes.vision + bytes.audio +
                                  bytes.norms + (host->config.layer_count + 2) * LAYER_ROOM);
    }
}

Status placed_weights(const Weights *host, const Backend *backend, Weights *out) {
    const Gemma4Config *config = &host->config;
    *out = *host;
    expect(host, backend);
    TRY(place(backend, &out->embedding));
    TRY(place_floats(backend, &out->final_norm, config->hidden));
    for (uint32_t l = 0; l < config->layer_count; l++) {
        TRY(place_layer(backend, config, &config->layers[l], &out->layers[l]));
    }
    if (config->has_vision) {
        TRY(place_vision(backend, config, &out->vision));
    }
    return config->has_audio ? place(backend, &out->audio.projection) : OK;
}
