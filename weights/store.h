// SPDX-License-Identifier: Apache-2.0
// What is behind Weights: the block or the mapped file that owns the bytes, the manifest that says
// what lies where, and the config texts that a packed file carries on. Private to this room.
#ifndef WEIGHTS_STORE_H
#define WEIGHTS_STORE_H

#include "base/file.h"
#include "weights/config.h"
#include "weights/manifest.h"
#include "weights/weights.h"

// XXH3-64 of what the identity covers beside the config texts.
typedef struct Checksums {
    uint64_t sections[SECTION_COUNT]; // 0 where there are no bytes
    uint64_t tokenizer;               // of its tables
} Checksums;

typedef struct WeightsStore {
    FileMap map;    // of a packed file
    uint8_t *block; // anonymous memory of everything else
    size_t block_bytes;
    const uint8_t *sections[SECTION_COUNT];
    Manifest manifest;
    ManifestLevels levels;
    ElementType source; // of the checkpoint, decides embed_scale
    Buffer texts_owned[CONFIG_TEXT_COUNT];
    ConfigTexts texts;
    Checksums checksums;
    CodeCounts coded[SECTION_COUNT]; // how the coded tensors of the source passed
} WeightsStore;

// An empty Weights with its store. E_MEMORY.
Status store_new(Weights **out, Error *error);
void store_close(Weights *weights); // NULL is allowed

// Builds the manifest for the store's levels and takes zeroed memory for it, or with `shape_only`
// zeros to read that need none. E_MEMORY (the text names the bytes needed and those available).
Status store_take_block(Weights *weights, bool shape_only, Error *error);

// Whether a group that was asked for has a use at `level`. E_ARGUMENT.
Status store_check_group(const WeightsOptions *options, WeightLevel level, Error *error);

// Writable address of a piece in the block.
uint8_t *store_piece_bytes(const WeightsStore *store, const Piece *piece);

// Attaches the members and makes the identity from the checksums. E_MEMORY, E_JSON.
Status store_finish(Weights *weights, Error *error);

#endif
