// SPDX-License-Identifier: Apache-2.0
// No number that is not finite gets in: every tensor of every fixture, at every level, and every
// piece of a packed file. The tables are the folders and the manifest themselves, so the next
// tensor is covered too.
#include "fixture.h"
#include "weights/finite.h"
#include "weights/pack_file.h"
#include "weights/safetensors.h"
#include "weights/store.h"

#include "base/f16.h"
#include "base/prng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN TEST_ROOT "/tests/golden/weights/"

static const WeightsOptions AS_STORED = {.level = LEVEL_COUNT};

// Every bit pattern of 16 bits against isfinite, and positions in and behind whole runs.
Test(finite, agrees_with_isfinite_on_every_pattern_and_finds_every_place) {
    for (uint32_t bits = 0; bits < 65536; bits++) {
        uint16_t half = (uint16_t)bits;
        cr_assert_eq(finite_all(ELEMENT_BF16, &half, 1), isfinite(bf16_to_f32(half)), "%x", bits);
        cr_assert_eq(finite_all(ELEMENT_F16, &half, 1), isfinite(f16_to_f32(half)), "%x", bits);
    }
    enum { COUNT = 1500 };
    static uint8_t room[COUNT * 4 + 1];
    const ElementType types[] = {ELEMENT_F32, ELEMENT_BF16, ELEMENT_F16};
    for (size_t t = 0; t < 3; t++) {
        size_t width = element_bytes(types[t]);
        uint8_t *data = room + 1; // unaligned
        memset(room, 0x3b, sizeof room);
        cr_expect_eq(finite_first(types[t], data, COUNT), COUNT);
        for (size_t at = 0; at < COUNT; at++) {
            memset(data + at * width, 0xff, width);
            cr_assert_eq(finite_first(types[t], data, COUNT), at);
            memset(data + at * width, 0x3b, width);
        }
    }
}

Test(finite, agrees_with_isfinite_on_the_edges_of_f32) {
    const float values[] = {0.0f, -0.0f, 3.402823466e38f, 1e-45f, INFINITY, -INFINITY, NAN, -NAN};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        cr_expect_eq(finite_all(ELEMENT_F32, &values[i], 1), isfinite(values[i]), "%zu", i);
    }
}

// "NAME holds" and, for more than one axis, "[a, b" at the place of element `index`.
static void expect_named(const char *text, const SourceTensor *tensor, uint64_t index) {
    char expected[300], place[128];
    uint64_t at[SOURCE_RANK_MAX];
    for (uint32_t axis = tensor->rank; axis-- > 0; index /= tensor->shape[axis]) {
        at[axis] = index % tensor->shape[axis];
    }
    source_shape_text(at, tensor->rank, place, sizeof place);
    snprintf(expected, sizeof expected, "%s holds", tensor->name);
    cr_expect_not_null(strstr(text, expected), "no \"%s\" in: %s", expected, text);
    cr_expect_not_null(strstr(text, place), "no %s in: %s", place, text);
}

// A NaN or an infinity in each tensor of a folder, at each level.
static void expect_all_refused(const char *source, float value) {
    Fixture fixture = fixture_open(source);
    TensorSource tensors;
    cr_assert_eq(safetensors_open(source, &tensors, NULL), OK);
    for (size_t i = 0; i < tensors.count; i++) {
        const SourceTensor *tensor = &tensors.tensors[i];
        uint64_t count = tensor->bytes / element_bytes(tensor->type);
        uint64_t index = prng_u64(7, i, 0) % count;
        float old;
        element_to_f32(tensor->type, tensor->data + index * element_bytes(tensor->type), 1, 1,
                       &old);
        fixture_set(&fixture, tensor->name, index, value);
        for (int level = 0; level <= LEVEL_COUNT; level++) {
            const WeightsOptions options = {.level = (WeightLevel)level, .threads = 1};
            Weights *weights;
            Error error = {0};
            Status status = weights_open(fixture.folder, &options, &weights, &error);
            cr_expect_eq(status, E_TENSOR, "%s, level %d: %s", tensor->name, level, error.text);
            expect_named(error.text, tensor, index);
        }
        fixture_set(&fixture, tensor->name, index, old);
    }
    Weights *weights;
    cr_assert_eq(weights_open(fixture.folder, &AS_STORED, &weights, NULL), OK);
    weights_close(weights);
    source_close(&tensors);
    fixture_close(&fixture);
}

Test(finite, refuses_nan_in_every_tensor_of_a_folder_at_every_level) {
    expect_all_refused(GOLDEN "flat", NAN);
    expect_all_refused(GOLDEN "per_layer", NAN);
    expect_all_refused(GOLDEN "renamed", NAN);
}

Test(finite, refuses_infinity_in_every_tensor_of_a_folder_at_every_level) {
    expect_all_refused(GOLDEN "flat", INFINITY);
    expect_all_refused(GOLDEN "per_layer", -INFINITY);
    expect_all_refused(GOLDEN "renamed", INFINITY);
}

