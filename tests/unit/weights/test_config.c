// SPDX-License-Identifier: Apache-2.0
// config.json in both forms, the defaults of transformers' configuration_gemma4_unified.py, and
// each wrong key by name.
#include "weights/config.h"

#include "base/file.h"
#include "base/json.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN TEST_ROOT "/tests/golden/weights/"

static Status parse(const char *config, const char *generation, const char *processor,
                    Gemma4Config *out, Error *error) {
    ConfigTexts texts = {
        {bytes_of_text(config), bytes_of_text(generation), bytes_of_text(processor)}};
    return config_parse(&texts, out, error);
}

static Gemma4Config parse_file(const char *path) {
    Buffer text = {0};
    cr_assert_eq(file_read(path, 1 << 20, &text, NULL), OK, "%s", path);
    Gemma4Config config;
    Error error = {0};
    cr_assert_eq(parse((char *)text.data, "", "", &config, &error), OK, "%s", error.text);
    buffer_free(&text);
    return config;
}

Test(config, reads_both_forms_of_one_model_alike) {
    Gemma4Config a = parse_file(GOLDEN "per_layer/config.json");
    Gemma4Config b = parse_file(GOLDEN "flat/config.json");
    b.generation = a.generation; // the flat one has two stop ids
    cr_expect_eq(memcmp(&a, &b, sizeof a), 0);
    cr_expect_eq(a.layers[0].head_dim, 6);
    cr_expect_eq(a.layers[0].kv_head_count, 2);
    cr_expect_not(a.layers[0].value_is_key);
    cr_expect_eq(a.layers[2].kind, LAYER_FULL);
    cr_expect_eq(a.layers[2].head_dim, 10);
    cr_expect_eq(a.layers[2].kv_head_count, 1);
    cr_expect(a.layers[2].value_is_key);
    cr_expect_eq(a.layers[0].rotated_pairs, 3);
    cr_expect_eq(a.layers[2].rotated_pairs, 1);
    cr_expect_eq(gemma4_qkv_rows(&a.layers[0]), 4 * 6 + 2 * 2 * 6);
    cr_expect_eq(gemma4_qkv_rows(&a.layers[2]), 4 * 10 + 10);
}

Test(config, has_the_defaults_of_transformers_for_absent_keys) {
    Gemma4Config config;
    Error error = {0};
    cr_assert_eq(parse("{\"model_type\":\"gemma4_unified\"}", "", "", &config, &error), OK, "%s",
                 error.text);
    cr_expect_eq(config.hidden, 2304);
    cr_expect_eq(config.intermediate, 9216);
    cr_expect_eq(config.layer_count, 30);
    cr_expect_eq(config.vocab_count, 262144);
    cr_expect_eq(config.window, 1024);
    cr_expect_eq(config.layers[4].kind, LAYER_SLIDING);
    cr_expect_eq(config.layers[5].kind, LAYER_FULL);
    cr_expect_eq(config.layers[5].head_dim, 512);
    cr_expect_eq(config.layers[5].kv_head_count, 4);
    cr_expect_eq(config.layers[4].head_dim, 256);
    cr_expect_eq(config.rope[LAYER_FULL].theta, 1e6);
    cr_expect_eq(config.rope[LAYER_FULL].rotary_fraction, 0.25);
    cr_expect_eq(config.rope[LAYER_SLIDING].theta, 1e4);
    cr_expect_eq(config.logit_softcap, 0.0f);
    cr_expect_eq(config.image_begin_id, 255999);
    cr_expect_eq(config.audio_end_id, 258883);
    cr_expect_eq(config.eos_id, 1);
    cr_expect_not(config.has_vision);
    cr_expect_not(config.has_audio);
    cr_expect_eq(config.generation.temperature, 1.0f);
    cr_expect_not(config.generation.do_sample);
}

