// SPDX-License-Identifier: Apache-2.0
// patch_embed: LN1 -> dense + bias -> LN2 -> + (P[x, 0] + P[y, 1]) -> LN3 -> rms -> projection
// (model.md 3.1). Statistics in double. What enters the two products is rounded as the activation
// kind says and nowhere else: pixels are not rounded to bf16 before LN1 as transformers does in a
// bf16 model, so an f32 engine equals the f32 model.
#include "base/check.h"
#include "cpu/activation.h"
#include "cpu/context.h"

#include <math.h>
#include <stdlib.h>

static const double LAYER_NORM_EPS = 1e-5;

static void layer_norm(float *x, uint32_t count, const float *weight, const float *bias) {
    double sum = 0.0;
    for (uint32_t i = 0; i < count; i++) {
        sum += (double)x[i];
    }
    double mean = sum / count;
    double squares = 0.0;
    for (uint32_t i = 0; i < count; i++) {
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    }
    double factor = 1.0 / sqrt(squares / count + LAYER_NORM_EPS);
    for (uint32_t i = 0; i < count; i++) {
        x[i] = (float)(((double)x[i] - mean) * factor * (double)weight[i] + (double)bias[i]);
    }
}

static void rms_norm(float *x, uint32_t count, float eps) {
    double squares = 0.0;
    for (uint32_t i = 0; i < count; i++) {
        squares += (double)x[i] * (double)x[i];
    }
    double factor = 1.0 / sqrt(squares / count + (double)eps);
    for (uint32_t i = 0; i < count; i++) {
        x[i] = (float)((double)x[i] * factor);
    }
}

Status patch_embed_ref(void *context, const OpPatchEmbed *op) {
    const VisionWeights *vision = op->weights;
    const Gemma4Config *config = op->config;
    uint32_t values = config->patch_values;
    uint32_t width = config->vision_hidden;
    float *patch = calloc(values, sizeof *patch);
    if (patch == NULL) {
        return E_MEMORY;
    }
    for (uint32_t i = 0; i < op->patch_count; i++) {
        const uint8_t *pixels = op->pixels + (size_t)i * values;
        for (uint32_t c = 0; c < values; c++) {
            patch[c] = (float)pixels[c] * (1.0f / 255.0f); // the image processor's f32 factor
        }
        layer_norm(patch, values, vision->patch_norm_weight, vision->patch_norm_bias);
        activation_store(&op->normed, i, patch);
    }
    free(patch);
    TRY(linear_ref(context, &(OpLinear){.row_count = op->patch_count,
                                        .in = op->normed,
                                        .weight = vision->patch_dense,
                                        .bias = vision->patch_dense_bias,
                                        .out = op->dense,
                                        .out_stride = width,
                                        .out_columns = width}));
    for (uint32_t i = 0; i < op->patch_count; i++) {
        float *row = op->dense + (size_t)i * width;
        const float *x = vision->positions + (size_t)op->positions[2 * i] * 2 * width;
        const float *y = vision->positions + ((size_t)op->positions[2 * i + 1] * 2 + 1) * width;
        layer_norm(row, width, vision->dense_norm_weight, vision->dense_norm_bias);
        for (uint32_t c = 0; c < width; c++) {
            row[c] += x[c] + y[c];
        }
        layer_norm(row, width, vision->position_norm_weight, vision->position_norm_bias);
        rms_norm(row, width, config->vision_rms_eps);
        activation_store(&op->finished, i, row);
    }
    return linear_ref(context, &(OpLinear){.row_count = op->patch_count,
                                           .in = op->finished,
                                           .weight = vision->projection,
                                           .out_rows = op->out_rows,
                                           .out = op->out,
                                           .out_stride = config->hidden,
                                           .out_columns = config->hidden});
}
