// SPDX-License-Identifier: Apache-2.0
// Config texts from anybody: config.json, generation_config.json and processor_config.json behind
// each other, separated by zero bytes. Besides not crashing: what is accepted keeps the promises of
// gemma4.h, and a manifest of it can be built.
#include "base/check.h"
#include "weights/config.h"
#include "weights/manifest.h"

#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_promises(const Gemma4Config *config) {
    REQUIRE(config->layer_count >= 1 && config->layer_count <= GEMMA4_LAYERS_MAX);
    REQUIRE(config->hidden > 0 && config->intermediate > 0 && config->vocab_count > 0);
    for (uint32_t i = 0; i < config->layer_count; i++) {
        const LayerShape *layer = &config->layers[i];
        REQUIRE(layer->kind < LAYER_KIND_COUNT && layer->head_dim % 2 == 0);
        REQUIRE(layer->kv_head_count > 0 && layer->head_count % layer->kv_head_count == 0);
        const RopeShape *rope = &config->rope[layer->kind];
        REQUIRE(gemma4_rotated_pairs(rope, layer->head_dim) <= layer->head_dim / 2);
        REQUIRE(isfinite(rope->theta) && rope->factor > 0);
    }
    REQUIRE(!config->has_vision || (config->patch_values > 0 && config->vision_hidden > 0));
    REQUIRE(!config->has_audio || config->audio_frame > 0);
    REQUIRE(config->generation.stop_count <= GEMMA4_STOP_MAX);
    REQUIRE(config->generation.suppress_count <= GEMMA4_SUPPRESS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ConfigTexts texts = {0};
    for (int i = 0; i < CONFIG_TEXT_COUNT; i++) {
        const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
        size_t length = end != NULL ? (size_t)(end - data) : size;
        texts.text[i] = (Bytes){data, length};
        length += end != NULL;
        data += length;
        size -= length;
    }
    Gemma4Config config;
    Error error = {0};
    Status status = config_parse(&texts, &config, &error);
    if (status != OK) {
        REQUIRE(error.status == status && error.text[0] != 0);
        return 0;
    }
    check_promises(&config);
    for (int level = 0; level < LEVEL_COUNT; level++) {
        ManifestLevels levels = {(WeightLevel)level, 128, LEVEL_BF16};
        Manifest manifest;
        REQUIRE(manifest_build(&config, levels, &manifest, NULL) == OK);
        uint64_t sum = 0;
        for (uint32_t i = 0; i < manifest.count; i++) {
            sum += manifest.pieces[i].bytes + manifest.pieces[i].scales_bytes;
        }
        REQUIRE(sum <= manifest.total_bytes);
        manifest_free(&manifest);
    }
    return 0;
}
