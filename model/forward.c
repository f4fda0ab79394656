// SPDX-License-Identifier: Apache-2.0
// Gemma 4 as it is computed (docs/numerics.md has the formulas and the reasons):
//
//   h = embed(tokens) * embed_scale, or the patch embedder's rows, or Waudio rms(samples)
//   for each layer
//       q, k, v = Wqkv norm(h)            v = k projection where value_is_key
//       o       = attention(rope(norm q), cache(rope(norm k), rms v))
//       h       = h + norm(Wo o)
//       f       = gelu(Wgate norm(h)) * (Wup norm(h))
//       h       = (h + norm(Wdown f)) * layer_scalar
//   logits = softcap(E norm(h))
//
// A norm that follows a residual addition is fused with it: residual_norm leaves the next linear's
// input behind, so every layer but the first finds its input ready.
#include "model/forward.h"

#include "base/check.h"

#define RUN(op, ...) TRY(model->backend->ops->op(model->backend->context, &(__VA_ARGS__)))

static Activation input_of(const Model *model, Projection projection, const Matrix *matrix) {
    ActivationKind kind = precision_kind(model->activation, projection, matrix->level);
    return precision_view(&model->workspace.activation, kind, matrix->columns);
}

static Status embed_patches(const Model *model, const Step *step) {
    const Workspace *w = &model->workspace;
    const Weights *weights = &model->weights;
    const Gemma4Config *config = &weights->config;
    RUN(patch_embed,
        (OpPatchEmbed){
            .patch_count = step->patch_count,
            .pixels = w->pixels,
            .positions = step->patch_positions,
            .out_rows = step->patch_rows,
            .weights = &weights->vision,
            .config = config,
            .normed = precision_view(&w->patch_normed, model->shape.vision, config->patch_values),
            .dense = w->patch_dense,
            .finished =
                precision_view(&w->patch_finished, model->shape.vision, config->vision_hidden),
            .out = w->h});
    return OK;
}

// A frame of samples becomes its RMS norm, without a weight, times a matrix.
static Status embed_frames(const Model *model, const Step *step) {
    const Workspace *w = &model->workspace;
    const Gemma4Config *config = &model->weights.config;
    const Matrix *projection = &model->weights.audio.projection;
    Activation normed = precision_view(&w->frame_normed, model->shape.audio, config->audio_frame);
    RUN(norm, (OpNorm){.row_count = step->frame_count,
                       .in = w->samples,
                       .columns = config->audio_frame,
                       .eps = config->audio_rms_eps,
                       .out = normed});
    RUN(linear, (OpLinear){.row_count = step->frame_count,
                           .in = normed,
                           .weight = *projection,
                           .out_rows = step->frame_rows,
                           .out = w->h,
                           .out_stride = config->hidden,
                           .out_columns = config->hidden});
    return OK;
}

static Status embed_rows(const Model *model, const Step *step) {
    const Weights *weights = &model->weights;
    RUN(embed, (OpEmbed){.row_count = step->rows.row_count,
                         .tokens = step->tokens,
                         .drawn = model->workspace.drawn,
                         .table = weights->embedding,
                         .scale = weights->config.embed_scale,
                         .out = model->workspace.h});
    if (step->patch_count > 0) {
        TRY(embed_patches(model, step));
    }
    return step->frame_count > 0 ? embed_frames(model, step) : OK;
}

static Status rope_tables(const Model *model, const Step *step) {
    for (int kind = 0; kind < LAYER_KIND_COUNT; kind++) {
        if (model->shape.head_dim[kind] == 0) {
            continue;
        }
        RUN(rope_table, (OpRopeTable){.row_count = step->rows.row_count,
                                      .positions = step->rows.positions,
                                      .pair_count = model->shape.head_dim[kind] / 2,
                                      .inverse_frequency = model->inverse_frequency[kind],
                                      .cosine = model->workspace.cosine[kind],
                                      .sine = model->workspace.sine[kind]});
    }
    return OK;
}

