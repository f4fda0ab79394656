// SPDX-License-Identifier: Apache-2.0
// patch_embed, written once over Lanes: norms by rows on all threads around the two products.
// Sums run over 64 f32 chains, column i in chain i % 64, folded in a fixed order.
//
// A patch of paper or sky is flat: its values are large beside their distance from their mean, all
// roundings of a sum go one way, and 1 / sqrt(var + 1e-5) enlarges what the mean is off up to 316
// times. So a first mean serves as pivot only. The distances from it are exact where it matters,
// and what the pivot is off is their mean, which is subtracted for itself.
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

enum { ROW_CHAINS = 4 }; // of Lanes

// Sums of the distances from a pivot and of their squares.
typedef struct Moments {
    double sum, squares;
} Moments;

LANES_INLINE float chains_sum(const Lanes *chains) {
    return lanes_sum(lanes_add(lanes_add(chains[0], chains[1]), lanes_add(chains[2], chains[3])));
}

LANES_INLINE Moments row_moments(const float *x, uint32_t count, float pivot) {
    Lanes sums[ROW_CHAINS], squares[ROW_CHAINS];
    for (uint32_t j = 0; j < ROW_CHAINS; j++) {
        sums[j] = squares[j] = lanes_set(0.0f);
    }
    float tail[LANES * ROW_CHAINS];
    for (uint32_t i = 0; i < count; i += LANES * ROW_CHAINS) {
        const float *from = x + i;
        if (count - i < LANES * ROW_CHAINS) { // what is missing is no distance
            for (uint32_t k = 0; k < LANES * ROW_CHAINS; k++) {
                tail[k] = i + k < count ? x[i + k] : pivot;
            }
            from = tail;
        }
        for (uint32_t j = 0; j < ROW_CHAINS; j++) {
            Lanes v = lanes_sub(lanes_load(from + j * LANES), lanes_set(pivot));
            sums[j] = lanes_add(v, sums[j]);
            squares[j] = lanes_fma(v, v, squares[j]);
        }
    }
    return (Moments){(double)chains_sum(sums), (double)chains_sum(squares)};
}

static void layer_norm(float *x, uint32_t count, const float *weight, const float *bias) {
    float pivot = (float)(row_moments(x, count, 0.0f).sum / count);
    Moments near = row_moments(x, count, pivot);
    double squares = fmax(near.squares - near.sum * near.sum / count, 0.0);
    float factor = (float)(1.0 / sqrt(squares / count + LAYER_NORM_EPS));
    float rest = (float)(near.sum / count);
    for (uint32_t i = 0; i < count; i++) {
        x[i] = ((x[i] - pivot) - rest) * factor * weight[i] + bias[i];
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
    double mean = row_moments(row, width, 0.0f).squares / width;
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