Test(config, reads_generation_and_processor) {
    Gemma4Config config;
    Error error = {0};
    cr_assert_eq(parse("{\"model_type\":\"gemma4_unified\",\"eos_token_id\":[1,106],"
                       "\"vision_config\":{}}",
                       "{\"eos_token_id\":[1,106,50],\"suppress_tokens\":[258883,258882],"
                       "\"do_sample\":true,\"temperature\":0.5,\"top_k\":64,\"top_p\":0.95}",
                       "{\"image_seq_length\":280,\"image_processor\":{\"max_soft_tokens\":560}}",
                       &config, &error),
                 OK, "%s", error.text);
    cr_expect_eq(config.generation.stop_count, 3);
    cr_expect_eq(config.generation.stop_ids[2], 50);
    cr_expect_eq(config.generation.suppress_count, 2);
    cr_expect_eq(config.generation.suppress_ids[1], 258882);
    cr_expect_eq(config.generation.top_k, 64);
    cr_expect_eq(config.generation.top_p, 0.95f);
    cr_expect_eq(config.image_budget, 560);
    cr_expect_eq(config.patch_values, 6912);
}

Test(config, takes_stop_ids_from_the_most_particular_text) {
    Gemma4Config config;
    cr_assert_eq(parse("{\"model_type\":\"gemma4_unified\",\"eos_token_id\":[7,8],"
                       "\"text_config\":{\"eos_token_id\":9}}",
                       "", "", &config, NULL),
                 OK);
    cr_expect_eq(config.generation.stop_count, 2);
    cr_expect_eq(config.generation.stop_ids[0], 7);
    cr_expect_eq(config.eos_id, 9);
    cr_assert_eq(parse("{\"model_type\":\"gemma4_unified\",\"text_config\":{\"eos_token_id\":9}}",
                       "{\"eos_token_id\":3}", "", &config, NULL),
                 OK);
    cr_expect_eq(config.generation.stop_count, 1);
    cr_expect_eq(config.generation.stop_ids[0], 3);
}

Test(config, rounds_the_embedding_scale_to_the_type_of_the_weights) {
    Gemma4Config config = {.hidden = 3840};
    config_set_source(&config, ELEMENT_BF16);
    cr_expect_eq(config.embed_scale, 62.0f);
    config_set_source(&config, ELEMENT_F16);
    cr_expect_eq(config.embed_scale, 61.96875f);
    config_set_source(&config, ELEMENT_F32);
    cr_expect_eq(config.embed_scale, 61.967734f);
}

Test(config, makes_the_last_layer_full_as_transformers_does) {
    Gemma4Config config;
    cr_assert_eq(
        parse("{\"model_type\":\"gemma4_unified\",\"text_config\":{\"num_hidden_layers\":2,"
              "\"layer_types\":[\"sliding_attention\",\"sliding_attention\"]}}",
              "", "", &config, NULL),
        OK);
    cr_expect_eq(config.layers[1].kind, LAYER_FULL);
}

