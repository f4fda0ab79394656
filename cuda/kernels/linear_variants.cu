// SPDX-License-Identifier: Apache-2.0
// The list of linear's kernels (linear_variants.def) as a table.
#include "cuda/kernels/linear.h"

#define DECLARE(name)                                                   cudaError_t launch_##name(const CudaContext *context, const LinearArgs *args);
#define TILE_INT8(name, level, group, CW, TW, T, depth, stages, blocks) DECLARE(name)
#define TILE_BF16(name, level, group, CW, TW, T, depth, stages, blocks) DECLARE(name)
#define SPLIT_INT8(name, level, group, T, blocks)                       DECLARE(name)
#define SPLIT_BF16(name, level, group, T, blocks)                       DECLARE(name)
#include "cuda/kernels/linear_variants.def"
#undef TILE_INT8
#undef TILE_BF16
#undef SPLIT_INT8
#undef SPLIT_BF16

#define ROW(name, level, kind, group, outputs, tokens, split)                                      \
    {#name,   level,  kind,  (level) == LEVEL_BF16 ? 0 : (group),                                  \
     outputs, tokens, split, launch_##name},
#define TILE_INT8(name, level, group, CW, TW, T, depth, stages, blocks)                            \
    ROW(name, level, ACTIVATION_INT8, group, 32 * (CW), 8 * (TW) * (T), false)
#define TILE_BF16(name, level, group, CW, TW, T, depth, stages, blocks)                            \
    ROW(name, level, ACTIVATION_BF16, group, 32 * (CW), 8 * (TW) * (T), false)
#define SPLIT_INT8(name, level, group, T, blocks)                                                  \
    ROW(name, level, ACTIVATION_INT8, group, 32, 8 * (T), true)
#define SPLIT_BF16(name, level, group, T, blocks)                                                  \
    ROW(name, level, ACTIVATION_BF16, group, 32, 8 * (T), true)

const LinearVariant linear_variants[] = {
#include "cuda/kernels/linear_variants.def"
};

const uint32_t linear_variant_count = sizeof linear_variants / sizeof *linear_variants;