// h = h + norm(Wo attention); leaves norm(h) for the feed-forward half.
static Status attention_half(const Model *model, const Step *step, uint32_t index) {
    const Workspace *w = &model->workspace;
    const Gemma4Config *config = &model->weights.config;
    const LayerWeights *layer = &model->weights.layers[index];
    const LayerShape *shape = &config->layers[index];
    uint32_t row_count = step->rows.row_count;
    RUN(linear, (OpLinear){.row_count = row_count,
                           .in = input_of(model, PROJECTION_ATTENTION, &layer->qkv),
                           .weight = layer->qkv,
                           .out = w->wide,
                           .out_stride = layer->qkv.rows,
                           .out_columns = layer->qkv.rows});
    RUN(rope_append, (OpRopeAppend){.qkv = w->wide,
                                    .qkv_stride = layer->qkv.rows,
                                    .q_norm = layer->q_norm,
                                    .k_norm = layer->k_norm,
                                    .eps = config->rms_eps,
                                    .cosine = w->cosine[shape->kind],
                                    .sine = w->sine[shape->kind],
                                    .cache = model->kv.layers[index],
                                    .rows = step->rows});
    RUN(attention, (OpAttention){.q = w->wide,
                                 .q_stride = layer->qkv.rows,
                                 .cache = model->kv.layers[index],
                                 .rows = step->rows,
                                 .window = config->window,
                                 .scratch = w->attention,
                                 .out = input_of(model, PROJECTION_ATTENTION, &layer->o)});
    RUN(linear, (OpLinear){.row_count = row_count,
                           .in = input_of(model, PROJECTION_ATTENTION, &layer->o),
                           .weight = layer->o,
                           .out = w->branch,
                           .out_stride = config->hidden,
                           .out_columns = config->hidden});
    RUN(residual_norm,
        (OpResidualNorm){.row_count = row_count,
                         .columns = config->hidden,
                         .h = w->h,
                         .x = w->branch,
                         .post_norm = layer->post_attention_norm,
                         .scalar = 1.0f,
                         .next_norm = layer->pre_ffn_norm,
                         .eps = config->rms_eps,
                         .out = input_of(model, PROJECTION_FEED_FORWARD, &layer->gate_up)});
    return OK;
}

// h = (h + norm(Wdown(gelu(gate) * up))) * layer_scalar; leaves norm(h) for the next layer.
static Status feed_forward_half(const Model *model, const Step *step, uint32_t index) {
    const Workspace *w = &model->workspace;
    const Gemma4Config *config = &model->weights.config;
    const LayerWeights *layer = &model->weights.layers[index];
    const LayerWeights *next = index + 1 < config->layer_count ? layer + 1 : NULL;
    uint32_t row_count = step->rows.row_count;
    RUN(linear, (OpLinear){.row_count = row_count,
                           .in = input_of(model, PROJECTION_FEED_FORWARD, &layer->gate_up),
                           .weight = layer->gate_up,
                           .epilogue = LINEAR_GELU_MUL,
                           .out = w->wide,
                           .out_stride = config->intermediate,
                           .out_columns = config->intermediate});
    RUN(activate, (OpActivate){.row_count = row_count,
                               .in = w->wide,
                               .in_stride = config->intermediate,
                               .out = input_of(model, PROJECTION_FEED_FORWARD, &layer->down)});
    RUN(linear, (OpLinear){.row_count = row_count,
                           .in = input_of(model, PROJECTION_FEED_FORWARD, &layer->down),
                           .weight = layer->down,
                           .out = w->branch,
                           .out_stride = config->hidden,
                           .out_columns = config->hidden});
    RUN(residual_norm, (OpResidualNorm){.row_count = row_count,
                                        .columns = config->hidden,
                                        .h = w->h,
                                        .x = w->branch,
                                        .post_norm = layer->post_ffn_norm,
                                        .scalar = layer->layer_scalar,
                                        .next_norm = next == NULL ? NULL : next->input_norm,
                                        .eps = config->rms_eps,
                                        .out = input_of(model, PROJECTION_ATTENTION,
                                                        next == NULL ? &layer->qkv : &next->qkv)});
    return OK;
}

Status forward_decoder(const Model *model, const Step *step) {
    const Gemma4Config *config = &model->weights.config;
    const LayerWeights *layers = model->weights.layers;
    TRY(embed_rows(model, step));
    TRY(rope_tables(model, step));
    RUN(norm, (OpNorm){.row_count = step->rows.row_count,
                       .in = model->workspace.h,
                       .columns = config->hidden,
                       .weight = layers[0].input_norm,
                       .eps = config->rms_eps,
                       .out = input_of(model, PROJECTION_ATTENTION, &layers[0].qkv)});
    for (uint32_t l = 0; l < config->layer_count; l++) {
        TRY(attention_half(model, step, l));
        TRY(feed_forward_half(model, step, l));
    }
    return OK;
}

Status forward_logits(const Model *model, const uint32_t *rows, uint32_t first, uint32_t count,
                      LogitScan scan) {
    const Workspace *w = &model->workspace;
    const Weights *weights = &model->weights;
    const Gemma4Config *config = &weights->config;
    RUN(norm, (OpNorm){.row_count = count,
                       .rows = rows,
                       .in = w->h + (size_t)first * config->hidden,
                       .columns = config->hidden,
                       .weight = weights->final_norm,
                       .eps = config->rms_eps,
                       .out = input_of(model, PROJECTION_HEAD, &weights->embedding)});
    RUN(linear, (OpLinear){.row_count = count,
                           .in = input_of(model, PROJECTION_HEAD, &weights->embedding),
                           .weight = weights->embedding,
                           .softcap = config->logit_softcap,
                           .out = w->logits,
                           .out_stride = config->vocab_count,
                           .out_columns = config->vocab_count,
                           .scan = scan});
    return OK;
}
