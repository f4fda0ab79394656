// SPDX-License-Identifier: Apache-2.0
// The list of a model's pieces: what lies where in memory (and, byte for byte, in a packed file),
// and which checkpoint tensors each piece is made of. The one place that knows tensor names; built
// from manifest.def for a config and a level.
//
// Memory is a few sections; a piece has an offset in its section, 64-byte aligned, its codes first
// and then, for int8 and int4, its scales. Sections are 4 KiB aligned.
#ifndef WEIGHTS_MANIFEST_H
#define WEIGHTS_MANIFEST_H

#include "weights/matrix_pack.h"
#include "weights/source.h"
#include "weights/weights.h"

typedef enum SectionKind {
    SECTION_NORMS,
    SECTION_EMBEDDING,
    SECTION_DECODER,
    SECTION_VISION,
    SECTION_AUDIO,
    SECTION_COUNT,
} SectionKind;

enum { SECTION_ALIGN = 4096, PIECE_SOURCES_MAX = 3, PIECE_NAME_MAX = 48 };

typedef enum PieceKind { PIECE_SCALAR, PIECE_VECTOR, PIECE_MATRIX } PieceKind;

typedef struct PieceSource {
    uint32_t layer;       // for the name, when the piece belongs to a layer
    const char *old_name; // behind the prefix of the scope
    const char *new_name; // NULL when there is none
    uint32_t rank;
    uint64_t shape[3];
} PieceSource;

typedef struct Piece {
    char name[PIECE_NAME_MAX]; // "layers.3.qkv"
    PieceKind kind;
    SectionKind section;
    bool in_layer;
    size_t member;   // byte offset in Weights of the float, pointer or Matrix
    uint64_t length; // floats of a vector or scalar
    Matrix matrix;   // shape of a matrix, without its bytes
    MatrixOrder order;
    uint64_t offset; // in the section
    uint64_t bytes;  // of the floats or codes
    uint64_t scales_offset, scales_bytes;
    uint32_t source_count;
    PieceSource sources[PIECE_SOURCES_MAX];
} Piece;

typedef struct Manifest {
    Piece *pieces;
    uint32_t count;
    uint64_t section_bytes[SECTION_COUNT]; // rounded up to SECTION_ALIGN
    uint64_t total_bytes;
} Manifest;

// What decides the manifest besides the config.
typedef struct ManifestLevels {
    WeightLevel decoder;
    uint32_t group;
    WeightLevel media; // LEVEL_F32 or LEVEL_BF16
} ManifestLevels;

// E_MEMORY. The caller frees with manifest_free.
Status manifest_build(const Gemma4Config *config, ManifestLevels levels, Manifest *out,
                      Error *error);
void manifest_free(Manifest *manifest);

// Finds every source tensor: found[i * PIECE_SOURCES_MAX + j] is source j of piece i. E_TENSOR with
// every missing, surplus, misshapen, truncated tensor and every tensor of a type we do not read, as
// many as fit. An lm_head.weight that equals the embedding and rotary inv_freq buffers are no
// surplus.
Status manifest_match(const Manifest *manifest, const TensorSource *tensors,
                      const SourceTensor **found, Error *error);

// Points every member of *weights at its bytes in `sections` (one base address per section).
void manifest_attach(const Manifest *manifest, const uint8_t *const sections[SECTION_COUNT],
                     Weights *weights);

#endif
