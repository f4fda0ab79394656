// SPDX-License-Identifier: Apache-2.0
// The device gets what the manifest lists, so a tensor that manifest.def gains is placed without a
// line of code.
#include "model/weights_on_device.h"

#include "fake_backend.h"
#include "weights/store.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// A device far behind the host's memory: what the host has at p, it has at p + FAR.
static const uintptr_t FAR = (uintptr_t)1 << 60;

static uint32_t matrices, vectors;
static uint64_t floats;
static Status answer;

static const void *far_of(const void *host) {
    return host != NULL ? (const void *)((uintptr_t)host + FAR) : NULL;
}

static Status place_matrix_far(void *context, const Matrix *host, Matrix *out) {
    (void)context;
    matrices++;
    *out = *host;
    out->codes = far_of(host->codes);
    out->scales = far_of(host->scales);
    return matrices == 7 ? answer : OK;
}

static Status place_floats_far(void *context, const float *host, size_t count, const float **out) {
    (void)context;
    vectors++;
    floats += count;
    *out = far_of(host);
    return OK;
}

static void far_backend(FakeBackend *fake) {
    fake_backend_open(fake);
    fake->device.place_matrix = place_matrix_far;
    fake->device.place_floats = place_floats_far;
    matrices = vectors = 0;
    floats = 0;
    answer = OK;
}

static Weights *int8_weights(void) {
    const WeightsOptions options = {.level = LEVEL_INT8, .threads = 1};
    Weights *weights;
    cr_assert_eq(weights_open("synthetic:tiny", &options, &weights, NULL), OK);
    return weights;
}

static const void *word_at(const Weights *weights, size_t at) {
    const void *word;
    memcpy(&word, (const char *)weights + at, sizeof word);
    return word;
}

// Looks at the struct word by word, not at the manifest: a pointer into the host's block would be a
// member that nobody placed.
Test(weights_on_device, leaves_no_pointer_of_the_host_in_any_member) {
    Weights *weights = int8_weights(), *out = calloc(1, sizeof *out);
    FakeBackend fake;
    far_backend(&fake);
    cr_assert_eq(weights_on_device(weights, &fake.backend, out), OK);
    const uint8_t *begin = weights->store->block, *end = begin + weights->store->block_bytes;
    uint32_t pointers = 0;
    for (size_t at = 0; at + sizeof(void *) <= sizeof *out; at += sizeof(void *)) {
        const uint8_t *host = word_at(weights, at);
        if (host >= begin && host < end) {
            cr_expect_eq(word_at(out, at), far_of(host), "byte %zu of Weights", at);
            pointers++;
        }
    }
    cr_expect_eq(pointers, vectors + 2 * matrices - 3); // three matrices of bf16 have no scales
    free(out);
    weights_close(weights);
}

Test(weights_on_device, places_every_piece_of_the_manifest_once) {
    Weights *weights = int8_weights(), *out = calloc(1, sizeof *out);
    const Manifest *manifest = weights_manifest(weights);
    FakeBackend fake;
    far_backend(&fake);
    cr_assert_eq(weights_on_device(weights, &fake.backend, out), OK);
    uint32_t listed[3] = {0};
    uint64_t length = 0;
    for (uint32_t i = 0; i < manifest->count; i++) {
        const Piece *piece = &manifest->pieces[i];
        listed[piece->kind]++;
        length += piece->kind == PIECE_VECTOR ? piece->length : 0;
        if (piece->kind == PIECE_MATRIX) {
            const Matrix *matrix = (const Matrix *)((const char *)out + piece->member);
            cr_expect_eq(matrix->rows, piece->matrix.rows, "%s", piece->name);
        }
    }
    cr_expect_eq(matrices, listed[PIECE_MATRIX]);
    cr_expect_eq(vectors, listed[PIECE_VECTOR]);
    cr_expect_eq(floats, length);
    cr_expect_eq(listed[PIECE_SCALAR], weights->config.layer_count);
    cr_expect_eq(out->layers[1].layer_scalar, weights->layers[1].layer_scalar);
    free(out);
    weights_close(weights);
}

Test(weights_on_device, ends_at_the_first_piece_that_is_refused) {
    Weights *weights = int8_weights(), *out = calloc(1, sizeof *out);
    FakeBackend fake;
    far_backend(&fake);
    answer = E_DEVICE;
    cr_expect_eq(weights_on_device(weights, &fake.backend, out), E_DEVICE);
    cr_expect_eq(matrices, 7);
    free(out);
    weights_close(weights);
}
