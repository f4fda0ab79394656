// SPDX-License-Identifier: Apache-2.0
// The arrays of one step on the device. All of them travel in one upload: they are packed one after
// the other into a host buffer and copied as a block, then all pixels, then all samples. Where an
// array lies depends on the numbers of rows, sequences, patches and frames alone, so a recorded
// step finds the next one's arrays in the same places.
//
// A step that is begun while the one before it runs must not write over the tokens that one draws
// before it has read them all, so they lie in two halves of workspace->drawn which the steps take
// in turn. The recorded step knows one address: a token says in which half it is.
#ifndef MODEL_STEP_H
#define MODEL_STEP_H

#include "model/workspace.h"

typedef struct Step {
    const int32_t *tokens; // [rows] of the batch; a drawn one as its place in workspace->drawn
    PagedRows rows;
    uint32_t patch_count;            // of all images of the step
    const uint16_t *patch_positions; // [patches][2]
    const uint32_t *patch_rows;      // [patches] rows of the step they become
    uint32_t frame_count;            // of all audio of the step
    const uint32_t *frame_rows;      // [frames] as patch_rows
    uint32_t sample_count;
    const uint32_t *sample_rows;             // [sample_count] in the order of the batch
    const float *sample_inverse_temperature; // [sample_count] their LogitScan.inverse_temperature
    const SampleSettings *sample_settings;   // [sample_count]
} Step;

// Room for the largest step of a shape.
size_t step_bytes_max(const WorkspaceShape *shape);

// Room on the host for what is packed of it, pixels and samples too, and for its results.
size_t step_staging_bytes(const WorkspaceShape *shape, const Gemma4Config *config);
size_t step_results_bytes(const WorkspaceShape *shape);

// The sequence as if its sampled row `index` were its last row and the only one it samples.
BatchSequence step_draw(const BatchSequence *sequence, uint32_t index);

// What a batch is uploaded with. `staging` is host memory of the device. `drawn_first`: where the
// half of the step before begins in workspace->drawn.
typedef struct StepUpload {
    const Gemma4Config *config;
    const Workspace *workspace;
    const Backend *backend;
    unsigned char *staging;
    uint32_t drawn_first;
} StepUpload;

// Packs the batch into `staging` and queues its upload: `staging` stays as it is until that is
// done, the batch is not needed any more.
Status step_upload(const Batch *batch, const StepUpload *with, Step *out);

#endif
