// SPDX-License-Identifier: Apache-2.0
// patch_embed, written once over Lanes: norms by rows on all threads around the two products.
// Sums run over sixteen f32 chains folded in a fixed order; the variance is of the centred values.
#ifndef CPU_PATCH_EMBED_LANES_H
#define CPU_PATCH_EMBED_LANES_H

#include "base/check.h"
#include "cpu/activation.h"
#include "cpu/context.h"
#include "cpu/lanes.h"

#define LAYER_NORM_EPS 1e-5

typedef struct PatchEmbed {
    const OpPatchEmbed *op;
    CpuContext *cpu;
} PatchEmbed;

// Sum of (x - shift)^2, or of x where `squared` is false; the tail beyond whole vectors comes last.
LANES_INLINE double row_sum(const float *x, uint32_t count, float shift, bool squared) {
    Lanes sum = lanes_set(0.0f);
    uint32_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        Lanes v = lanes_sub(lanes_load(x + i), lanes_set(shift));
        sum = squared ? lanes_fma(v, v, sum) : lanes_add(v, sum);
    }
    double total = (double)lanes_sum(sum);
    for (; i < count; i++) {
        double v = (double)x[i] - (double)shift;
        total += squared ? v * v : v;
    }
    return total;
}

static void layer_norm(float *x, uint32_t count, const float *weight, const float *bias) {
    float mean = (float)(row_sum(x, count, 0.0f, false) / count);
    float factor = (float)(1.0 / sqrt(row_sum(x, count, mean, true) / count + LAYER_NORM_EPS));
    for (uint32_t i = 0; i < count; i++) {
        x[i] = (x[i] - mean) * factor * weight[i] + bias[i];
    }
}

static void patch_norm(void *argument, uint32_t patch, uint32_t worker) {
    const PatchEmbed *embed = argument;
    const OpPatchEmbed *op = embed->op;
    uint32_t values = op->config->patch_values;
    const uint8_t *pixels = op->pixels + (size_t)patch * values;
    float *row = (float *)embed->cpu->scratch[worker];
    for (uint32_t i = 0; i < values; i++) {
        row[i] = (float)pixels[i] * (1.0f / 255.0f);
    }
    layer_norm(row, values, op->weights->patch_norm_weight, op->weights->patch_norm_bias);
    activation_store(&op->normed, patch, row);
}

static void patch_finish(void *argument, uint32_t patch, uint32_t worker) {
    (void)worker;
    const OpPatchEmbed *op = ((const PatchEmbed *)argument)->op;
    const VisionWeights *vision = op->weights;
    uint32_t width = op->config->vision_hidden;
    float *row = op->dense + (size_t)patch * width;
    const float *x = vision->positions + (size_t)op->positions[2 * patch] * 2 * width;
    const float *y = vision->positions + ((size_t)op->positions[2 * patch + 1] * 2 + 1) * width;
    layer_norm(row, width, vision->dense_norm_weight, vision->dense_norm_bias);
    for (uint32_t i = 0; i < width; i++) {
        row[i] += x[i] + y[i];
    }
    layer_norm(row, width, vision->position_norm_weight, vision->position_norm_bias);
    double mean = row_sum(row, width, 0.0f, true) / width;
    float factor = (float)(1.0 / sqrt(mean + (double)op->config->vision_rms_eps));
    for (uint32_t i = 0; i < width; i++) {
        row[i] *= factor;
    }
    activation_store(&op->finished, patch, row);
}

LANES_INLINE Status patch_embed_run(void *context, const OpPatchEmbed *op,
                                    Status (*linear)(void *context, const OpLinear *op)) {
    PatchEmbed embed = {.op = op, .cpu = context};
    uint32_t width = op->config->vision_hidden;
    uint32_t hidden = op->config->hidden;
    REQUIRE_MESSAGE(op->config->patch_values * sizeof(float) <= CPU_SCRATCH_BYTES, "%u values",
                    op->config->patch_values);
    pool_run(embed.cpu->pool, op->patch_count, patch_norm, &embed);
    TRY(linear(context, &(OpLinear){.row_count = op->patch_count,
                                    .in = op->normed,
                                    .weight = op->weights->patch_dense,
                                    .bias = op->weights->patch_dense_bias,
                                    .out = op->dense,
                                    .out_stride = width,
                                    .out_columns = width}));
    pool_run(embed.cpu->pool, op->patch_count, patch_finish, &embed);
    return linear(context, &(OpLinear){.row_count = op->patch_count,
                                       .in = op->finished,
                                       .weight = op->weights->projection,
                                       .out_rows = op->out_rows,
                                       .out = op->out,
                                       .out_stride = hidden,
                                       .out_columns = hidden});
}

#endif
