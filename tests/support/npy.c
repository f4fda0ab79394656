// SPDX-License-Identifier: Apache-2.0
#include "tests/support/npy.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NPY_PREAMBLE = 10, NPY_BYTES_MAX = 256 * 1024 * 1024 };

// The shape between the parentheses of the header's 'shape' entry.
static bool read_shape(const char *header, Npy *out) {
    const char *at = strstr(header, "'shape': (");
    if (at == NULL) {
        return false;
    }
    at += strlen("'shape': (");
    out->count = 1;
    while (*at != ')') {
        char *end;
        unsigned long size = strtoul(at, &end, 10);
        if (end == at || out->rank == NPY_RANK_MAX) {
            return false;
        }
        out->shape[out->rank++] = size;
        out->count *= size;
        at = end;
        while (*at == ',' || *at == ' ') {
            at++;
        }
    }
    return true;
}

Status npy_read(const char *path, const char *type, Npy *out, Error *error) {
    *out = (Npy){0};
    Status status = file_read(path, NPY_BYTES_MAX, &out->file, error);
    if (status != OK) {
        return status;
    }
    const unsigned char *bytes = out->file.data;
    size_t length = out->file.length;
    size_t header_length = length < NPY_PREAMBLE ? 0 : bytes[8] | (size_t)bytes[9] << 8;
    if (header_length == 0 || memcmp(bytes, "\x93NUMPY\x01\x00", 8) != 0 ||
        NPY_PREAMBLE + header_length > length) {
        npy_free(out);
        return error_set(error, E_CHECKPOINT, "%s is not a .npy file of version 1.0.", path);
    }
    char header[1024] = {0};
    memcpy(header, bytes + NPY_PREAMBLE,
           header_length < sizeof header ? header_length : sizeof header - 1);
    char wanted[32];
    snprintf(wanted, sizeof wanted, "'descr': '%c%s'", strcmp(type, "u1") == 0 ? '|' : '<', type);
    size_t item = (size_t)(type[1] - '0');
    if (strstr(header, wanted) == NULL || strstr(header, "'fortran_order': False") == NULL ||
        !read_shape(header, out) || NPY_PREAMBLE + header_length + out->count * item != length) {
        npy_free(out);
        return error_set(error, E_CHECKPOINT, "%s does not hold C-ordered %s; its header is %s",
                         path, type, header);
    }
    snprintf(out->type, sizeof out->type, "%s", type);
    out->data = bytes + NPY_PREAMBLE + header_length;
    return OK;
}

void npy_free(Npy *npy) {
    buffer_free(&npy->file);
    *npy = (Npy){0};
}
