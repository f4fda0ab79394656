// SPDX-License-Identifier: Apache-2.0
// Codes are filled eight bytes at a time from a counter hash, which keeps up with the page faults
// of fresh memory. Each code is the sum of two uniform numbers (a triangle around zero), so that
// rows have no common mean, and scales make every matrix' standard deviation STANDARD_DEVIATION.
#include "weights/synthetic.h"

#include "base/check.h"
#include "base/f16.h"
#include "weights/fanout.h"
#include "weights/identity.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double STANDARD_DEVIATION = 0.02;
static const float LAYER_SCALAR = 0.6f; // the released model has 0.0045 to 0.9

typedef struct SyntheticModel {
    const char *name;
    const char *text; // %s is the list of layer types
    uint32_t layers;
    uint32_t full_every; // layer i is full when (i + 1) % full_every == 0
} SyntheticModel;

// The ids are those of the released checkpoint; the tiny one has them at the end of its vocabulary.
static const char CONFIG_12B[] =
    "{\"model_type\":\"gemma4_unified\",\"dtype\":\"bfloat16\",\"boi_token_id\":255999,"
    "\"image_token_id\":258880,\"eoi_token_id\":258882,\"boa_token_id\":256000,"
    "\"audio_token_id\":258881,\"eoa_token_index\":258883,\"video_token_id\":258884,"
    "\"eos_token_id\":[1,106],\"text_config\":{\"model_type\":\"gemma4_unified_text\","
    "\"vocab_size\":262144,\"hidden_size\":3840,\"intermediate_size\":15360,"
    "\"num_hidden_layers\":%u,\"num_attention_heads\":16,\"num_key_value_heads\":8,"
    "\"head_dim\":256,\"num_global_key_value_heads\":1,\"global_head_dim\":512,"
    "\"attention_k_eq_v\":true,\"sliding_window\":1024,\"max_position_embeddings\":262144,"
    "\"rms_norm_eps\":1e-6,\"final_logit_softcapping\":30.0,\"layer_types\":[%s]},"
    "\"vision_config\":{\"patch_size\":16,\"pooling_kernel_size\":3,\"num_soft_tokens\":280,"
    "\"mm_embed_dim\":3840,\"mm_posemb_size\":1120,\"output_proj_dims\":3840},"
    "\"audio_config\":{\"audio_embed_dim\":640}}";

static const char CONFIG_TINY[] =
    "{\"model_type\":\"gemma4_unified\",\"dtype\":\"bfloat16\",\"boi_token_id\":505,"
    "\"image_token_id\":506,\"eoi_token_id\":507,\"boa_token_id\":508,\"audio_token_id\":509,"
    "\"eoa_token_index\":510,\"video_token_id\":511,\"eos_token_id\":[1],"
    "\"text_config\":{\"model_type\":\"gemma4_unified_text\",\"vocab_size\":512,"
    "\"hidden_size\":128,\"intermediate_size\":256,\"num_hidden_layers\":%u,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":32,"
    "\"num_global_key_value_heads\":1,\"global_head_dim\":64,\"attention_k_eq_v\":true,"
    "\"sliding_window\":64,\"max_position_embeddings\":8192,\"rms_norm_eps\":1e-6,"
    "\"final_logit_softcapping\":30.0,\"layer_types\":[%s]},"
    "\"vision_config\":{\"patch_size\":16,\"pooling_kernel_size\":3,\"num_soft_tokens\":70,"
    "\"mm_embed_dim\":128,\"mm_posemb_size\":64,\"output_proj_dims\":128},"
    "\"audio_config\":{\"audio_embed_dim\":640}}";

static const char GENERATION_12B[] =
    "{\"do_sample\":true,\"temperature\":1.0,\"top_k\":64,\"top_p\":0.95,\"pad_token_id\":0,"
    "\"bos_token_id\":2,\"eos_token_id\":[1,106,50],\"suppress_tokens\":[258883,258882]}";

static const SyntheticModel MODELS[] = {
    {"gemma-4-12b", CONFIG_12B, 48, 6},
    {"gemma-4-12b-2l", CONFIG_12B, 2, 2},
    {"tiny", CONFIG_TINY, 3, 3},
};

