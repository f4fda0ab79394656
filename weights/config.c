// SPDX-License-Identifier: Apache-2.0
#include "weights/config.h"

#include "base/check.h"
#include "weights/config_reader.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const config_file_names[CONFIG_TEXT_COUNT] = {"config.json", "generation_config.json",
                                                          "processor_config.json"};

// Sizes beyond these are no Gemma 4; the products of any two stay far below 64 bits.
enum {
    WIDTH_MAX = 1 << 20,
    VOCAB_MIN = 16, // more than the ten control tokens
    VOCAB_MAX = 1 << 24,
    HEADS_MAX = 1024,
    HEAD_DIM_MAX = 4096,
    POSITIONS_MAX = 1 << 30,
    PATCH_SIDE_MAX = 256,
    ID_MAX = INT32_MAX,
};

// Keys that may be absent but not null, by the object they are in.
static const char *const TEXT_NOT_NULL[] = {"attention_bias",
                                            "attention_k_eq_v",
                                            "global_head_dim",
                                            "head_dim",
                                            "hidden_activation",
                                            "hidden_size",
                                            "initializer_range",
                                            "intermediate_size",
                                            "num_attention_heads",
                                            "num_hidden_layers",
                                            "max_position_embeddings",
                                            "num_key_value_heads",
                                            "pad_token_id",
                                            "num_kv_shared_layers",
                                            "rms_norm_eps",
                                            "sliding_window",
                                            "tie_word_embeddings",
                                            "use_cache",
                                            "use_double_wide_mlp",
                                            "vocab_size",
                                            NULL};
static const char *const VISION_NOT_NULL[] = {
    "initializer_range",   "mm_embed_dim", "mm_posemb_size",
    "model_patch_size",    "patch_size",   "output_proj_dims",
    "pooling_kernel_size", "rms_norm_eps", NULL};
static const char *const AUDIO_NOT_NULL[] = {"audio_embed_dim",
                                             "audio_samples_per_token",
                                             "hidden_size",
                                             "initializer_range",
                                             "output_proj_dims",
                                             "rms_norm_eps",
                                             NULL};
static const char *const ROPE_NOT_NULL[] = {"rope_theta", "rope_type", NULL};
static const char *const PROPORTIONAL_NOT_NULL[] = {"rope_theta", "rope_type", "factor",
                                                    "partial_rotary_factor", NULL};

static const char TEXT_PLACE[] = "config.json: text_config.";

// What the architecture could do and we do not. A key that is absent or null is fine.
static void config_refuse_features(const ConfigReader *text) {
    if (config_bool(text, "enable_moe_block", false)) {
        config_refuse(text, "enable_moe_block", "mixtures of experts are not supported");
    }
    if (config_integer(text, "num_experts", 0, WIDTH_MAX, 0) > 0) {
        config_refuse(text, "num_experts", "mixtures of experts are not supported");
    }
    if (config_bool(text, "attention_bias", false)) {
        config_refuse(text, "attention_bias", "projections with a bias are not supported");
    }
    if (config_integer(text, "num_kv_shared_layers", 0, WIDTH_MAX, 0) > 0) {
        config_refuse(text, "num_kv_shared_layers",
                      "layers that share keys and values are not supported");
    }
    if (config_integer(text, "hidden_size_per_layer_input", 0, WIDTH_MAX, 0) > 0) {
        config_refuse(text, "hidden_size_per_layer_input",
                      "per-layer input embeddings are not supported");
    }
    if (config_bool(text, "use_double_wide_mlp", false)) {
        config_refuse(text, "use_double_wide_mlp", "double-wide MLPs are not supported");
    }
    if (!config_bool(text, "tie_word_embeddings", true)) {
        config_refuse(text, "tie_word_embeddings",
                      "it must be true: a separate output head is not supported");
    }
    const char *activation = config_text(text, "hidden_activation", "gelu_pytorch_tanh");
    if (strcmp(activation, "gelu_pytorch_tanh") != 0) {
        config_refuse(text, "hidden_activation", "it must be \"gelu_pytorch_tanh\"");
    }
    const char *type = config_text(text, "model_type", "gemma4_unified_text");
    if (strcmp(type, "gemma4_unified_text") != 0) {
        config_refuse(text, "model_type", "it must be \"gemma4_unified_text\"");
    }
}

