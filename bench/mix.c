// SPDX-License-Identifier: Apache-2.0
#include "bench/mix.h"

const Mix mixes[] = {
    {"int4 x int8", LEVEL_INT4, ACTIVATION_INT8},
    {"int8 x int8", LEVEL_INT8, ACTIVATION_INT8},
    {"int4 x int8x2", LEVEL_INT4, ACTIVATION_INT8X2},
    {"int8 x int8x2", LEVEL_INT8, ACTIVATION_INT8X2},
    {"int4 x bf16", LEVEL_INT4, ACTIVATION_BF16},
    {"int8 x bf16", LEVEL_INT8, ACTIVATION_BF16},
    {"bf16 x bf16", LEVEL_BF16, ACTIVATION_BF16},
    {"f32 x f32", LEVEL_F32, ACTIVATION_F32},
};
const uint32_t mix_count = sizeof mixes / sizeof mixes[0];
