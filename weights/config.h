// SPDX-License-Identifier: Apache-2.0
// config.json, generation_config.json and processor_config.json to Gemma4Config. Accepts the flat
// form (global_head_dim, num_global_key_value_heads) and the newer per_layer_config form, with the
// defaults that transformers uses for absent keys (its configuration_gemma4_unified.py). What we
// could not compute is refused by name rather than ignored, and so is what transformers refuses.
#ifndef WEIGHTS_CONFIG_H
#define WEIGHTS_CONFIG_H

#include "base/bytes.h"
#include "base/status.h"
#include "weights/element.h"
#include "weights/gemma4.h"

enum { CONFIG_TEXT_COUNT = 3, CONFIG_TEXT_BYTES_MAX = 4 << 20 };

// The texts in the order config, generation_config, processor_config; length 0 when absent (only
// config.json is required).
typedef struct ConfigTexts {
    Bytes text[CONFIG_TEXT_COUNT];
} ConfigTexts;

extern const char *const config_file_names[CONFIG_TEXT_COUNT];

// E_CONFIG: the text names file, key, value and rule. E_JSON, E_MEMORY. The embedding scale is left
// at full precision; config_set_source rounds it.
Status config_parse(const ConfigTexts *texts, Gemma4Config *out, Error *error);

// transformers multiplies embeddings by sqrt(hidden) cast to the type of the weights: 62.0 instead
// of 61.97 for a bf16 checkpoint with 3840 channels.
void config_set_source(Gemma4Config *config, ElementType type);

#endif