static void config_check_bidirectional(const ConfigReader *text, bool has_vision) {
    // An explicit null means that pictures are read causally; absent means the default, "vision".
    const json_t *value = json_object_get(text->object, "use_bidirectional_attention");
    if (value == NULL || (json_is_null(value) && !has_vision)) {
        return;
    }
    if (!json_is_string(value) || strcmp(json_string_value(value), "vision") != 0) {
        config_refuse(text, "use_bidirectional_attention", "only \"vision\" is supported");
    }
}

static void config_read_layer_kinds(const ConfigReader *text, Gemma4Config *config) {
    const json_t *types = config_get(text, "layer_types");
    if (types != NULL && (!json_is_array(types) || json_array_size(types) != config->layer_count)) {
        config_refuse(text, "layer_types", "it must be a list of num_hidden_layers texts");
        return;
    }
    for (uint32_t i = 0; i < config->layer_count; i++) {
        LayerKind kind = (i + 1) % 6 == 0 ? LAYER_FULL : LAYER_SLIDING;
        if (types != NULL) {
            const char *name = json_string_value(json_array_get(types, i));
            if (name != NULL && strcmp(name, "sliding_attention") == 0) {
                kind = LAYER_SLIDING;
            } else if (name != NULL && strcmp(name, "full_attention") == 0) {
                kind = LAYER_FULL;
            } else {
                config_refuse(text, "layer_types",
                              "each must be \"sliding_attention\" or \"full_attention\"");
                return;
            }
        }
        config->layers[i].kind = kind;
    }
    // As transformers does, whatever the list says.
    config->layers[config->layer_count - 1].kind = LAYER_FULL;
}

// The newer form: {"5": {"head_dim": 512, "num_key_value_heads": 1}, ...}.
static void config_read_layer_overrides(const ConfigReader *text, const json_t *table,
                                        Gemma4Config *config) {
    if (!json_is_object(table)) {
        config_refuse(text, "per_layer_config", "it must be an object of layer numbers");
        return;
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)table, key, value) {
        char *end = NULL;
        unsigned long index = strtoul(key, &end, 10);
        if (key[0] < '0' || key[0] > '9' || *end != 0 || index >= config->layer_count) {
            config_refuse(text, "per_layer_config", "each key must be the number of a layer");
            return;
        }
        char place[64];
        snprintf(place, sizeof place, "%sper_layer_config.%lu.", TEXT_PLACE, index);
        ConfigReader layer = {place, value, text->status, text->error};
        if (!json_is_object(value)) {
            config_refuse(text, "per_layer_config", "each value must be an object");
            return;
        }
        const char *name;
        json_t *ignored;
        json_object_foreach(value, name, ignored) {
            if (strcmp(name, "head_dim") != 0 && strcmp(name, "num_key_value_heads") != 0 &&
                strcmp(name, "num_attention_heads") != 0) {
                config_refuse(&layer, name, "this key cannot differ between layers");
            }
        }
        LayerShape *shape = &config->layers[index];
        shape->head_dim =
            (uint32_t)config_integer(&layer, "head_dim", 2, HEAD_DIM_MAX, shape->head_dim);
        shape->kv_head_count = (uint32_t)config_integer(&layer, "num_key_value_heads", 1, HEADS_MAX,
                                                        shape->kv_head_count);
        shape->head_count = (uint32_t)config_integer(&layer, "num_attention_heads", 1, HEADS_MAX,
                                                     shape->head_count);
    }
}

