// SPDX-License-Identifier: Apache-2.0
// Which form the inputs of a matrix take, and memory for them. One rule for the whole model:
//
//   engine's setting    f32 matrix   bf16 matrix   int8 or int4 matrix
//   f32                 f32          f32           f32
//   bf16                refused      bf16          bf16
//   int8                refused      refused       int8
//   int8x2              refused      refused       int8x2
//   mixed               refused      refused       int8x2 for q, k, v and o, else int8
//   auto                f32          bf16          int8
//
// "refused" is about the decoder's matrices; a model has vision matrices of bf16 beside a decoder
// of int4, and those read bf16 under every setting but f32 (docs/numerics.md).
#ifndef MODEL_PRECISION_H
#define MODEL_PRECISION_H

#include "model/engine.h"
#include "model/ops.h"

// What a matrix is for.
typedef enum Projection {
    PROJECTION_ATTENTION, // q, k, v and o
    PROJECTION_FEED_FORWARD,
    PROJECTION_HEAD,
    PROJECTION_MEDIA
} Projection;

// What a matrix of this level reads.
ActivationKind precision_kind(EngineActivation setting, Projection projection, WeightLevel level);

// What the cache of a layer keeps.
KvKind precision_kv(EngineKv setting, LayerKind layer);

// E_ARGUMENT when a decoder of this level cannot be run under the setting.
Status precision_check(EngineActivation setting, WeightLevel decoder_level, Error *error);

// Device memory that holds activations of different widths one after the other.
typedef struct ActivationArea {
    void *values;
    float *scales;
    int32_t *block_sums;
} ActivationArea;

uint32_t precision_stride(uint32_t columns); // rounded up to ACTIVATION_COLUMN_ALIGN

// The area as an activation of `columns` columns.
Activation precision_view(const ActivationArea *area, ActivationKind kind, uint32_t columns);

#endif
