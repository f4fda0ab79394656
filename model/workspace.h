// SPDX-License-Identifier: Apache-2.0
// Every byte a step computes in, laid out once at open. A step has three phases after the upload of
// its arrays, and buffers of different phases share memory:
//
//   | drawn, results, suppressed | step arrays | h | activation | then, by phase:
//       media     pixels, patch and frame rows
//       decoder   rope tables, wide, attention
//       head      logits, chunks
//
// `activation` serves every linear in turn: the normed rows die when q, k and v are made, so the
// attention's output may lie where they lay, and so on.
#ifndef MODEL_WORKSPACE_H
#define MODEL_WORKSPACE_H

#include "model/precision.h"

// What sizes a workspace. `rows`, `sequences`, `logits_rows` and `page_entries` are maxima.
typedef struct WorkspaceShape {
    uint32_t rows;
    uint32_t sequences;
    uint32_t samples; // rows that are sampled
    uint32_t logits_rows;
    bool scans;                             // the device's
    uint32_t page_entries[PAGE_KIND_COUNT]; // of all block tables of a step
    ActivationKind activation;              // the decoder's widest
    ActivationKind vision, audio;
    uint32_t qkv_columns; // of the widest layer
    uint32_t attention_columns;
    uint32_t head_dim[LAYER_KIND_COUNT]; // 0: the model has no such layer
} WorkspaceShape;

WorkspaceShape workspace_shape(const Weights *weights, const Backend *backend,
                               const EngineOptions *options);

typedef struct Workspace {
    size_t bytes;
    int32_t *drawn;      // [2][samples] tokens drawn: by a step, by the one before it
    StepSample *results; // [samples] in order
    unsigned char *step; // the step's arrays (step.h), step_bytes at most
    size_t step_bytes;
    float *h; // [rows][hidden], the residual stream
    ActivationArea activation;
    // Vision.
    uint8_t *pixels; // [rows][patch_values]
    ActivationArea patch_normed;
    float *patch_dense; // [rows][vision_hidden]
    ActivationArea patch_finished;
    // Audio.
    float *samples; // [rows][audio_frame]
    ActivationArea frame_normed;
    // Decoder.
    float *cosine[LAYER_KIND_COUNT], *sine[LAYER_KIND_COUNT]; // [rows][head_dim / 2]
    float *wide;      // [rows][max(qkv_columns, intermediate)]: q, k, v; then gelu(gate) * up
    float *attention; // [rows][attention_columns]
    float *branch;    // [rows][hidden]: what is added to h
    // Head.
    float *logits; // [logits_rows][vocab]
    // Its scan (model/ops.h), where the device makes one.
    uint32_t *suppressed; // [chunks], the same in every step
    float *chunks;        // [logits_rows][LOGIT_SUM_COUNT][chunks]
} Workspace;

// Lays the buffers out from `base`, 64-byte aligned; with base NULL only the sizes are meaningful.
Workspace workspace_lay_out(const WorkspaceShape *shape, const Gemma4Config *config, void *base);

#endif