static void config_read_layers(const ConfigReader *text, Gemma4Config *config) {
    uint32_t heads = (uint32_t)config_integer(text, "num_attention_heads", 1, HEADS_MAX, 8);
    uint32_t kv_heads = (uint32_t)config_integer(text, "num_key_value_heads", 1, HEADS_MAX, 4);
    uint32_t head_dim = (uint32_t)config_integer(text, "head_dim", 2, HEAD_DIM_MAX, 256);
    bool key_is_value = config_bool(text, "attention_k_eq_v", false);
    uint32_t full_dim = (uint32_t)config_integer(text, "global_head_dim", 2, HEAD_DIM_MAX, 512);
    uint32_t full_kv_heads =
        (uint32_t)config_integer(text, "num_global_key_value_heads", 1, HEADS_MAX, kv_heads);
    const json_t *overrides = json_object_get(text->object, "per_layer_config");
    config_read_layer_kinds(text, config);
    for (uint32_t i = 0; i < config->layer_count; i++) {
        LayerShape *layer = &config->layers[i];
        bool flat_full = overrides == NULL && layer->kind == LAYER_FULL;
        layer->head_count = heads;
        layer->head_dim = flat_full ? full_dim : head_dim;
        // transformers applies the global key-value heads only together with attention_k_eq_v.
        layer->kv_head_count = flat_full && key_is_value ? full_kv_heads : kv_heads;
        layer->value_is_key = key_is_value && layer->kind == LAYER_FULL;
    }
    if (overrides != NULL && !json_is_null(overrides)) {
        config_read_layer_overrides(text, overrides, config);
    }
    const LayerShape *first[LAYER_KIND_COUNT] = {NULL};
    for (uint32_t i = 0; i < config->layer_count && *text->status == OK; i++) {
        const LayerShape *layer = &config->layers[i];
        if (layer->head_dim % 2 != 0) {
            config_refuse(text, "head_dim", "it must be even in every layer");
        }
        if (layer->head_count % layer->kv_head_count != 0) {
            config_refuse(text, "num_attention_heads",
                          "it must be a multiple of the key-value heads in every layer");
        }
        if (first[layer->kind] == NULL) {
            first[layer->kind] = layer;
        } else if (first[layer->kind]->head_dim != layer->head_dim ||
                   first[layer->kind]->kv_head_count != layer->kv_head_count) {
            config_refuse(text, "per_layer_config",
                          "layers of one type must have the same head_dim and key-value heads");
        }
    }
}

static bool config_has_layers(const Gemma4Config *config, int kind) {
    for (uint32_t i = 0; i < config->layer_count; i++) {
        if ((int)config->layers[i].kind == kind) {
            return true;
        }
    }
    return false;
}

static void config_read_one_rope(const ConfigReader *reader, RopeShape *rope) {
    const char *type = config_text(reader, "rope_type", "default");
    bool proportional = strcmp(type, "proportional") == 0;
    if (!proportional && strcmp(type, "default") != 0) {
        config_refuse(reader, "rope_type", "it must be \"default\" or \"proportional\"");
    }
    config_refuse_null(reader, proportional ? PROPORTIONAL_NOT_NULL : ROPE_NOT_NULL);
    if (config_get(reader, "rope_theta") == NULL) {
        config_refuse(reader, "rope_theta", "it must be a number from 1 to 1e+12");
    }
    *rope = (RopeShape){config_number(reader, "rope_theta", 1.0, 1e12, 1e4), 1.0, 1.0};
    if (proportional) {
        rope->factor = config_number(reader, "factor", 1e-3, 1e6, 1.0);
        rope->rotary_fraction = config_number(reader, "partial_rotary_factor", 0.0, 1.0, 1.0);
    }
}

static void config_read_rope(const ConfigReader *text, Gemma4Config *config) {
    static const char *const names[LAYER_KIND_COUNT] = {"sliding_attention", "full_attention"};
    static const char *const places[LAYER_KIND_COUNT] = {
        "config.json: text_config.rope_parameters.sliding_attention.",
        "config.json: text_config.rope_parameters.full_attention."};
    static const RopeShape defaults[LAYER_KIND_COUNT] = {{1e4, 1.0, 1.0}, {1e6, 1.0, 0.25}};
    ConfigReader all =
        config_child(text, "rope_parameters", "config.json: text_config.rope_parameters.");
    for (int kind = 0; kind < LAYER_KIND_COUNT; kind++) {
        config->rope[kind] = defaults[kind];
        if (all.object == NULL || !config_has_layers(config, kind)) {
            continue;
        }
        ConfigReader one = config_child(&all, names[kind], places[kind]);
        if (one.object == NULL) {
            config_refuse(&all, names[kind], "it must be an object: the model has such layers");
            continue;
        }
        config_read_one_rope(&one, &config->rope[kind]);
    }
    for (uint32_t i = 0; i < config->layer_count; i++) {
        LayerShape *layer = &config->layers[i];
        layer->rotated_pairs = gemma4_rotated_pairs(&config->rope[layer->kind], layer->head_dim);
    }
}

