// SPDX-License-Identifier: Apache-2.0
// Checkpoint headers from anybody. Besides not crashing: every tensor that is accepted lies inside
// the file, is found by its name, and a whole model's manifest can be compared with the result.
#include "base/check.h"
#include "weights/config.h"
#include "weights/manifest.h"
#include "weights/safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char CONFIG[] =
    "{\"model_type\":\"gemma4_unified\",\"boi_token_id\":60,\"eoi_token_id\":62,"
    "\"text_config\":{\"vocab_size\":70,\"hidden_size\":40,"
    "\"intermediate_size\":44,\"num_hidden_layers\":3,\"num_attention_heads\":4,"
    "\"num_key_value_heads\":2,\"head_dim\":6,\"num_global_key_value_heads\":1,"
    "\"global_head_dim\":10,\"attention_k_eq_v\":true,\"layer_types\":[\"sliding_attention\","
    "\"sliding_attention\",\"full_attention\"]},\"vision_config\":{\"patch_size\":2,"
    "\"mm_embed_dim\":24,\"mm_posemb_size\":12,\"output_proj_dims\":24}}";

static Manifest manifest_of_fixture(void) {
    ConfigTexts texts = {{bytes_of_text(CONFIG)}};
    Gemma4Config config;
    Manifest manifest;
    ManifestLevels levels = {LEVEL_BF16, 0, LEVEL_BF16};
    REQUIRE(config_parse(&texts, &config, NULL) == OK);
    REQUIRE(manifest_build(&config, levels, &manifest, NULL) == OK);
    return manifest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static Manifest manifest;
    if (manifest.pieces == NULL) {
        manifest = manifest_of_fixture();
    }
    TensorSource tensors;
    Error error = {0};
    Status status = safetensors_parse((Bytes){data, size}, "fuzz", &tensors, &error);
    if (status != OK) {
        REQUIRE(error.status == status && error.text[0] != 0);
        return 0;
    }
    for (size_t i = 0; i < tensors.count; i++) {
        const SourceTensor *tensor = &tensors.tensors[i];
        REQUIRE(source_find(&tensors, tensor->name) == tensor);
        if (tensor->truncated) {
            REQUIRE(tensor->data == NULL);
        } else {
            REQUIRE(tensor->data >= data && tensor->bytes <= size &&
                    (size_t)(tensor->data - data) <= size - tensor->bytes);
        }
    }
    const SourceTensor **found = calloc((size_t)manifest.count * PIECE_SOURCES_MAX, sizeof *found);
    REQUIRE(found != NULL);
    status = manifest_match(&manifest, &tensors, found, &error);
    REQUIRE(status == OK || (status == E_TENSOR && error.text[0] != 0));
    free(found);
    source_close(&tensors);
    return 0;
}
