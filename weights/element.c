// SPDX-License-Identifier: Apache-2.0
#include "weights/element.h"

#include "base/f16.h"

#include <string.h>

static inline uint16_t element_load16(const uint8_t *data) {
    uint16_t bits;
    memcpy(&bits, data, sizeof bits);
    return bits;
}

void element_to_f32(ElementType type, const void *data, size_t count, size_t stride, float *out) {
    const uint8_t *bytes = data;
    switch (type) {
    case ELEMENT_F32:
        for (size_t i = 0; i < count; i++) {
            memcpy(&out[i * stride], bytes + i * 4, 4);
        }
        break;
    case ELEMENT_BF16:
        for (size_t i = 0; i < count; i++) {
            out[i * stride] = bf16_to_f32(element_load16(bytes + i * 2));
        }
        break;
    default:
        for (size_t i = 0; i < count; i++) {
            out[i * stride] = f16_to_f32(element_load16(bytes + i * 2));
        }
        break;
    }
}

float element_round(ElementType type, float value) {
    switch (type) {
    case ELEMENT_BF16:
        return bf16_to_f32(bf16_from_f32(value));
    case ELEMENT_F16:
        return f16_to_f32(f16_from_f32(value));
    default:
        return value;
    }
}