static void config_read_text(const ConfigReader *text, Gemma4Config *config) {
    config_refuse_null(text, TEXT_NOT_NULL);
    config->hidden = (uint32_t)config_integer(text, "hidden_size", 1, WIDTH_MAX, 2304);
    config->intermediate = (uint32_t)config_integer(text, "intermediate_size", 1, WIDTH_MAX, 9216);
    config->layer_count =
        (uint32_t)config_integer(text, "num_hidden_layers", 1, GEMMA4_LAYERS_MAX, 30);
    config->vocab_count =
        (uint32_t)config_integer(text, "vocab_size", VOCAB_MIN, VOCAB_MAX, 262144);
    config->window = (uint32_t)config_integer(text, "sliding_window", 1, POSITIONS_MAX, 1024);
    config->position_max =
        (uint32_t)config_integer(text, "max_position_embeddings", 1, POSITIONS_MAX, 262144);
    config->rms_eps = (float)config_real(text, "rms_norm_eps", 0.0, 1.0, 1e-6);
    config->logit_softcap = (float)config_real(text, "final_logit_softcapping", 0.0, 1e6, 0.0);
    config->embed_scale = sqrtf((float)config->hidden);
    config->pad_id = (int32_t)config_integer(text, "pad_token_id", 0, ID_MAX, 0);
    config->bos_id = (int32_t)config_integer(text, "bos_token_id", 0, ID_MAX, 2);
    config_refuse_features(text);
    config_read_layers(text, config);
    config_read_rope(text, config);
}

static void config_read_vision(const ConfigReader *root, Gemma4Config *config) {
    ConfigReader vision = config_child(root, "vision_config", "config.json: vision_config.");
    config->has_vision = vision.object != NULL;
    if (!config->has_vision) {
        return;
    }
    config_refuse_null(&vision, VISION_NOT_NULL);
    uint32_t patch = (uint32_t)config_integer(&vision, "patch_size", 1, PATCH_SIDE_MAX, 16);
    uint32_t pooling = (uint32_t)config_integer(&vision, "pooling_kernel_size", 1, 64, 3);
    if (patch * pooling > PATCH_SIDE_MAX) {
        config_refuse(&vision, "patch_size", "times pooling_kernel_size it may be 256 at most");
        return;
    }
    config->patch_side = patch * pooling;
    config->patch_values = config->patch_side * config->patch_side * GEMMA4_CHANNELS;
    if (config_integer(&vision, "model_patch_size", 1, WIDTH_MAX, config->patch_side) !=
        config->patch_side) {
        config_refuse(&vision, "model_patch_size",
                      "it must be patch_size times pooling_kernel_size");
    }
    config->vision_hidden = (uint32_t)config_integer(&vision, "mm_embed_dim", 1, WIDTH_MAX, 3840);
    config->position_count =
        (uint32_t)config_integer(&vision, "mm_posemb_size", 1, WIDTH_MAX, 1120);
    config->vision_rms_eps = (float)config_real(&vision, "rms_norm_eps", 0.0, 1.0, 1e-6);
    if (config_integer(&vision, "output_proj_dims", 1, WIDTH_MAX, config->vision_hidden) !=
        config->vision_hidden) {
        config_refuse(&vision, "output_proj_dims", "it must be equal to mm_embed_dim");
    }
    config->image_budget = (uint32_t)config_integer(&vision, "num_soft_tokens", 1, WIDTH_MAX, 280);
}

