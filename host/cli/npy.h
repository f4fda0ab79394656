// SPDX-License-Identifier: Apache-2.0
// NumPy files, format version 1.0: a [rows][columns] array of little-endian 32-bit floats, written
// in pieces. The file appears under its name when it is whole, or not at all.
#ifndef HOST_CLI_NPY_H
#define HOST_CLI_NPY_H

#include "base/file_write.h"

typedef struct NpyWriter {
    FileWrite file;
    uint64_t rows, columns, rows_written;
} NpyWriter;

// Borrows `path` until npy_finish or npy_drop.
Status npy_open(const char *path, uint64_t rows, uint64_t columns, NpyWriter *out, Error *error);
Status npy_append(NpyWriter *writer, const float *rows, uint64_t row_count, Error *error);
Status npy_finish(NpyWriter *writer, Error *error); // all rows are there
void npy_drop(NpyWriter *writer);                   // after finish or an error

#endif