// Each row: members of text_config, and what the error must say.
static const char *const WRONG_TEXT[][2] = {
    {"\"hidden_size\":0", "text_config.hidden_size is 0; it must be an integer from 1"},
    {"\"hidden_size\":\"big\"", "text_config.hidden_size is \"big\""},
    {"\"hidden_size\":12.5", "text_config.hidden_size is 12.5"},
    {"\"intermediate_size\":-4", "text_config.intermediate_size is -4"},
    {"\"num_hidden_layers\":129", "num_hidden_layers is 129; it must be an integer from 1 to 128"},
    {"\"vocab_size\":99999999", "vocab_size is 99999999"},
    {"\"vocab_size\":15", "vocab_size is 15"},
    {"\"vocab_size\":70,\"bos_token_id\":70", "text_config.bos_token_id is 70; the id 70 must be"},
    {"\"num_attention_heads\":7", "num_attention_heads is 7; it must be a multiple"},
    {"\"head_dim\":7", "head_dim is 7; it must be even"},
    {"\"rms_norm_eps\":-1", "rms_norm_eps is -1"},
    {"\"final_logit_softcapping\":\"no\"", "final_logit_softcapping is \"no\""},
    {"\"layer_types\":[\"full_attention\"]",
     "layer_types is [\"full_attention\"]; it must be a list"},
    {"\"num_hidden_layers\":1,\"layer_types\":[\"linear\"]",
     "layer_types is [\"linear\"]; each must"},
    {"\"enable_moe_block\":true", "enable_moe_block is true; mixtures of experts"},
    {"\"num_experts\":8", "num_experts is 8"},
    {"\"attention_bias\":true", "attention_bias is true"},
    {"\"num_kv_shared_layers\":4", "num_kv_shared_layers is 4; layers that share"},
    {"\"hidden_size_per_layer_input\":256", "hidden_size_per_layer_input is 256"},
    {"\"use_double_wide_mlp\":true", "use_double_wide_mlp is true"},
    {"\"hidden_activation\":\"silu\"", "hidden_activation is \"silu\""},
    {"\"use_bidirectional_attention\":\"all\"", "use_bidirectional_attention is \"all\""},
    {"\"tie_word_embeddings\":false", "text_config.tie_word_embeddings is false"},
    {"\"attention_k_eq_v\":1", "attention_k_eq_v is 1; it must be true or false"},
    {"\"rope_parameters\":{\"sliding_attention\":{\"rope_type\":\"yarn\"},\"full_attention\":{}}",
     "rope_parameters.sliding_attention.rope_type is \"yarn\""},
    {"\"rope_parameters\":{\"sliding_attention\":{\"rope_theta\":1e4}}",
     "rope_parameters.full_attention is absent"},
    {"\"rope_parameters\":{\"sliding_attention\":{}}", "sliding_attention.rope_theta is absent"},
    {"\"sliding_window\":null",
     "text_config.sliding_window is null; it may be absent, but not null"},
    {"\"num_kv_shared_layers\":null", "num_kv_shared_layers is null"},
    {"\"rms_norm_eps\":1", "rms_norm_eps is 1; it must be written with a point"},
    {"\"rope_parameters\":[]", "text_config.rope_parameters is []; it must be an object"},
    {"\"per_layer_config\":{\"x\":{}}", "per_layer_config is {\"x\":{}}; each key"},
    {"\"per_layer_config\":{\"30\":{}}", "per_layer_config is {\"30\":{}}; each key"},
    {"\"per_layer_config\":{\"5\":{\"intermediate_size\":3}}",
     "per_layer_config.5.intermediate_size is 3; this key cannot differ"},
    {"\"per_layer_config\":{\"5\":{\"head_dim\":1}}", "per_layer_config.5.head_dim is 1"},
    {"\"per_layer_config\":{\"5\":{\"head_dim\":512}}", "layers of one type must have the same"},
    {"\"model_type\":\"gemma3_text\"", "text_config.model_type is \"gemma3_text\""},
};

Test(config, names_key_value_and_rule_of_a_wrong_text_config) {
    for (size_t i = 0; i < sizeof WRONG_TEXT / sizeof *WRONG_TEXT; i++) {
        Buffer text = {0};
        buffer_printf(&text, "{\"model_type\":\"gemma4_unified\",\"text_config\":{%s}}",
                      WRONG_TEXT[i][0]);
        Gemma4Config config;
        Error error = {0};
        Status status = parse((char *)text.data, "", "", &config, &error);
        cr_expect_eq(status, E_CONFIG, "%s: %s", WRONG_TEXT[i][0], status_name(status));
        cr_expect_not_null(strstr(error.text, WRONG_TEXT[i][1]), "%s", error.text);
        cr_expect_not_null(strstr(error.text, "config.json"), "%s", error.text);
        buffer_free(&text);
    }
}