static void config_read_audio(const ConfigReader *root, Gemma4Config *config) {
    ConfigReader audio = config_child(root, "audio_config", "config.json: audio_config.");
    config->has_audio = audio.object != NULL;
    if (!config->has_audio) {
        return;
    }
    config_refuse_null(&audio, AUDIO_NOT_NULL);
    // One number under four names; the later ones are properties of the first in transformers.
    static const char *const names[] = {"audio_embed_dim", "audio_samples_per_token", "hidden_size",
                                        "output_proj_dims"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int64_t fallback = config->audio_frame == 0 ? 640 : config->audio_frame;
        int64_t value = config_integer(&audio, names[i], 1, WIDTH_MAX, fallback);
        if (i > 0 && value != config->audio_frame) {
            config_refuse(&audio, names[i], "it must be equal to audio_embed_dim");
        }
        config->audio_frame = (uint32_t)value;
    }
    config->audio_rms_eps = (float)config_real(&audio, "rms_norm_eps", 0.0, 1.0, 1e-6);
}

static void config_read_special_ids(const ConfigReader *root, Gemma4Config *config) {
    config->image_begin_id = (int32_t)config_integer(root, "boi_token_id", 0, ID_MAX, 255999);
    config->image_id = (int32_t)config_integer(root, "image_token_id", 0, ID_MAX, 258880);
    config->image_end_id = (int32_t)config_integer(root, "eoi_token_id", 0, ID_MAX, 258882);
    config->audio_begin_id = (int32_t)config_integer(root, "boa_token_id", 0, ID_MAX, 256000);
    config->audio_id = (int32_t)config_integer(root, "audio_token_id", 0, ID_MAX, 258881);
    config->audio_end_id = (int32_t)config_integer(root, "eoa_token_index", 0, ID_MAX, 258883);
    config->video_id = (int32_t)config_integer(root, "video_token_id", 0, ID_MAX, 258884);
}

// The ids that are put into prompts have a row of the embedding, and so has, as transformers asks,
// that of padding. (Rows of pictures and sound have none, and the other ids are only compared.)
static void config_check_special_ids(const ConfigReader *root, const ConfigReader *text,
                                     const Gemma4Config *config) {
    const struct {
        const ConfigReader *reader;
        const char *key;
        bool used;
        int32_t id;
    } ids[] = {
        {text, "pad_token_id", true, config->pad_id},
        {text, "bos_token_id", true, config->bos_id},
        {root, "boi_token_id", config->has_vision, config->image_begin_id},
        {root, "eoi_token_id", config->has_vision, config->image_end_id},
        {root, "boa_token_id", config->has_audio, config->audio_begin_id},
        {root, "eoa_token_index", config->has_audio, config->audio_end_id},
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (ids[i].used && (uint32_t)ids[i].id >= config->vocab_count) {
            char rule[96];
            snprintf(rule, sizeof rule, "the id %d must be below vocab_size, which is %u",
                     ids[i].id, config->vocab_count);
            config_refuse(ids[i].reader, ids[i].key, rule);
        }
    }
}

// The stop ids of generation_config.json, or else of config.json, or else of text_config, or
// else 1.
static void config_read_stops(const ConfigReader *generation, const ConfigReader *root,
                              const ConfigReader *text, Gemma4Config *config) {
    GenerationDefaults *out = &config->generation;
    int32_t ids[GEMMA4_STOP_MAX] = {1};
    const ConfigReader *readers[] = {text, root, generation};
    config->eos_id = 1;
    out->stop_count = 1;
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
        uint32_t count = config_ids(readers[i], "eos_token_id", ids, GEMMA4_STOP_MAX);
        if (count > 0) {
            out->stop_count = count;
            config->eos_id =
                i == 0 || config_get(text, "eos_token_id") == NULL ? ids[0] : config->eos_id;
        }
    }
    memcpy(out->stop_ids, ids, sizeof ids);
}

static void config_read_generation(const ConfigReader *generation, Gemma4Config *config) {
    GenerationDefaults *out = &config->generation;
    out->do_sample = config_bool(generation, "do_sample", false);
    out->temperature = (float)config_number(generation, "temperature", 0.0, 100.0, 1.0);
    // 50 is what transformers samples with when nothing is said.
    out->top_k = (uint32_t)config_integer(generation, "top_k", 0, VOCAB_MAX, 50);
    out->top_p = (float)config_number(generation, "top_p", 0.0, 1.0, 1.0);
    out->min_p = (float)config_number(generation, "min_p", 0.0, 1.0, 0.0);
    out->repetition_penalty =
        (float)config_number(generation, "repetition_penalty", 0.01, 100.0, 1.0);
    out->suppress_count =
        config_ids(generation, "suppress_tokens", out->suppress_ids, GEMMA4_SUPPRESS_MAX);
}

