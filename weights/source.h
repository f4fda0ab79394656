// SPDX-License-Identifier: Apache-2.0
// The tensors of a checkpoint, whatever files they come from. A format is one file that fills this
// list (safetensors.c); the manifest, the packing and the checks know no format. Numbers are dense,
// or coded: codes with a scale for each group, which become a matrix and nothing else.
//
// Names and shapes are those that manifest.def asks for, and numbers lie in the order of the
// shape, the last axis fastest. A format with other names translates them. One that orders its
// numbers in another way, or has a type that nothing else reads, writes them anew into the list's
// arena. A format checks all that it was told before it adds a tensor: the bytes of a tensor are
// there unless it is marked truncated. It also adds what it can name but not read (ELEMENT_OTHER),
// so that the manifest can list everything that is wrong at once.
#ifndef WEIGHTS_SOURCE_H
#define WEIGHTS_SOURCE_H

#include "base/arena.h"
#include "base/file.h"
#include "weights/element.h"
#include "weights/group_codes.h"

#include <stdbool.h>

enum { SOURCE_RANK_MAX = 8, SOURCE_FILES_MAX = 4096 };

typedef struct SourceTensor {
    const char *name;
    const char *file;      // the path of the file it lies in, for error texts
    const char *type_name; // as written: "BF16"
    ElementType type;      // of dense numbers; ELEMENT_OTHER for all but F32, F16, BF16
    uint32_t rank;
    uint64_t shape[SOURCE_RANK_MAX];
    const uint8_t *data;     // any alignment; NULL when truncated
    uint64_t bytes;          // that its shape and type ask for
    bool truncated;          // the file ends before its last byte
    const GroupCodes *codes; // of a coded tensor of two axes, in the place of type, data and bytes
} SourceTensor;

// A zero TensorSource is empty and ready to be filled.
typedef struct TensorSource {
    SourceTensor *tensors; // sorted by name
    size_t count;
    Arena arena;   // owns the array, the texts and what a format made of the files
    FileMap *maps; // the files, as long as the list lives
    size_t map_count;
} TensorSource;

// Maps one more file of at most SOURCE_FILES_MAX. E_NOT_FOUND, E_IO, E_MEMORY.
Status source_map(TensorSource *source, const char *path, Bytes *out, Error *error);

// Sorts the tensors by name, as source_find needs them. E_CHECKPOINT when a name is there twice.
Status source_sort(TensorSource *source, Error *error);

void source_close(TensorSource *source);

const SourceTensor *source_find(const TensorSource *source, const char *name);

// "[4096, 3840]" into out (always terminated).
void source_shape_text(const uint64_t *shape, uint32_t rank, char *out, size_t out_bytes);

#endif
