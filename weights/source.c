// SPDX-License-Identifier: Apache-2.0
#include "weights/source.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Status source_map(TensorSource *source, const char *path, Bytes *out, Error *error) {
    if (source->maps == NULL) {
        source->maps = arena_take_array(&source->arena, SOURCE_FILES_MAX, sizeof *source->maps);
    }
    if (source->maps == NULL) {
        return error_set(error, E_MEMORY, "%s: no memory for its tables", path);
    }
    REQUIRE(source->map_count < SOURCE_FILES_MAX);
    FileMap *map = &source->maps[source->map_count];
    TRY(file_map_open(path, map, error));
    source->map_count++;
    *out = map->bytes;
    return OK;
}

static int tensor_compare_names(const void *a, const void *b) {
    return strcmp(((const SourceTensor *)a)->name, ((const SourceTensor *)b)->name);
}

Status source_sort(TensorSource *source, Error *error) {
    if (source->count > 1) {
        qsort(source->tensors, source->count, sizeof *source->tensors, tensor_compare_names);
    }
    for (size_t i = 1; i < source->count; i++) {
        if (strcmp(source->tensors[i - 1].name, source->tensors[i].name) == 0) {
            return error_set(error, E_CHECKPOINT, "tensor %s is in %s and again in %s",
                             source->tensors[i].name, source->tensors[i - 1].file,
                             source->tensors[i].file);
        }
    }
    return OK;
}

const SourceTensor *source_find(const TensorSource *source, const char *name) {
    if (source->count == 0) {
        return NULL;
    }
    SourceTensor key = {.name = name};
    return bsearch(&key, source->tensors, source->count, sizeof key, tensor_compare_names);
}

void source_close(TensorSource *source) {
    for (size_t i = 0; i < source->map_count; i++) {
        file_map_close(&source->maps[i]);
    }
    arena_free(&source->arena);
    *source = (TensorSource){0};
}

void source_shape_text(const uint64_t *shape, uint32_t rank, char *out, size_t out_bytes) {
    int used = snprintf(out, out_bytes, "[");
    for (uint32_t i = 0; i < rank && used >= 0 && (size_t)used < out_bytes; i++) {
        used += snprintf(out + used, out_bytes - (size_t)used, "%s%" PRIu64, i > 0 ? ", " : "",
                         shape[i]);
    }
    if (used >= 0 && (size_t)used < out_bytes) {
        snprintf(out + used, out_bytes - (size_t)used, "]");
    }
}