// One number for a counter, well mixed: the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast
// splittable pseudorandom number generators", OOPSLA 2014).
static inline uint64_t synthetic_hash(uint64_t counter) {
    uint64_t x = counter * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

// A number in (-1, 1) with a triangular density; its standard deviation is 1 / sqrt(6).
static inline float synthetic_triangle(uint64_t counter) {
    uint64_t x = synthetic_hash(counter);
    return ((float)(uint32_t)(x & 0xffffff) + (float)(uint32_t)(x >> 40)) * 0x1.0p-24f - 1.0f;
}

typedef struct FillJob {
    const WeightsStore *store;
    const Piece *piece;
    uint64_t seed; // counters of this piece begin here
} FillJob;

enum { FILL_CHUNK = 1 << 20 }; // bytes of one fan-out task

// Sums of two fields that cannot carry: nibbles 1..15 (q in [-7, 7]) or bytes 1..255 (q in
// [-127, 127]).
static void fill_codes(uint8_t *out, size_t bytes, uint64_t seed, bool nibbles) {
    const uint64_t mask = nibbles ? 0x7777777777777777u : 0x7f7f7f7f7f7f7f7fu;
    const uint64_t one = nibbles ? 0x1111111111111111u : 0x0101010101010101u;
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t x = synthetic_hash(seed + i / 4);
        uint64_t y = synthetic_hash(seed + i / 4 + 1);
        uint64_t codes = (x & mask) + (y & mask) + one;
        memcpy(out + i, &codes, sizeof codes);
    }
}

static void fill_chunk(void *context, size_t index) {
    const FillJob *job = context;
    const Piece *piece = job->piece;
    size_t begin = index * FILL_CHUNK;
    size_t bytes = num_min(FILL_CHUNK, piece->bytes - begin);
    uint8_t *out = store_piece_bytes(job->store, piece) + begin;
    uint64_t seed = job->seed + begin;
    float unit = (float)(STANDARD_DEVIATION * sqrt(6.0));
    switch (piece->matrix.level) {
    case LEVEL_F32:
        for (size_t i = 0; i < bytes / 4; i++) {
            ((float *)out)[i] = synthetic_triangle(seed + i) * unit;
        }
        break;
    case LEVEL_BF16:
        for (size_t i = 0; i < bytes / 2; i++) {
            ((uint16_t *)out)[i] = bf16_from_f32(synthetic_triangle(seed + i) * unit);
        }
        break;
    default:
        fill_codes(out, bytes, seed, piece->matrix.level == LEVEL_INT4);
        break;
    }
}

static void fill_matrix(const WeightsStore *store, const Piece *piece, uint64_t seed,
                        uint32_t threads) {
    const Matrix *matrix = &piece->matrix;
    // Padding would have to be zero; the synthetic shapes have none.
    REQUIRE(matrix->padded_columns == matrix->columns &&
            matrix_padded_rows(matrix->rows) == matrix->rows);
    FillJob job = {store, piece, seed};
    fanout_run(threads, num_ceil_div(piece->bytes, FILL_CHUNK), fill_chunk, &job);
    uint16_t *scales =
        (uint16_t *)(store_piece_bytes(store, piece) + (piece->scales_offset - piece->offset));
    // The variance of the sum of two uniform integers below n is (n^2 - 1) / 6.
    double levels = matrix->level == LEVEL_INT4 ? 8.0 : 128.0;
    double unit = STANDARD_DEVIATION / sqrt((levels * levels - 1.0) / 6.0);
    for (size_t i = 0; i < piece->scales_bytes / 2; i++) {
        // Scales differ by up to a quarter, as those of real groups do.
        double spread = 1.0 + 0.25 * (double)synthetic_triangle(seed + piece->bytes + i);
        scales[i] = f16_from_f32((float)(unit * spread));
    }
}

