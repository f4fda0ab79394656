// SPDX-License-Identifier: Apache-2.0
#include "weights/safetensors.h"

#include "base/check.h"
#include "base/json.h"
#include "base/num.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADER_BYTES_MAX = 100 * 1000 * 1000,
    INDEX_BYTES_MAX = 64 << 20,
    SHARDS_MAX = SOURCE_FILES_MAX
};

typedef struct TypeRow {
    const char *name;
    ElementType type;
    uint32_t bits;
} TypeRow;

static const TypeRow TYPES[] = {
    {"F32", ELEMENT_F32, 32},      {"BF16", ELEMENT_BF16, 16},    {"F16", ELEMENT_F16, 16},
    {"F64", ELEMENT_OTHER, 64},    {"I64", ELEMENT_OTHER, 64},    {"U64", ELEMENT_OTHER, 64},
    {"I32", ELEMENT_OTHER, 32},    {"U32", ELEMENT_OTHER, 32},    {"I16", ELEMENT_OTHER, 16},
    {"U16", ELEMENT_OTHER, 16},    {"I8", ELEMENT_OTHER, 8},      {"U8", ELEMENT_OTHER, 8},
    {"BOOL", ELEMENT_OTHER, 8},    {"F8_E5M2", ELEMENT_OTHER, 8}, {"F8_E4M3", ELEMENT_OTHER, 8},
    {"F8_E8M0", ELEMENT_OTHER, 8}, {"F6_E2M3", ELEMENT_OTHER, 6}, {"F6_E3M2", ELEMENT_OTHER, 6},
    {"F4", ELEMENT_OTHER, 4},
};

static bool json_to_u64(const json_t *value, uint64_t *out) {
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return false;
    }
    *out = (uint64_t)json_integer_value(value);
    return true;
}

// A tensor while its header entry is read: `begin` and `end` count from the end of the header.
typedef struct Entry {
    SourceTensor tensor;
    uint64_t begin, end;
} Entry;

static Status entry_read_type(Entry *entry, const json_t *object, Arena *arena, Error *error) {
    const json_t *type = json_object_get(object, "dtype");
    SourceTensor *tensor = &entry->tensor;
    if (!json_is_string(type)) {
        return error_set(error, E_CHECKPOINT, "%s: tensor %s has no dtype text", tensor->file,
                         tensor->name);
    }
    tensor->type = ELEMENT_OTHER;
    tensor->type_name = arena_copy_text(arena, json_string_value(type), json_string_length(type));
    return tensor->type_name != NULL ? OK : error_set(error, E_MEMORY, "no memory for a header");
}

static Status entry_read_shape(Entry *entry, const json_t *object, Error *error) {
    const json_t *shape = json_object_get(object, "shape");
    SourceTensor *tensor = &entry->tensor;
    if (!json_is_array(shape) || json_array_size(shape) > SOURCE_RANK_MAX) {
        return error_set(error, E_CHECKPOINT,
                         "%s: tensor %s: its shape is not an array of at most %d numbers",
                         tensor->file, tensor->name, SOURCE_RANK_MAX);
    }
    tensor->rank = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (!json_to_u64(json_array_get(shape, i), &tensor->shape[i])) {
            return error_set(error, E_CHECKPOINT,
                             "%s: tensor %s: its shape holds something that is not a size",
                             tensor->file, tensor->name);
        }
    }
    return OK;
}

static Status entry_read_range(Entry *entry, const json_t *object, Error *error) {
    const json_t *range = json_object_get(object, "data_offsets");
    SourceTensor *tensor = &entry->tensor;
    if (!json_is_array(range) || json_array_size(range) != 2 ||
        !json_to_u64(json_array_get(range, 0), &entry->begin) ||
        !json_to_u64(json_array_get(range, 1), &entry->end) || entry->begin > entry->end) {
        return error_set(error, E_CHECKPOINT,
                         "%s: tensor %s: its data_offsets are not two rising numbers", tensor->file,
                         tensor->name);
    }
    tensor->bytes = entry->end - entry->begin;
    return OK;
}

// The bytes that shape and type ask for are those between the offsets (types we do not know are
// left to the manifest, which names them).
static Status entry_check_bytes(Entry *entry, Error *error) {
    SourceTensor *tensor = &entry->tensor;
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        if (strcmp(TYPES[i].name, tensor->type_name) != 0) {
            continue;
        }
        tensor->type = TYPES[i].type;
        uint64_t bits = 0;
        if (!num_product(tensor->shape, tensor->rank, &bits) ||
            !num_mul(bits, TYPES[i].bits, &bits) || bits % 8 != 0 || bits / 8 != tensor->bytes) {
            char shape[128];
            source_shape_text(tensor->shape, tensor->rank, shape, sizeof shape);
            return error_set(error, E_CHECKPOINT,
                             "%s: tensor %s: its shape %s of %s does not take the %" PRIu64
                             " bytes between its offsets",
                             tensor->file, tensor->name, shape, tensor->type_name, tensor->bytes);
        }
    }
    return OK;
}

