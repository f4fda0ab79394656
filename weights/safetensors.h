// SPDX-License-Identifier: Apache-2.0
// Reading safetensors: 8 bytes little-endian header length, a JSON header, then the tensors' bytes
// (https://github.com/huggingface/safetensors, README "Format"). One file or the shards named by
// model.safetensors.index.json, mapped and never copied. Everything in the header is checked before
// it is used; the tensors' own bytes are only looked at by those who convert them.
#ifndef WEIGHTS_SAFETENSORS_H
#define WEIGHTS_SAFETENSORS_H

#include "base/arena.h"
#include "base/file.h"
#include "weights/element.h"

#include <stdbool.h>

enum { SAFETENSORS_RANK_MAX = 8 };

typedef struct SafetensorsTensor {
    const char *name;
    const char *file;      // the path of the file it lies in, for error texts
    const char *type_name; // as written: "BF16"
    ElementType type;      // ELEMENT_OTHER for everything but F32, F16, BF16
    uint32_t rank;
    uint64_t shape[SAFETENSORS_RANK_MAX];
    const uint8_t *data; // any alignment; NULL when truncated
    uint64_t bytes;      // that its shape and type ask for
    bool truncated;      // the file ends before its last byte
} SafetensorsTensor;

typedef struct Safetensors {
    SafetensorsTensor *tensors; // sorted by name
    size_t count;
    Arena arena; // owns the array and the texts
    FileMap *maps;
    size_t map_count;
} Safetensors;

// Opens FOLDER/model.safetensors or, where there is none, the shards of
// FOLDER/model.safetensors.index.json; of both transformers takes the first, too.
// E_NOT_FOUND, E_IO, E_MEMORY, E_CHECKPOINT (damaged, overlapping, gaps, duplicate names, an index
// that does not fit its shards; the text names file and tensor). A file that is merely too short is
// no error here: its tensors are marked truncated, so that the manifest can list them together.
Status safetensors_open(const char *folder, Safetensors *out, Error *error);

// Parses the bytes of one file, which must outlive *out. `path` is used in error texts.
// For tests and fuzzers.
Status safetensors_parse(Bytes bytes, const char *path, Safetensors *out, Error *error);

void safetensors_close(Safetensors *safetensors);

const SafetensorsTensor *safetensors_find(const Safetensors *safetensors, const char *name);

// "[4096, 3840]" into out (always terminated).
void safetensors_shape_text(const uint64_t *shape, uint32_t rank, char *out, size_t out_bytes);

#endif
