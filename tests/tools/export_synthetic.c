// SPDX-License-Identifier: Apache-2.0
// Writes a synthetic model (weights/weights.h) as a Hugging Face folder, so that transformers can
// run the very weights we run: export_synthetic NAME FOLDER VOCAB. Only the first VOCAB rows of the
// embedding are written, which leaves the logits of those tokens what they are. Matrices are bf16
// as generated, everything else f32. Used by tests/golden/shape12b/make_shape12b.py.
#include "base/f16.h"
#include "base/file_write.h"
#include "weights/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Tensors in the order of writing: first all headers are collected, then all bytes are written.
typedef struct Export {
    FILE *file; // NULL while headers are collected
    Buffer header;
    size_t offset;
    float *row; // room for the widest row
} Export;

static void header(Export *e, const char *name, const char *type, const char *shape, size_t bytes) {
    buffer_printf(&e->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                  e->header.length == 1 ? "" : ",", name, type, shape, e->offset,
                  e->offset + bytes);
    e->offset += bytes;
}

static void floats(Export *e, const char *name, const float *values, const char *shape,
                   size_t count) {
    if (e->file == NULL) {
        header(e, name, "F32", shape, count * sizeof *values);
    } else {
        fwrite(values, sizeof *values, count, e->file);
    }
}

static void vector(Export *e, const char *name, const float *values, size_t count) {
    char shape[32];
    snprintf(shape, sizeof shape, "[%zu]", count);
    floats(e, name, values, shape, count);
}

// Rows [first, first + count) of a matrix, or with `pairs` the gate (0) or up (1) panels.
static void matrix(Export *e, const char *name, const Matrix *m, uint32_t first, uint32_t count,
                   int pairs) {
    if (e->file == NULL) {
        char shape[64];
        snprintf(shape, sizeof shape, "[%u,%u]", count, m->columns);
        header(e, name, "BF16", shape, (size_t)count * m->columns * 2);
        return;
    }
    for (uint32_t r = 0; r < count; r++) {
        uint32_t row = first + r;
        if (pairs >= 0) {
            row = (r / MATRIX_PANEL * 2 + (uint32_t)pairs) * MATRIX_PANEL + r % MATRIX_PANEL;
        }
        matrix_row(m, row, e->row);
        for (uint32_t c = 0; c < m->columns; c++) {
            uint16_t value = bf16_from_f32(e->row[c]);
            fwrite(&value, sizeof value, 1, e->file);
        }
    }
}

static void layer(Export *e, const Weights *w, uint32_t index) {
    const LayerWeights *l = &w->layers[index];
    const LayerShape *shape = &w->config.layers[index];
    uint32_t q = shape->head_count * shape->head_dim;
    uint32_t kv = shape->kv_head_count * shape->head_dim;
    uint32_t hidden = w->config.hidden, ffn = w->config.intermediate;
    char name[128];
#define NAME(text)                                                                                 \
    (snprintf(name, sizeof name, "model.language_model.layers.%u." text, index), name)
    vector(e, NAME("input_layernorm.weight"), l->input_norm, hidden);
    vector(e, NAME("post_attention_layernorm.weight"), l->post_attention_norm, hidden);
    vector(e, NAME("pre_feedforward_layernorm.weight"), l->pre_ffn_norm, hidden);
    vector(e, NAME("post_feedforward_layernorm.weight"), l->post_ffn_norm, hidden);
    vector(e, NAME("self_attn.q_norm.weight"), l->q_norm, shape->head_dim);
    vector(e, NAME("self_attn.k_norm.weight"), l->k_norm, shape->head_dim);
    vector(e, NAME("layer_scalar"), &l->layer_scalar, 1);
    matrix(e, NAME("self_attn.q_proj.weight"), &l->qkv, 0, q, -1);
    matrix(e, NAME("self_attn.k_proj.weight"), &l->qkv, q, kv, -1);
    if (!shape->value_is_key) {
        matrix(e, NAME("self_attn.v_proj.weight"), &l->qkv, q + kv, kv, -1);
    }
    matrix(e, NAME("self_attn.o_proj.weight"), &l->o, 0, hidden, -1);
    matrix(e, NAME("mlp.gate_proj.weight"), &l->gate_up, 0, ffn, 0);
    matrix(e, NAME("mlp.up_proj.weight"), &l->gate_up, 0, ffn, 1);
    matrix(e, NAME("mlp.down_proj.weight"), &l->down, 0, hidden, -1);
#undef NAME
}

static void vision(Export *e, const Weights *w) {
    const Gemma4Config *config = &w->config;
    const VisionWeights *v = &w->vision;
    uint32_t width = config->vision_hidden;
    vector(e, "model.vision_embedder.patch_ln1.weight", v->patch_norm_weight, config->patch_values);
    vector(e, "model.vision_embedder.patch_ln1.bias", v->patch_norm_bias, config->patch_values);
    matrix(e, "model.vision_embedder.patch_dense.weight", &v->patch_dense, 0, width, -1);
    vector(e, "model.vision_embedder.patch_dense.bias", v->patch_dense_bias, width);
    vector(e, "model.vision_embedder.patch_ln2.weight", v->dense_norm_weight, width);
    vector(e, "model.vision_embedder.patch_ln2.bias", v->dense_norm_bias, width);
    char shape[64];
    snprintf(shape, sizeof shape, "[%u,2,%u]", config->position_count, width);
    floats(e, "model.vision_embedder.pos_embedding", v->positions, shape,
           (size_t)config->position_count * 2 * width);
    vector(e, "model.vision_embedder.pos_norm.weight", v->position_norm_weight, width);
    vector(e, "model.vision_embedder.pos_norm.bias", v->position_norm_bias, width);
    matrix(e, "model.embed_vision.embedding_projection.weight", &v->projection, 0, config->hidden,
           -1);
}

static void tensors(Export *e, const Weights *w, uint32_t vocab) {
    matrix(e, "model.language_model.embed_tokens.weight", &w->embedding, 0, vocab, -1);
    vector(e, "model.language_model.norm.weight", w->final_norm, w->config.hidden);
    for (uint32_t l = 0; l < w->config.layer_count; l++) {
        layer(e, w, l);
    }
    vision(e, w);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: export_synthetic NAME FOLDER VOCAB\n");
        return 2;
    }
    Error error;
    Weights *w;
    if (weights_open(argv[1], &(WeightsOptions){.level = LEVEL_BF16}, &w, &error) != OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    uint32_t vocab = (uint32_t)strtoul(argv[3], NULL, 10);
    char path[4096];
    snprintf(path, sizeof path, "%s/config.json", argv[2]);
    if (file_write_whole(path, w->store->texts.text[0], &error) != OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    Export e = {.row = malloc((size_t)(w->config.intermediate + w->config.patch_values) * 8)};
    buffer_append_byte(&e.header, '{');
    tensors(&e, w, vocab);
    buffer_append_byte(&e.header, '}');
    while (e.header.length % 8 != 0) {
        buffer_append_byte(&e.header, ' ');
    }
    snprintf(path, sizeof path, "%s/model.safetensors", argv[2]);
    e.file = fopen(path, "wb");
    if (e.file == NULL || e.row == NULL) {
        perror(path);
        return 1;
    }
    uint64_t length = e.header.length;
    fwrite(&length, sizeof length, 1, e.file);
    fwrite(e.header.data, 1, e.header.length, e.file);
    tensors(&e, w, vocab);
    return fclose(e.file) == 0 ? 0 : 1;
}