static Status entry_read(Entry *entry, const char *name, const json_t *object, const char *path,
                         Arena *arena, Error *error) {
    SourceTensor *tensor = &entry->tensor;
    tensor->file = path;
    tensor->name = arena_copy_text(arena, name, strlen(name));
    if (tensor->name == NULL) {
        return error_set(error, E_MEMORY, "%s: no memory for its header", path);
    }
    if (!json_is_object(object)) {
        return error_set(error, E_CHECKPOINT, "%s: tensor %s is not described by an object", path,
                         name);
    }
    TRY(entry_read_type(entry, object, arena, error));
    TRY(entry_read_shape(entry, object, error));
    TRY(entry_read_range(entry, object, error));
    return entry_check_bytes(entry, error);
}

static int entry_compare_ranges(const void *a, const void *b) {
    const Entry *x = a, *y = b;
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return x->end < y->end ? -1 : x->end > y->end;
}

// Tensors must follow each other without overlap, gap or rest; what lies beyond the end of the file
// is marked. `data` are the bytes behind the header.
static Status entries_place(Entry *entries, size_t count, Bytes data, const char *path,
                            Error *error) {
    if (count > 1) {
        qsort(entries, count, sizeof *entries, entry_compare_ranges);
    }
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        SourceTensor *tensor = &entries[i].tensor;
        if (entries[i].begin != at) {
            return error_set(error, E_CHECKPOINT,
                             "%s: tensor %s begins at byte %" PRIu64 " of the data; %s at %" PRIu64,
                             path, tensor->name, entries[i].begin,
                             entries[i].begin < at ? "it overlaps the one before, which ends"
                                                   : "there is a gap, for the one before ends",
                             at);
        }
        at = entries[i].end;
        tensor->truncated = at > data.length;
        tensor->data = tensor->truncated ? NULL : data.data + entries[i].begin;
    }
    if (at < data.length) {
        return error_set(error, E_CHECKPOINT,
                         "%s: has %" PRIu64 " bytes behind its last tensor; none are allowed", path,
                         data.length - at);
    }
    return OK;
}

// Appends the tensors of one file to *out, unsorted.
static Status file_append(const char *path, const json_t *header, Bytes data, TensorSource *out,
                          Error *error) {
    size_t count = 0;
    Entry *entries = arena_take_array(&out->arena, json_object_size(header) + 1, sizeof *entries);
    SourceTensor *tensors =
        arena_take_array(&out->arena, out->count + json_object_size(header) + 1, sizeof *tensors);
    if (entries == NULL || tensors == NULL) {
        return error_set(error, E_MEMORY, "%s: no memory for its header", path);
    }
    const char *name;
    json_t *object;
    json_object_foreach((json_t *)header, name, object) {
        if (strcmp(name, "__metadata__") != 0) {
            TRY(entry_read(&entries[count], name, object, path, &out->arena, error));
            count++;
        }
    }
    TRY(entries_place(entries, count, data, path, error));
    if (out->count > 0) {
        memcpy(tensors, out->tensors, out->count * sizeof *tensors);
    }
    for (size_t i = 0; i < count; i++) {
        tensors[out->count++] = entries[i].tensor;
    }
    out->tensors = tensors;
    return OK;
}

static Status file_read_header(Bytes bytes, const char *path, TensorSource *out, Error *error) {
    if (file_is_lfs_pointer(bytes)) {
        return file_refuse_lfs_pointer(path, E_CHECKPOINT, error);
    }
    if (bytes.length < 8) {
        return error_set(error, E_CHECKPOINT,
                         "%s: has %zu bytes; a safetensors file has at least 8", path,
                         bytes.length);
    }
    uint64_t header_bytes = 0;
    for (int i = 7; i >= 0; i--) {
        header_bytes = header_bytes << 8 | bytes.data[i];
    }
    if (header_bytes > HEADER_BYTES_MAX) {
        return error_set(error, E_CHECKPOINT,
                         "%s: says its header has %" PRIu64 " bytes; at most %d are allowed", path,
                         header_bytes, HEADER_BYTES_MAX);
    }
    if (!num_in_range(8, header_bytes, bytes.length)) {
        return error_set(error, E_CHECKPOINT,
                         "%s: is truncated: its header of %" PRIu64
                         " bytes does not fit the file's %zu",
                         path, header_bytes, bytes.length);
    }
    json_t *header;
    Status status = json_parse((Bytes){bytes.data + 8, header_bytes}, path, &header, error);
    if (status != OK) {
        if (error != NULL && status == E_JSON) {
            error->status = E_CHECKPOINT;
        }
        return status == E_JSON ? E_CHECKPOINT : status;
    }
    if (json_is_object(header)) {
        Bytes data = {bytes.data + 8 + header_bytes, bytes.length - 8 - header_bytes};
        status = file_append(path, header, data, out, error);
    } else {
        status = error_set(error, E_CHECKPOINT, "%s: its header is not a JSON object", path);
    }
    json_decref(header);
    return status;
}