Test(finite, refuses_an_f32_that_bf16_cannot_hold_and_takes_it_at_f32) {
    static const char name[] = "model.language_model.layers.1.mlp.down_proj.weight";
    Fixture fixture = fixture_open(GOLDEN "per_layer");
    fixture_set(&fixture, name, 45, 3.4028e38f);
    const WeightsOptions narrow = {.level = LEVEL_BF16};
    Weights *weights;
    Error error = {0};
    cr_expect_eq(weights_open(fixture.folder, &narrow, &weights, &error), E_TENSOR);
    cr_expect_not_null(strstr(error.text, "down_proj.weight holds 3.4028e+38 at [1, 1]"), "%s",
                       error.text);
    cr_assert_eq(weights_open(fixture.folder, &AS_STORED, &weights, &error), OK, "%s", error.text);
    weights_close(weights);
    fixture_close(&fixture);
}

static void expect_piece_refused(const Packed *packed, const char *name) {
    Error error = {0};
    cr_expect_eq(weights_verify(packed->path, &error), E_TENSOR, "%s: %s", name, error.text);
    cr_expect_not_null(strstr(error.text, name), "no %s in: %s", name, error.text);
    Weights *weights;
    cr_assert_eq(weights_open(packed->path, &AS_STORED, &weights, &error), OK, "%s", error.text);
    error = (Error){0};
    cr_expect_eq(pack_file_write(weights, (Bytes){0}, "/tmp/tessera-never", &error), E_TENSOR);
    cr_expect_not_null(strstr(error.text, name), "no %s in: %s", name, error.text);
    weights_close(weights);
}

Test(finite, finds_nan_and_infinity_in_every_piece_of_a_packed_file) {
    for (int level = 0; level < LEVEL_COUNT; level++) {
        Packed packed = packed_open(GOLDEN "flat", (WeightLevel)level);
        Weights *weights;
        cr_assert_eq(weights_open(packed.path, &AS_STORED, &weights, NULL), OK);
        for (uint32_t i = 0; i < weights->store->manifest.count; i++) {
            const Piece *piece = &weights->store->manifest.pieces[i];
            bool matrix = piece->kind == PIECE_MATRIX;
            bool scales = matrix && piece->matrix.level >= LEVEL_INT8;
            bool narrow = matrix && piece->matrix.level != LEVEL_F32;
            size_t width = narrow ? 2 : 4, old = 0;
            size_t bytes = scales ? piece->scales_bytes : piece->bytes;
            uint8_t *place = packed.bytes.data + packed.section_at[packed_data(piece->section)] +
                             (scales ? piece->scales_offset : piece->offset) +
                             prng_u64(3, i, 0) % (bytes / width) * width;
            memcpy(&old, place, width);
            memset(place, 0, width);
            place[width - 2] = 0x80; // of f32 and bf16 an infinity, or a NaN by the bit below
            place[width - 1] = 0x7f; // of f16 a NaN
            place[0] |= (uint8_t)(i % 2);
            packed_write(&packed, packed_data(piece->section));
            expect_piece_refused(&packed, piece->name);
            memcpy(place, &old, width);
            packed_write(&packed, packed_data(piece->section));
        }
        weights_close(weights);
        cr_expect_eq(weights_verify(packed.path, NULL), OK);
        packed_close(&packed);
    }
}

Test(finite, says_the_row_and_the_column_of_a_matrix) {
    Packed packed = packed_open(GOLDEN "flat", LEVEL_BF16);
    Weights *weights;
    cr_assert_eq(weights_open(packed.path, &AS_STORED, &weights, NULL), OK);
    const Matrix *down = &weights->layers[0].down;
    const uint8_t *base = weights->store->map.bytes.data;
    size_t codes = (size_t)((const uint8_t *)down->codes - base);
    for (uint32_t row = 0; row < down->rows; row += 13) {
        for (uint32_t column = 0; column < down->columns; column += 7) {
            size_t panel = row / 16, lane = row % 16;
            size_t slot = ((panel * down->padded_columns / 2 + column / 2) * 16 + lane) * 2;
            uint8_t *place = packed.bytes.data + codes + (slot + column % 2) * 2;
            const uint8_t old[2] = {place[0], place[1]};
            memcpy(place, (uint8_t[]){0x80, 0x7f}, 2);
            packed_write(&packed, packed_data(SECTION_DECODER));
            char expected[64];
            Error error = {0};
            snprintf(expected, sizeof expected, "at row %u, column %u", row, column);
            cr_expect_eq(weights_verify(packed.path, &error), E_TENSOR);
            cr_expect_not_null(strstr(error.text, expected), "no %s in: %s", expected, error.text);
            memcpy(place, old, 2);
        }
    }
    weights_close(weights);
    packed_close(&packed);
}
