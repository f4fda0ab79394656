// SPDX-License-Identifier: Apache-2.0
#include "model/precision.h"

#include "base/num.h"

#include <string.h>

static const char *const setting_names[ENGINE_ACTIVATION_COUNT] = {"auto", "f32",    "bf16",
                                                                   "int8", "int8x2", "mixed"};

static const char *const kv_names[ENGINE_KV_COUNT] = {"bf16", "f32", "int8", "int8-all"};

EngineActivation engine_activation_named(const char *name) {
    int setting = 0;
    while (setting < ENGINE_ACTIVATION_COUNT && strcmp(name, setting_names[setting]) != 0) {
        setting++;
    }
    return (EngineActivation)setting;
}

const char *engine_activation_name(EngineActivation setting) {
    return setting_names[setting];
}

EngineKv engine_kv_named(const char *name) {
    int setting = 0;
    while (setting < ENGINE_KV_COUNT && strcmp(name, kv_names[setting]) != 0) {
        setting++;
    }
    return (EngineKv)setting;
}

const char *engine_kv_name(EngineKv setting) {
    return kv_names[setting];
}

ActivationKind precision_kind(EngineActivation setting, Projection projection, WeightLevel level) {
    if (setting == ENGINE_ACTIVATION_F32 || level == LEVEL_F32) {
        return ACTIVATION_F32;
    }
    if (setting == ENGINE_ACTIVATION_BF16 || level == LEVEL_BF16) {
        return ACTIVATION_BF16;
    }
    bool two = setting == ENGINE_ACTIVATION_INT8X2 ||
               (setting == ENGINE_ACTIVATION_MIXED && projection == PROJECTION_ATTENTION);
    return two ? ACTIVATION_INT8X2 : ACTIVATION_INT8;
}

KvKind precision_kv(EngineKv setting, LayerKind layer) {
    switch (setting) {
    case ENGINE_KV_F32:
        return KV_F32;
    case ENGINE_KV_INT8:
        return layer == LAYER_SLIDING ? KV_INT8 : KV_BF16;
    case ENGINE_KV_INT8_ALL:
        return KV_INT8;
    case ENGINE_KV_BF16:
    case ENGINE_KV_COUNT:
        break;
    }
    return KV_BF16;
}

Status precision_check(EngineActivation setting, WeightLevel decoder_level, Error *error) {
    bool quantized = decoder_level == LEVEL_INT8 || decoder_level == LEVEL_INT4;
    if (setting >= ENGINE_ACTIVATION_INT8 && !quantized) {
        return error_set(error, E_ARGUMENT,
                         "activations of kind %s need weights of int8 or int4, and these are %s; "
                         "choose auto, or load the model with int8 or int4 weights",
                         setting_names[setting], weight_level_name(decoder_level));
    }
    if (setting == ENGINE_ACTIVATION_BF16 && decoder_level == LEVEL_F32) {
        return error_set(error, E_ARGUMENT,
                         "activations of bf16 need weights of bf16, int8 or int4, and these are "
                         "f32; choose auto or f32");
    }
    return OK;
}

uint32_t precision_stride(uint32_t columns) {
    return (uint32_t)num_round_up(columns, ACTIVATION_COLUMN_ALIGN);
}

Activation precision_view(const ActivationArea *area, ActivationKind kind, uint32_t columns) {
    return (Activation){.kind = kind,
                        .columns = columns,
                        .stride = precision_stride(columns),
                        .values = area->values,
                        .scales = area->scales,
                        .block_sums = area->block_sums};
}