Status safetensors_parse(Bytes bytes, const char *path, TensorSource *out, Error *error) {
    *out = (TensorSource){0};
    Status status = file_read_header(bytes, path, out, error);
    if (status == OK) {
        status = source_sort(out, error);
    }
    if (status != OK) {
        source_close(out);
    }
    return status;
}

static char *path_join(Arena *arena, const char *folder, const char *name) {
    size_t length = strlen(folder) + strlen(name) + 2;
    char *path = arena_take(arena, length);
    if (path != NULL) {
        snprintf(path, length, "%s/%s", folder, name);
    }
    return path;
}

static Status file_add(TensorSource *out, const char *path, Error *error) {
    if (path == NULL) {
        return error_set(error, E_MEMORY, "no memory for a path");
    }
    Bytes bytes;
    TRY(source_map(out, path, &bytes, error));
    return file_read_header(bytes, path, out, error);
}

// The distinct shard names of the index, each mapped and parsed once.
static Status shards_add(TensorSource *out, const char *folder, const char *index_path,
                         const json_t *weight_map, Error *error) {
    const char **files =
        arena_take_array(&out->arena, SHARDS_MAX, sizeof *files); // file names, in order of sight
    if (files == NULL) {
        return error_set(error, E_MEMORY, "%s: no memory for it", index_path);
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)weight_map, name, value) {
        const char *file = json_string_value(value);
        if (file == NULL || *file == 0 || *file == '.' || strchr(file, '/') != NULL) {
            return error_set(error, E_CHECKPOINT,
                             "%s: tensor %s is not mapped to the name of a file in the folder",
                             index_path, name);
        }
        size_t at = 0;
        while (at < out->map_count && strcmp(files[at], file) != 0) {
            at++;
        }
        if (at < out->map_count) {
            continue;
        }
        if (at == SHARDS_MAX) {
            return error_set(error, E_CHECKPOINT, "%s: names more than %d shards", index_path,
                             SHARDS_MAX);
        }
        files[at] = arena_copy_text(&out->arena, file, strlen(file));
        char *path = path_join(&out->arena, folder, file);
        if (files[at] == NULL || path == NULL) {
            return error_set(error, E_MEMORY, "%s: no memory for it", index_path);
        }
        TRY(file_add(out, path, error));
    }
    return OK;
}

// Every tensor of the index lies in the shard it names, and every tensor of a shard is indexed.
static Status index_check(const TensorSource *out, const char *index_path, const json_t *weight_map,
                          Error *error) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)weight_map, name, value) {
        const SourceTensor *tensor = source_find(out, name);
        const char *slash = tensor != NULL ? strrchr(tensor->file, '/') : NULL;
        if (slash == NULL || strcmp(slash + 1, json_string_value(value)) != 0) {
            return error_set(error, E_CHECKPOINT, "%s: tensor %s is not in its shard %s",
                             index_path, name, json_string_value(value));
        }
    }
    for (size_t i = 0; i < out->count; i++) {
        if (json_object_get(weight_map, out->tensors[i].name) == NULL) {
            return error_set(error, E_CHECKPOINT, "%s: does not name tensor %s of %s", index_path,
                             out->tensors[i].name, out->tensors[i].file);
        }
    }
    return OK;
}

static Status sharded_open(const char *folder, const char *index_path, TensorSource *out,
                           Error *error) {
    json_t *index;
    TRY(json_parse_file(index_path, INDEX_BYTES_MAX, &index, error));
    const json_t *weight_map = json_object_get(index, "weight_map");
    Status status = OK;
    if (!json_is_object(weight_map)) {
        status = error_set(error, E_CHECKPOINT, "%s: has no object weight_map", index_path);
    }
    if (status == OK) {
        status = shards_add(out, folder, index_path, weight_map, error);
    }
    if (status == OK) {
        status = source_sort(out, error);
    }
    if (status == OK) {
        status = index_check(out, index_path, weight_map, error);
    }
    json_decref(index);
    return status;
}

Status safetensors_open(const char *folder, TensorSource *out, Error *error) {
    *out = (TensorSource){0};
    char *single = path_join(&out->arena, folder, "model.safetensors");
    char *index = path_join(&out->arena, folder, "model.safetensors.index.json");
    Status status = OK;
    if (single == NULL || index == NULL) {
        status = error_set(error, E_MEMORY, "%s: no memory for its tables", folder);
    } else if (file_exists(single)) {
        status = file_add(out, single, error);
        if (status == OK) {
            status = source_sort(out, error);
        }
    } else if (file_exists(index)) {
        status = sharded_open(folder, index, out, error);
    } else {
        status = error_set(error, E_NOT_FOUND,
                           "%s: holds neither model.safetensors nor model.safetensors.index.json",
                           folder);
    }
    if (status != OK) {
        source_close(out);
    }
    return status;
}
