// SPDX-License-Identifier: Apache-2.0
#include "model/weights_on_device.h"

#include "base/check.h"
#include "weights/manifest.h"

// A device rounds each piece up a little.
enum { PIECE_ROOM = 1024 };

// Exchanges the pointers of one member of `out`, which are the host's, for the device's.
static Status place_piece(const Backend *backend, const Piece *piece, Weights *out) {
    const DeviceTable *device = backend->device;
    void *member = (char *)out + piece->member;
    if (piece->kind == PIECE_MATRIX) {
        Matrix *matrix = member;
        const Matrix host = *matrix;
        return device->place_matrix(backend->context, &host, matrix);
    }
    if (piece->kind == PIECE_VECTOR) {
        const float **floats = member;
        return device->place_floats(backend->context, *floats, piece->length, floats);
    }
    return OK; // a scalar is in the struct itself
}

Status weights_on_device(const Weights *host, const Backend *backend, Weights *out) {
    const Manifest *manifest = weights_manifest(host);
    *out = *host;
    if (backend->device->expect_weights != NULL) {
        uint64_t room = (uint64_t)manifest->count * PIECE_ROOM;
        backend->device->expect_weights(backend->context, weights_bytes(host) + room);
    }
    for (uint32_t i = 0; i < manifest->count; i++) {
        TRY(place_piece(backend, &manifest->pieces[i], out));
    }
    return OK;
}
