// SPDX-License-Identifier: Apache-2.0
// patch_embed: u8 patches of all images of a step at once:
//
//   patch_pixels   u8 / 255, LayerNorm 1, rounded to what the product reads
//   linear         the dense product with its bias
//   patch_finish   LayerNorm 2, + (P[x, 0] + P[y, 1]), LayerNorm 3, RMS norm, rounded
//   linear         the projection, every patch to its row of h
//
// LayerNorm 1 is not folded into the product (kernels.md section 5 would multiply its weight into
// the matrix and send raw pixels): a product that reads rows of bf16 moves the same bytes either
// way, and the folded matrix would be rounded once more.
//
// Tile: a block of 256 threads takes a patch, which lies in shared memory (27 KB for 6912 values,
// 15 KB for 3840). Bytes a value: 1 read and 2 written, 4 read and 2 written, 4 and 4, the minimum
// for kernels between two products; norms and positions come from L2.
// promise: spills 0, calls 0
#include "base/check.h"
#include "cuda/kernels/row.cuh"

#define LAYER_NORM_EPS 1e-5f

typedef struct LayerNorm {
    const float *weight, *bias;
} LayerNorm;

typedef struct PixelsArgs {
    const uint8_t *pixels;
    uint32_t values;
    LayerNorm norm;
    Activation out;
} PixelsArgs;

typedef struct FinishArgs {
    const float *dense; // [patches][width]
    uint32_t width;
    LayerNorm dense_norm, position_norm;
    const float *positions; // [count][2][width]
    const uint16_t *places; // [patches][2]
    float eps;
    Activation out;
} FinishArgs;

// The row in place; a thread changes its own columns only. What is summed in the end are distances
// from a pivot near the mean, as in cpu/patch_embed_lanes.h.
DEVICE void layer_norm(const RowShared &s, uint32_t columns, const LayerNorm &norm) {
    float pivot = row_sum(s, columns) / (float)columns;
    RowMoments moments = row_moments(s, columns, pivot);
    float rest = moments.sum / (float)columns;
    float squares = fmaxf(fmaf(-moments.sum, rest, moments.squares), 0.0f);
    float factor = row_factor(squares, columns, LAYER_NORM_EPS);
    for (uint32_t i = thread_index(); i < columns; i += ROW_THREADS) {
        float centred = ((shared_load(s.row + i) - pivot) - rest) * factor;
        shared_store(s.row + i,
                     centred * global_load(norm.weight + i) + global_load(norm.bias + i));
    }
}

KERNEL void KERNEL_BOUNDS(ROW_THREADS, 3) patch_pixels(const PixelsArgs args) {
    RowShared s = row_shared(args.values);
    const uint8_t *pixels = args.pixels + (size_t)block_x() * args.values;
    for (uint32_t i = thread_index(); i < args.values; i += ROW_THREADS) {
        shared_store(s.row + i, (float)global_load(pixels + i) * (1.0f / 255.0f));
    }
    layer_norm(s, args.values, args.norm);
    activation_store(args.out, block_x(), s.warps,
                     [=](uint32_t i) { return shared_load(s.row + i); });
}

KERNEL void KERNEL_BOUNDS(ROW_THREADS, 4) patch_finish(const FinishArgs args) {
    RowShared s = row_shared(args.width);
    uint32_t width = args.width;
    const float *dense = args.dense + (size_t)block_x() * width;
    const uint16_t *place = args.places + (size_t)block_x() * 2;
    const float *x = args.positions + (size_t)global_load(place) * 2 * width;
    const float *y = args.positions + ((size_t)global_load(place + 1) * 2 + 1) * width;
    for (uint32_t i = thread_index(); i < width; i += ROW_THREADS) {
        shared_store(s.row + i, global_load(dense + i));
    }
    layer_norm(s, width, args.dense_norm);
    for (uint32_t i = thread_index(); i < width; i += ROW_THREADS) {
        float place_sum = global_load(x + i) + global_load(y + i);
        shared_store(s.row + i, shared_load(s.row + i) + place_sum);
    }
    layer_norm(s, width, args.position_norm);
    float factor = row_factor(row_sum_squares(s, width), width, args.eps);
    activation_store(args.out, block_x(), s.warps,
                     [=](uint32_t i) { return shared_load(s.row + i) * factor; });
}

// A product of the patches whose results lie `columns` apart.
static OpLinear product(const OpPatchEmbed *op, const Activation *in, const Matrix *weight,
                        float *out, uint32_t columns) {
    OpLinear linear = {};
    linear.row_count = op->patch_count;
    linear.in = *in;
    linear.weight = *weight;
    linear.out = out;
    linear.out_stride = columns;
    linear.out_columns = columns;
    return linear;
}

Status cuda_patch_embed(void *context, const OpPatchEmbed *op) {
    CudaContext *cuda = (CudaContext *)context;
    const VisionWeights *v = op->weights;
    uint32_t count = op->patch_count, values = op->config->patch_values;
    uint32_t width = op->config->vision_hidden;
    if (count == 0 || cuda->failed != OK) {
        return cuda->failed;
    }
    PixelsArgs pixels = {
        op->pixels, values, {v->patch_norm_weight, v->patch_norm_bias}, op->normed};
    TRY(cuda_launched(cuda, "patch_pixels",
                      LAUNCH(patch_pixels, dim3(count), ROW_THREADS, row_shared_bytes(values),
                             cuda->stream, pixels)));
    OpLinear dense = product(op, &op->normed, &v->patch_dense, op->dense, width);
    dense.bias = v->patch_dense_bias;
    TRY(cuda_linear(cuda, &dense));
    FinishArgs finish = {op->dense,
                         width,
                         {v->dense_norm_weight, v->dense_norm_bias},
                         {v->position_norm_weight, v->position_norm_bias},
                         v->positions,
                         op->positions,
                         op->config->vision_rms_eps,
                         op->finished};
    TRY(cuda_launched(cuda, "patch_finish",
                      LAUNCH(patch_finish, dim3(count), ROW_THREADS, row_shared_bytes(width),
                             cuda->stream, finish)));
    OpLinear projection = product(op, &op->finished, &v->projection, op->out, op->config->hidden);
    projection.out_rows = op->out_rows;
    return cuda_linear(cuda, &projection);
}
