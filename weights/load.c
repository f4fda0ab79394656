// SPDX-License-Identifier: Apache-2.0
// Loading goes piece by piece: the files stay mapped, each piece is converted into its final place,
// so memory is that of the result plus what the system keeps of the files.
#include "weights/load.h"

#include "base/check.h"
#include "weights/finite.h"

#include <stdlib.h>

static Status load_piece(WeightsStore *store, const Piece *piece,
                         const SourceTensor *const *sources, uint32_t threads, Error *error) {
    uint8_t *bytes = store_piece_bytes(store, piece);
    if (piece->kind != PIECE_MATRIX) {
        element_to_f32(sources[0]->type, sources[0]->data, piece->length, 1, (float *)bytes);
        return finite_all(ELEMENT_F32, bytes, piece->length)
                   ? OK
                   : finite_refuse(sources, 1, LEVEL_F32, error);
    }
    Matrix matrix = piece->matrix;
    matrix.codes = bytes;
    matrix.scales = (uint16_t *)(bytes + (piece->scales_offset - piece->offset));
    MatrixPart parts[PIECE_SOURCES_MAX];
    for (uint32_t i = 0; i < piece->source_count; i++) {
        uint32_t rows = (uint32_t)piece->sources[i].shape[0];
        parts[i] = (MatrixPart){sources[i]->type, sources[i]->data, rows, sources[i]->codes};
    }
    const MatrixParts whole = {parts, piece->source_count, piece->order};
    Status status = matrix_pack(&matrix, &whole, threads, &store->coded[piece->section], error);
    if (status == E_TENSOR) {
        return finite_refuse(sources, piece->source_count, matrix.level, error);
    }
    return status;
}

// As stored: bf16 and f16 become bf16. Pictures and sound keep f32 when nothing else is asked.
static ManifestLevels load_levels(const WeightsOptions *options, ElementType source) {
    ManifestLevels levels = {.decoder = options->level};
    if (levels.decoder == LEVEL_COUNT) {
        levels.decoder = source == ELEMENT_F32 ? LEVEL_F32 : LEVEL_BF16;
    }
    if (levels.decoder >= LEVEL_INT8) {
        levels.group = options->group == 0 ? 32 : options->group;
    }
    levels.media = levels.decoder == LEVEL_F32 && source != ELEMENT_BF16 ? LEVEL_F32 : LEVEL_BF16;
    return levels;
}

static Status load_pieces(WeightsStore *store, const TensorSource *tensors, uint32_t threads,
                          Error *error) {
    const Manifest *manifest = &store->manifest;
    const SourceTensor **found = calloc((size_t)manifest->count * PIECE_SOURCES_MAX, sizeof *found);
    if (found == NULL) {
        return error_set(error, E_MEMORY, "no memory for the list of tensors");
    }
    Status status = manifest_match(manifest, tensors, found, error);
    for (uint32_t i = 0; i < manifest->count && status == OK; i++) {
        status =
            load_piece(store, &manifest->pieces[i], &found[i * PIECE_SOURCES_MAX], threads, error);
    }
    free(found);
    return status;
}

Status load_source(const TensorSource *tensors, const WeightsOptions *options, Weights *weights,
                   Error *error) {
    WeightsStore *store = weights->store;
    const SourceTensor *embedding =
        source_find(tensors, "model.language_model.embed_tokens.weight");
    bool dense = embedding != NULL && embedding->codes == NULL;
    store->source = dense ? embedding->type : ELEMENT_BF16;
    config_set_source(&weights->config, store->source);
    store->levels = load_levels(options, store->source);
    TRY(store_check_group(options, store->levels.decoder, error));
    TRY(store_take_block(weights, false, error));
    return load_pieces(store, tensors, options->threads, error);
}
