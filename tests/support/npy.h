// SPDX-License-Identifier: Apache-2.0
// Reads .npy files (NumPy's format, version 1.0), little endian and C order: the form of
// the numeric fixtures under tests/golden/.
#ifndef TESTS_SUPPORT_NPY_H
#define TESTS_SUPPORT_NPY_H

#include "base/bytes.h"
#include "base/status.h"

enum { NPY_RANK_MAX = 4 };

typedef struct Npy {
    char type[4]; // as NumPy writes it without the byte order: "f4", "i4", "u1", "u2", "i8"
    uint32_t rank;
    size_t shape[NPY_RANK_MAX];
    size_t count; // product of the shape
    const void *data;
    Buffer file; // owns the data
} Npy;

// `type` is what the caller expects. E_NOT_FOUND, E_IO, E_CHECKPOINT with what was found.
Status npy_read(const char *path, const char *type, Npy *out, Error *error);
void npy_free(Npy *npy);

#endif
