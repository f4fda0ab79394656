// SPDX-License-Identifier: Apache-2.0
#include "host/cli/npy.h"

#include "base/check.h"

enum { NPY_PREFIX = 10, NPY_ALIGN = 64 }; // magic, version, header length

// The header is a Python dictionary, padded with spaces so that the data begins at a multiple of 64
// (NEP 1, format version 1.0).
static void npy_header(uint64_t rows, uint64_t columns, Buffer *out) {
    buffer_append(out, "\x93NUMPY\x01\x00\x00\x00", NPY_PREFIX);
    buffer_printf(out, "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %llu), }",
                  (unsigned long long)rows, (unsigned long long)columns);
    while ((out->length + 1) % NPY_ALIGN != 0) {
        buffer_append_byte(out, ' ');
    }
    buffer_append_byte(out, '\n');
    if (!out->failed) {
        size_t length = out->length - NPY_PREFIX;
        out->data[8] = (uint8_t)length;
        out->data[9] = (uint8_t)(length >> 8);
    }
}

Status npy_open(const char *path, uint64_t rows, uint64_t columns, NpyWriter *out, Error *error) {
    *out = (NpyWriter){.rows = rows, .columns = columns};
    TRY(file_write_begin(path, &out->file, error));
    Buffer header = {0};
    npy_header(rows, columns, &header);
    Status status = header.failed
                        ? error_set(error, E_MEMORY, "%s: no memory for its header", path)
                        : file_write_append(&out->file, (Bytes){header.data, header.length}, error);
    buffer_free(&header);
    if (status != OK) {
        npy_drop(out);
    }
    return status;
}

Status npy_append(NpyWriter *writer, const float *rows, uint64_t row_count, Error *error) {
    REQUIRE(writer->rows_written + row_count <= writer->rows);
    size_t bytes = (size_t)(row_count * writer->columns) * sizeof *rows;
    TRY(file_write_append(&writer->file, (Bytes){(const uint8_t *)rows, bytes}, error));
    writer->rows_written += row_count;
    return OK;
}

Status npy_finish(NpyWriter *writer, Error *error) {
    REQUIRE(writer->rows_written == writer->rows);
    return file_write_end(&writer->file, error);
}

void npy_drop(NpyWriter *writer) {
    file_write_abandon(&writer->file);
}
