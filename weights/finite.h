// SPDX-License-Identifier: Apache-2.0
// Whether numbers are finite, by one test on the bits of the exponent that the compiler turns into
// vector instructions. A single NaN or infinity anywhere in a model spreads over every answer, so
// no source may bring one in: folders are looked at while they are packed (matrix_pack.h), packed
// files when they are written and when they are verified.
#ifndef WEIGHTS_FINITE_H
#define WEIGHTS_FINITE_H

#include "weights/manifest.h"

// The index of the first of `count` elements that is infinite or NaN, `count` when there is none.
// `data` needs no alignment.
uint64_t finite_first(ElementType type, const void *data, uint64_t count);

static inline bool finite_all(ElementType type, const void *data, uint64_t count) {
    return finite_first(type, data, count) == count;
}

// Looks at every number of every piece, scales included. E_TENSOR: the text names piece and place.
Status finite_check_pieces(const Manifest *manifest, const uint8_t *const sections[SECTION_COUNT],
                           Error *error);

// E_TENSOR with the first tensor of `tensors` that has a value which is not finite, or whose value
// rounded to `level` is not; and where it is.
Status finite_refuse(const SourceTensor *const *tensors, uint32_t count, WeightLevel level,
                     Error *error);

#endif