// Each row: config members, generation text, processor text, what the error must say.
static const char *const WRONG_REST[][4] = {
    {"\"text_config\":7", "", "", "config.json: text_config is 7"},
    {"\"vision_config\":{\"output_proj_dims\":12}", "", "", "output_proj_dims is 12"},
    {"\"vision_config\":{\"patch_size\":200}", "", "", "vision_config.patch_size is 200"},
    {"\"vision_config\":{\"model_patch_size\":32}", "", "", "model_patch_size is 32"},
    {"\"vision_config\":{\"num_soft_tokens\":100}", "", "", "soft tokens"},
    {"\"vision_config\":{},\"text_config\":{\"use_bidirectional_attention\":null}", "", "",
     "use_bidirectional_attention is null"},
    {"\"audio_config\":{\"audio_embed_dim\":640,\"hidden_size\":320}", "", "",
     "audio_config.hidden_size is 320"},
    {"\"quantization_config\":{\"bits\":4}", "", "", "quantization_config is {\"bits\":4}"},
    {"\"tie_word_embeddings\":false", "", "", "tie_word_embeddings is false"},
    {"\"text_config\":{\"vocab_size\":70},\"vision_config\":{}", "", "",
     "boi_token_id is absent; the id 255999 must be below vocab_size, which is 70"},
    {"\"text_config\":{\"vocab_size\":256000},\"vision_config\":{},\"eoi_token_id\":256000", "", "",
     "config.json: eoi_token_id is 256000"},
    {"\"boa_token_id\":262144,\"audio_config\":{}", "", "", "config.json: boa_token_id is 262144"},
    {"\"eoa_token_index\":2147483647,\"audio_config\":{}", "", "", "eoa_token_index is 2147483647"},
    {"\"image_token_id\":-5", "", "", "image_token_id is -5"},
    {"\"eos_token_id\":\"</s>\"", "", "", "eos_token_id is \"</s>\""},
    {"\"eos_token_id\":[1,-1]", "", "", "eos_token_id is [1,-1]"},
    {"\"eos_token_id\":1", "{\"temperature\":-1}", "", "generation_config.json: temperature is -1"},
    {"\"eos_token_id\":1", "{\"top_k\":-1}", "", "generation_config.json: top_k is -1"},
    {"\"eos_token_id\":1", "[]", "", "generation_config.json: it must be an object"},
    {"\"vision_config\":{}", "", "{\"image_processor\":{\"max_soft_tokens\":71}}",
     "processor_config.json: image_processor.max_soft_tokens is 71"},
    {"\"vision_config\":{}", "", "{\"image_seq_length\":9}",
     "processor_config.json: image_seq_length is 9"},
};

Test(config, names_key_value_and_rule_of_everything_else) {
    for (size_t i = 0; i < sizeof WRONG_REST / sizeof *WRONG_REST; i++) {
        const char *const *row = WRONG_REST[i];
        Buffer text = {0};
        buffer_printf(&text, "{\"model_type\":\"gemma4_unified\",%s}", row[0]);
        Gemma4Config config;
        Error error = {0};
        Status status = parse((char *)text.data, row[1], row[2], &config, &error);
        cr_expect_eq(status, E_CONFIG, "%s: %s", row[0], status_name(status));
        cr_expect_not_null(strstr(error.text, row[3]), "%s", error.text);
        buffer_free(&text);
    }
}

Test(config, refuses_other_architectures_and_what_is_no_json) {
    Gemma4Config config;
    Error error = {0};
    cr_expect_eq(parse("{\"model_type\":\"llama\"}", "", "", &config, &error), E_CONFIG);
    cr_expect_not_null(strstr(error.text, "model_type is \"llama\""), "%s", error.text);
    cr_expect_eq(parse("{}", "", "", &config, &error), E_CONFIG);
    cr_expect_eq(parse("", "", "", &config, &error), E_CONFIG);
    cr_expect_eq(parse("{\"model_type\":", "", "", &config, &error), E_JSON);
}

