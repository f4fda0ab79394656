// SPDX-License-Identifier: Apache-2.0
// The element types a checkpoint may store a tensor in, and rows of them as f32. Sources need no
// alignment: a safetensors file promises none.
#ifndef WEIGHTS_ELEMENT_H
#define WEIGHTS_ELEMENT_H

#include <stddef.h>
#include <stdint.h>

typedef enum ElementType {
    ELEMENT_F32,
    ELEMENT_BF16,
    ELEMENT_F16,
    ELEMENT_OTHER, // a type we can name but not compute with
} ElementType;

// Bytes of one element of the three types we read.
static inline size_t element_bytes(ElementType type) {
    return type == ELEMENT_F32 ? 4 : 2;
}

// `count` elements that begin at `data` (any alignment) as f32 into out[i * stride].
void element_to_f32(ElementType type, const void *data, size_t count, size_t stride, float *out);

// `value` as an element of `type` holds it: bf16 and f16 round to nearest even.
float element_round(ElementType type, float value);

#endif
