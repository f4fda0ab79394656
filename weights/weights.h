// SPDX-License-Identifier: Apache-2.0
// A model's weights, ready to compute with: every tensor by its role, in panel layout, from any of
// three sources behind one call. Owns the memory (mapped file or heap). Immutable after opening, so
// threads share it freely.
//
//   FOLDER                  a Hugging Face folder; tensors are checked against the manifest, then
//                           converted or quantized to the asked level while loading
//   FILE.tessera            our packed file: mapped, nothing is copied or parsed but a small table
//   synthetic:gemma-4-12b   weights of the true shape made from a seed, for speed and memory
//                           measurements (also synthetic:NAME for the smaller test shapes)
#ifndef WEIGHTS_WEIGHTS_H
#define WEIGHTS_WEIGHTS_H

#include "base/bytes.h"
#include "base/status.h"
#include "weights/gemma4.h"
#include "weights/matrix.h"

typedef struct LayerWeights {
    const float *input_norm;          // [hidden]
    const float *post_attention_norm; // [hidden]
    const float *pre_ffn_norm;        // [hidden]
    const float *post_ffn_norm;       // [hidden]
    const float *q_norm;              // [head_dim]
    const float *k_norm;              // [head_dim]
    float layer_scalar;
    Matrix qkv;     // [gemma4_qkv_rows][hidden]: q rows, k rows, v rows
    Matrix o;       // [hidden][heads * head_dim]
    Matrix gate_up; // [2 * intermediate padded to 16][hidden]: panels alternate, panel 2i holds
                    // gate rows 16i.., panel 2i + 1 the same rows of up
    Matrix down;    // [hidden][intermediate]
} LayerWeights;

// Patch columns are in HWC order: (py * 48 + px) * 3 + channel. Kept at bf16 or f32 at every level.
typedef struct VisionWeights {
    const float *patch_norm_weight, *patch_norm_bias; // LayerNorm 1, [patch_values], eps 1e-5
    Matrix patch_dense;                               // [vision_hidden][patch_values]
    const float *patch_dense_bias;                    // [vision_hidden]
    const float *dense_norm_weight, *dense_norm_bias; // LayerNorm 2, [vision_hidden]
    const float *positions; // [position_count][2][vision_hidden], axis 0 = x
    const float *position_norm_weight, *position_norm_bias; // LayerNorm 3, [vision_hidden]
    Matrix projection;                                      // [hidden][vision_hidden]
} VisionWeights;

typedef struct AudioWeights {
    Matrix projection; // [hidden][audio_frame]
} AudioWeights;

// What the source has of a tokenizer, for the host.
typedef enum TokenizerForm {
    TOKENIZER_NONE,   // nothing
    TOKENIZER_TABLES, // host/text's own flat form, of a packed file
    TOKENIZER_JSON,   // a file tokenizer.json, which need not be there
} TokenizerForm;

typedef struct TokenizerOrigin {
    TokenizerForm form;
    Bytes tables; // of TOKENIZER_TABLES
    char *path;   // of TOKENIZER_JSON
} TokenizerOrigin;

typedef struct Weights {
    Gemma4Config config;
    WeightLevel level;       // of the decoder's linears; the embedding is int8 for int8 and int4
    uint32_t group;          // 0 for f32 and bf16
    Matrix embedding;        // [vocab][hidden], tied: input lookup and lm_head
    const float *final_norm; // [hidden]
    LayerWeights layers[GEMMA4_LAYERS_MAX];
    VisionWeights vision; // valid when config.has_vision
    AudioWeights audio;   // valid when config.has_audio
    char identity[33];    // names the model in records (weights/identity.h)
    TokenizerOrigin tokenizer;
    struct WeightsStore *store; // whoever owns the bytes
} Weights;

typedef struct WeightsOptions {
    // Asked level; LEVEL_COUNT = as stored (bf16 and f16 load as bf16, f32 as f32)
    WeightLevel level;
    uint32_t group;   // 32, 64, 128; 0 = 32
    uint32_t threads; // for quantizing on load; 0 = one per processor
    bool shape_only;  // synthetic: true shapes and sizes, no numbers and no memory for them; the
                      // other sources are opened as without
} WeightsOptions;

// Opens any of the three sources. E_NOT_FOUND, E_CONFIG, E_CHECKPOINT, E_TENSOR (the text lists
// every missing, surplus and misshapen tensor with what was expected, as many as fit), E_PACK,
// E_ARGUMENT (a packed file of another level than asked), E_MEMORY.
Status weights_open(const char *path, const WeightsOptions *options, Weights **out, Error *error);
void weights_close(Weights *weights);

// What a folder's tokenizer.json became becomes part of the identity; a packed file brings it
// along. E_MEMORY, E_JSON.
Status weights_add_tokenizer(Weights *weights, Bytes tables, Error *error);

// Checks every byte of a packed file (weights/pack_file.h). E_ARGUMENT when the path is of another
// source.
Status weights_verify(const char *path, Error *error);

// Bytes of all tensors, for the memory plan, and whether they lie on the heap or in a mapped file.
uint64_t weights_bytes(const Weights *weights);
bool weights_on_heap(const Weights *weights);

// What the tensors are and where each stands in Weights (weights/manifest.h).
const struct Manifest *weights_manifest(const Weights *weights);

#endif