static void config_read_processor(const ConfigReader *processor, Gemma4Config *config) {
    ConfigReader image =
        config_child(processor, "image_processor", "processor_config.json: image_processor.");
    int64_t budget = config->image_budget;
    budget = config_integer(processor, "image_seq_length", 1, WIDTH_MAX, budget);
    budget = config_integer(&image, "max_soft_tokens", 1, WIDTH_MAX, budget);
    config->image_budget = (uint32_t)budget;
    static const uint32_t budgets[] = {70, 140, 280, 560, 1120};
    bool good = !config->has_vision;
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
        good = good || config->image_budget == budgets[i];
    }
    if (!good) {
        static const char rule[] = "an image may take 70, 140, 280, 560 or 1120 soft tokens";
        if (config_get(&image, "max_soft_tokens") != NULL) {
            config_refuse(&image, "max_soft_tokens", rule);
        } else if (config_get(processor, "image_seq_length") != NULL) {
            config_refuse(processor, "image_seq_length", rule);
        } else {
            ConfigReader vision = {"config.json: vision_config.", NULL, processor->status,
                                   processor->error};
            config_refuse(&vision, "num_soft_tokens", rule);
        }
    }
}

static void config_read_root(const ConfigReader *root, const ConfigReader *generation,
                             const ConfigReader *processor, Gemma4Config *config) {
    const char *type = config_text(root, "model_type", "");
    if (strcmp(type, "gemma4_unified") != 0) {
        config_refuse(root, "model_type", "it must be \"gemma4_unified\"");
        return;
    }
    if (config_get(root, "quantization_config") != NULL) {
        config_refuse(root, "quantization_config",
                      "quantized checkpoints are not read; give the bf16 original");
    }
    config_refuse_null(root, (const char *const[]){"tie_word_embeddings", NULL});
    if (!config_bool(root, "tie_word_embeddings", true)) {
        config_refuse(root, "tie_word_embeddings",
                      "it must be true: a separate output head is not supported");
    }
    ConfigReader text = config_child(root, "text_config", TEXT_PLACE);
    config_read_text(&text, config);
    config_read_vision(root, config);
    config_read_audio(root, config);
    config_check_bidirectional(&text, config->has_vision);
    config_read_special_ids(root, config);
    config_check_special_ids(root, &text, config);
    config_read_stops(generation, root, &text, config);
    config_read_generation(generation, config);
    config_read_processor(processor, config);
}

Status config_parse(const ConfigTexts *texts, Gemma4Config *out, Error *error) {
    static const char *const places[CONFIG_TEXT_COUNT] = {
        "config.json: ", "generation_config.json: ", "processor_config.json: "};
    Status status = OK;
    json_t *roots[CONFIG_TEXT_COUNT] = {NULL};
    ConfigReader readers[CONFIG_TEXT_COUNT];
    *out = (Gemma4Config){0};
    for (int i = 0; i < CONFIG_TEXT_COUNT && status == OK; i++) {
        if (texts->text[i].length > 0) {
            status = json_parse(texts->text[i], config_file_names[i], &roots[i], error);
        } else if (i == 0) {
            status = error_set(error, E_CONFIG, "config.json: it is empty; it must be an object");
        }
        if (status == OK && roots[i] != NULL && !json_is_object(roots[i])) {
            status = error_set(error, E_CONFIG, "%sit must be an object", places[i]);
        }
    }
    if (status == OK) {
        for (int i = 0; i < CONFIG_TEXT_COUNT; i++) {
            readers[i] = (ConfigReader){places[i], roots[i], &status, error};
        }
        config_read_root(&readers[0], &readers[1], &readers[2], out);
    }
    for (int i = 0; i < CONFIG_TEXT_COUNT; i++) {
        json_decref(roots[i]);
    }
    return status;
}

void config_set_source(Gemma4Config *config, ElementType type) {
    config->embed_scale = element_round(type, (float)sqrt((double)config->hidden));
}