static void fill_vector(const WeightsStore *store, const Piece *piece, uint64_t seed) {
    float *out = (float *)store_piece_bytes(store, piece);
    bool around_zero = strstr(piece->name, "bias") != NULL || strstr(piece->name, "positions");
    float centre = around_zero ? 0.0f : 1.0f;
    for (uint64_t i = 0; i < piece->length; i++) {
        out[i] = piece->kind == PIECE_SCALAR ? LAYER_SCALAR
                                             : centre + 0.1f * synthetic_triangle(seed + i);
    }
}

static const SyntheticModel *synthetic_find(const char *name) {
    for (size_t i = 0; i < sizeof MODELS / sizeof *MODELS; i++) {
        if (strcmp(MODELS[i].name, name) == 0) {
            return &MODELS[i];
        }
    }
    return NULL;
}

// config.json of the model.
static Status synthetic_config_text(const SyntheticModel *model, Buffer *out, Error *error) {
    char layers[48 * 24] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < model->layers; i++) {
        bool full = (i + 1) % model->full_every == 0;
        used += (size_t)snprintf(layers + used, sizeof layers - used, "%s\"%s_attention\"",
                                 i > 0 ? "," : "", full ? "full" : "sliding");
    }
    char text[sizeof layers + 2048];
    bool tiny = model->text == CONFIG_TINY;
    snprintf(text, sizeof text, tiny ? CONFIG_TINY : CONFIG_12B, model->layers, layers);
    buffer_append_text(out, text);
    return out->failed ? error_set(error, E_MEMORY, "no memory for a config text") : OK;
}

static Status synthetic_write_texts(const SyntheticModel *model, WeightsStore *store,
                                    Error *error) {
    TRY(synthetic_config_text(model, &store->texts_owned[0], error));
    if (model->text != CONFIG_TINY) {
        buffer_append_text(&store->texts_owned[1], GENERATION_12B);
    }
    for (int i = 0; i < CONFIG_TEXT_COUNT; i++) {
        if (store->texts_owned[i].failed) {
            return error_set(error, E_MEMORY, "no memory for a config text");
        }
        store->texts.text[i] = (Bytes){store->texts_owned[i].data, store->texts_owned[i].length};
    }
    return OK;
}

static Status synthetic_find_or_say(const char *name, const SyntheticModel **out, Error *error) {
    *out = synthetic_find(name);
    return *out != NULL ? OK
                        : error_set(error, E_NOT_FOUND,
                                    "there is no such synthetic model; there are gemma-4-12b, "
                                    "gemma-4-12b-2l and tiny");
}

Status synthetic_config(const char *name, Gemma4Config *out, Error *error) {
    const SyntheticModel *model;
    TRY(synthetic_find_or_say(name, &model, error));
    Buffer text = {0};
    Status status = synthetic_config_text(model, &text, error);
    if (status == OK) {
        ConfigTexts texts = {.text = {[0] = {text.data, text.length}}};
        status = config_parse(&texts, out, error);
    }
    buffer_free(&text);
    return status;
}

Status synthetic_open(const char *name, const WeightsOptions *options, Weights *weights,
                      Error *error) {
    const SyntheticModel *model;
    TRY(synthetic_find_or_say(name, &model, error));
    WeightsStore *store = weights->store;
    TRY(synthetic_write_texts(model, store, error));
    TRY(config_parse(&store->texts, &weights->config, error));
    store->source = ELEMENT_BF16;
    config_set_source(&weights->config, store->source);
    store->levels.decoder = options->level == LEVEL_COUNT ? LEVEL_INT4 : options->level;
    store->levels.media = LEVEL_BF16;
    if (store->levels.decoder >= LEVEL_INT8) {
        store->levels.group = options->group == 0 ? 32 : options->group;
    }
    TRY(store_take_block(weights, options->shape_only, error));
    for (uint32_t i = 0; i < store->manifest.count && !options->shape_only; i++) {
        const Piece *piece = &store->manifest.pieces[i];
        uint64_t seed = synthetic_hash(i + 1);
        if (piece->kind == PIECE_MATRIX) {
            fill_matrix(store, piece, seed, options->threads);
        } else {
            fill_vector(store, piece, seed);
        }
    }
    if (!options->shape_only) {
        identity_hash_sections(store, options->threads);
    }
    return OK;
}
