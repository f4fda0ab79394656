// SPDX-License-Identifier: Apache-2.0
// An element is infinite or NaN when its exponent has only ones, and then adding one to the
// exponent carries into the bit of the sign. The carries of a run of elements are or-ed together,
// and only a run that has one is looked at element by element.
#include "weights/finite.h"

#include "base/f16.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { RUN = 512 }; // elements of one test; a constant, so that the loop becomes vectors

static bool finite_run16(const uint8_t *data, size_t count, uint16_t exponent) {
    uint16_t one = (uint16_t)(exponent & -exponent), carries = 0;
    for (size_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, data + i * sizeof bits, sizeof bits);
        carries |= (uint16_t)((bits & exponent) + one);
    }
    return (carries & 0x8000u) == 0;
}

static bool finite_run32(const uint8_t *data, size_t count) {
    uint32_t carries = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, data + i * sizeof bits, sizeof bits);
        carries |= (bits & 0x7f800000u) + 0x00800000u;
    }
    return (carries & 0x80000000u) == 0;
}

static inline bool finite_run(ElementType type, const uint8_t *data, size_t count) {
    return type == ELEMENT_F32 ? finite_run32(data, count)
                               : finite_run16(data, count, type == ELEMENT_BF16 ? 0x7f80 : 0x7c00);
}

uint64_t finite_first(ElementType type, const void *data, uint64_t count) {
    const uint8_t *bytes = data;
    size_t width = element_bytes(type);
    uint64_t at = 0;
    while (at + RUN <= count && finite_run(type, bytes + at * width, RUN)) {
        at += RUN;
    }
    while (at < count && finite_run(type, bytes + at * width, 1)) {
        at++;
    }
    return at;
}

// Row and column of number `at` of a matrix' codes or scales, from the layouts of matrix.h.
// `together`: columns that lie side by side. `each`: columns that one number stands for.
static void place_in_panels(const Matrix *matrix, uint64_t at, uint32_t together, uint32_t each,
                            char *out, size_t out_bytes) {
    uint64_t block = at / ((uint64_t)MATRIX_PANEL * together);
    uint64_t blocks = matrix->padded_columns / (together * each);
    uint64_t row = block / blocks * MATRIX_PANEL + at / together % MATRIX_PANEL;
    uint64_t column = (block % blocks * together + at % together) * each;
    snprintf(out, out_bytes, "row %" PRIu64 ", column %" PRIu64, row, column);
}

static Status piece_check(const Piece *piece, const uint8_t *section, Error *error) {
    const Matrix *matrix = &piece->matrix;
    bool grouped = piece->kind == PIECE_MATRIX && matrix->level >= LEVEL_INT8;
    bool narrow = piece->kind == PIECE_MATRIX && matrix->level == LEVEL_BF16;
    ElementType type = grouped ? ELEMENT_F16 : narrow ? ELEMENT_BF16 : ELEMENT_F32;
    const uint8_t *data = section + (grouped ? piece->scales_offset : piece->offset);
    uint64_t count = (grouped ? piece->scales_bytes : piece->bytes) / element_bytes(type);
    uint64_t at = finite_first(type, data, count);
    if (at == count) {
        return OK;
    }
    char place[64];
    if (piece->kind == PIECE_MATRIX) {
        place_in_panels(matrix, at, narrow ? 2 : 1, grouped ? matrix->group : 1, place,
                        sizeof place);
    } else {
        snprintf(place, sizeof place, "index %" PRIu64, at);
    }
    return error_set(error, E_TENSOR,
                     "its tensor %s holds a value that is not finite at %s; pack it again from an "
                     "original whose numbers are all finite",
                     piece->name, place);
}

Status finite_check_pieces(const Manifest *manifest, const uint8_t *const sections[SECTION_COUNT],
                           Error *error) {
    Status status = OK;
    for (uint32_t i = 0; i < manifest->count && status == OK; i++) {
        const Piece *piece = &manifest->pieces[i];
        status = piece_check(piece, sections[piece->section], error);
    }
    return status;
}

static uint64_t tensor_count(const SourceTensor *tensor) {
    return tensor->codes != NULL ? tensor->shape[0] * tensor->shape[1]
                                 : tensor->bytes / element_bytes(tensor->type);
}

static float element_at(const SourceTensor *tensor, uint64_t at) {
    float value;
    if (tensor->codes != NULL) {
        const CodeRun run = {at / tensor->shape[1], at % tensor->shape[1], 1};
        group_codes_to_f32(tensor->codes, &run, 1, &value);
    } else {
        element_to_f32(tensor->type, tensor->data + at * element_bytes(tensor->type), 1, 1, &value);
    }
    return value;
}

// The first element that does not survive as a finite number of `level`.
static uint64_t tensor_first(const SourceTensor *tensor, WeightLevel level) {
    uint64_t count = tensor_count(tensor), at = 0;
    bool narrows = level == LEVEL_BF16 && (tensor->codes != NULL || tensor->type == ELEMENT_F32);
    if (tensor->codes == NULL) {
        at = finite_first(tensor->type, tensor->data, count);
        if (at < count || !narrows) {
            return at;
        }
        at = 0;
    }
    ElementType type = narrows ? ELEMENT_BF16 : ELEMENT_F32;
    while (at < count && isfinite(element_round(type, element_at(tensor, at)))) {
        at++;
    }
    return at;
}

Status finite_refuse(const SourceTensor *const *tensors, uint32_t count, WeightLevel level,
                     Error *error) {
    for (uint32_t i = 0; i < count; i++) {
        const SourceTensor *tensor = tensors[i];
        uint64_t at = tensor_first(tensor, level);
        if (at == tensor_count(tensor)) {
            continue;
        }
        uint64_t place[SOURCE_RANK_MAX], rest = at;
        for (uint32_t axis = tensor->rank; axis-- > 0;) {
            place[axis] = rest % tensor->shape[axis];
            rest /= tensor->shape[axis];
        }
        char text[128];
        source_shape_text(place, tensor->rank, text, sizeof text);
        float value = element_at(tensor, at);
        if (isfinite(value)) {
            return error_set(error, E_TENSOR,
                             "%s holds %g at %s, which is beyond bf16; ask for f32", tensor->name,
                             (double)value, text);
        }
        return error_set(error, E_TENSOR,
                         "%s holds %s at %s, which is not finite; fetch or save the checkpoint "
                         "again",
                         tensor->name, isnan(value) ? "NaN" : "an infinity", text);
    }
    return error_set(error, E_TENSOR, "a value is not finite");
}
