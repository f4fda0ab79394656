// SPDX-License-Identifier: Apache-2.0
#include "host/npy.h"

#include "base/bytes.h"
#include "base/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    *out = (NpyWriter){.path = strdup(path), .rows = rows, .columns = columns};
    Buffer text = {0};
    buffer_printf(&text, "%s.tmp-%ld", path, (long)getpid());
    Buffer header = {0};
    npy_header(rows, columns, &header);
    out->temporary = (char *)text.data;
    Status status = OK;
    if (out->path == NULL || text.failed || header.failed) {
        status = error_set(error, E_MEMORY, "%s: no memory for a file name", path);
    } else {
        out->file = fopen(out->temporary, "wbe");
        if (out->file == NULL ||
            fwrite(header.data, 1, header.length, out->file) != header.length) {
            status = error_set(error, E_IO, "%s: cannot be written: %s", path, strerror(errno));
        }
    }
    buffer_free(&header);
    if (status != OK) {
        npy_drop(out);
    }
    return status;
}

Status npy_append(NpyWriter *writer, const float *rows, uint64_t row_count, Error *error) {
    REQUIRE(writer->rows_written + row_count <= writer->rows);
    size_t count = (size_t)(row_count * writer->columns);
    if (fwrite(rows, sizeof *rows, count, writer->file) != count) {
        return error_set(error, E_IO, "%s: cannot be written: %s", writer->path, strerror(errno));
    }
    writer->rows_written += row_count;
    return OK;
}

Status npy_finish(NpyWriter *writer, Error *error) {
    REQUIRE(writer->rows_written == writer->rows);
    bool good = fclose(writer->file) == 0;
    writer->file = NULL;
    if (!good || rename(writer->temporary, writer->path) != 0) {
        return error_set(error, E_IO, "%s: cannot be written: %s", writer->path, strerror(errno));
    }
    free(writer->temporary);
    writer->temporary = NULL;
    return OK;
}

void npy_drop(NpyWriter *writer) {
    if (writer->file != NULL) {
        fclose(writer->file);
    }
    if (writer->temporary != NULL) {
        unlink(writer->temporary);
    }
    free(writer->temporary);
    free(writer->path);
    *writer = (NpyWriter){0};
}