// Everything transformers refuses is refused, by the name of the key; what it takes and we refuse
// is one of these keys, for it asks for what is not computed, or for what has no meaning.
static const char *const NARROWER[] = {
    "attention_bias", // not computed
    "enable_moe_block",
    "hidden_activation",
    "hidden_size_per_layer_input",
    "num_experts",
    "quantization_config",
    "tie_word_embeddings",
    "use_bidirectional_attention",
    "use_double_wide_mlp",
    "boa_token_id", // ids of no embedding row, which a text alone does not need
    "boi_token_id",
    "bos_token_id",
    "eoa_token_index",
    "eoi_token_id",
    "audio_token_id", // negative ids, and texts in their place
    "eos_token_id",
    "image_token_id",
    "pad_token_id",
    "video_token_id",
    "audio_embed_dim", // sizes of zero, below zero, or that do not fit each other
    "audio_samples_per_token",
    "global_head_dim",
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "mm_embed_dim",
    "mm_posemb_size",
    "num_soft_tokens",
    "output_proj_dims",
    "patch_size",
    "pooling_kernel_size",
    "sliding_window",
    "factor", // numbers that leave nothing finite, or true in their place
    "final_logit_softcapping",
    "partial_rotary_factor",
    "rms_norm_eps",
    "rope_theta",
    "model_type", // of text_config, which transformers does not look at
};

enum { NARROWER_COUNT = sizeof NARROWER / sizeof *NARROWER };

// The place of a key in NARROWER, NARROWER_COUNT when it is not there.
static size_t narrower(const char *key) {
    size_t at = 0;
    while (at < NARROWER_COUNT && strcmp(NARROWER[at], key) != 0) {
        at++;
    }
    return at;
}

// Sets or takes away what "text_config/rope_parameters" names; returns the last key of it.
static const char *change(json_t *root, const char *path, json_t *value, bool absent) {
    const char *slash;
    while ((slash = strchr(path, '/')) != NULL) {
        root = json_object_getn(root, path, (size_t)(slash - path));
        path = slash + 1;
    }
    absent ? json_object_del(root, path) : json_object_set(root, path, value);
    return path;
}

Test(config, takes_no_change_that_transformers_refuses) {
    json_t *rows, *row;
    size_t index, taken = 0, refused = 0;
    bool needed[NARROWER_COUNT + 1] = {false};
    cr_assert_eq(json_parse_file(GOLDEN "configs.json", 1 << 20, &rows, NULL), OK);
    json_array_foreach(rows, index, row) {
        json_t *root;
        cr_assert_eq(json_parse_file(GOLDEN "flat/config.json", 1 << 20, &root, NULL), OK);
        const char *path = json_string_value(json_object_get(row, "key"));
        json_t *value = json_object_get(row, "value");
        const char *key = change(root, path, value, json_object_get(row, "absent") != NULL);
        char *text = json_dumps(root, 0), *shown = json_dumps(row, 0);
        Gemma4Config config;
        Error error = {0};
        bool good = parse(text, "", "", &config, &error) == OK;
        if (strcmp(json_string_value(json_object_get(row, "verdict")), "taken") == 0) {
            taken++;
            size_t at = good ? NARROWER_COUNT : narrower(key);
            cr_expect(good || at < NARROWER_COUNT, "%s: %s", shown, error.text);
            needed[at] = true;
        } else {
            refused++;
            cr_expect_not(good, "%s", shown);
        }
        cr_expect(good || strstr(error.text, ".json") != NULL, "%s: %s", shown, error.text);
        free(text);
        free(shown);
        json_decref(root);
    }
    cr_expect(taken > 150 && refused > 150, "%zu and %zu", taken, refused);
    for (size_t i = 0; i < NARROWER_COUNT; i++) {
        cr_expect(needed[i], "%s is taken whenever transformers takes it", NARROWER[i]);
    }
    json_decref(rows);
}
