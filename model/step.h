// SPDX-License-Identifier: Apache-2.0
// The arrays of one step on the device. All of them travel in one upload: they are packed one after
// the other into a host buffer and copied as a block; only pixels and samples go one by one,
// straight from where the host has them. Where an array lies depends on the numbers of rows,
// sequences, patches and frames alone, so a recorded step finds the next one's arrays in the same
// places.
#ifndef MODEL_STEP_H
#define MODEL_STEP_H

#include "model/workspace.h"

typedef struct Step {
    const int32_t *tokens; // [rows]
    PagedRows rows;
    uint32_t patch_count;            // of all images of the step
    const uint16_t *patch_positions; // [patches][2]
    const uint32_t *patch_rows;      // [patches] rows of the step they become
    uint32_t frame_count;            // of all audio of the step
    const uint32_t *frame_rows;      // [frames] as patch_rows
    uint32_t sample_count;
    const uint32_t *sample_rows; // [sample_count] last rows of the sequences to sample, in order
} Step;

// Room for the largest step of a shape.
size_t step_bytes_max(const WorkspaceShape *shape);

// Packs the batch into `staging` (host, workspace->step_bytes) and uploads it, pixels and samples.
Status step_upload(const Batch *batch, const Gemma4Config *config, const Workspace *workspace,
                   unsigned char *staging, const Backend *backend, Step *out);

#endif
