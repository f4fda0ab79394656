// SPDX-License-Identifier: Apache-2.0
// patch_embed, portable: the algorithm of patch_embed_lanes.h.
#include "cpu/patch_embed_lanes.h"

Status patch_embed_scalar(void *context, const OpPatchEmbed *op) {
    return patch_embed_run(context, op, linear_scalar);
}
