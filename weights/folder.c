// SPDX-License-Identifier: Apache-2.0
// Loading goes piece by piece: the checkpoint stays mapped, each piece is converted into its final
// place, so memory is that of the result plus what the system keeps of the file.
#include "weights/folder.h"

#include "base/check.h"
#include "weights/finite.h"
#include "weights/hub.h"
#include "weights/identity_cache.h"

#include <stdlib.h>

static Status folder_read_texts(const char *folder, WeightsStore *store, Error *error) {
    for (int i = 0; i < CONFIG_TEXT_COUNT; i++) {
        Buffer path = {0};
        buffer_printf(&path, "%s/%s", folder, config_file_names[i]);
        if (path.failed) {
            return error_set(error, E_MEMORY, "%s: no memory for a path", folder);
        }
        Status status = OK;
        const char *name = (const char *)path.data;
        if (i == 0 || file_exists(name)) {
            status = file_read(name, CONFIG_TEXT_BYTES_MAX, &store->texts_owned[i], error);
        }
        buffer_free(&path);
        TRY(status);
        store->texts.text[i] = (Bytes){store->texts_owned[i].data, store->texts_owned[i].length};
    }
    return OK;
}

static Status folder_load_piece(const WeightsStore *store, const Piece *piece,
                                const SafetensorsTensor *const *sources, uint32_t threads,
                                Error *error) {
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
        parts[i] =
            (MatrixPart){sources[i]->type, sources[i]->data, (uint32_t)piece->sources[i].shape[0]};
    }
    Status status = matrix_pack(&matrix, parts, piece->source_count, piece->order, threads, error);
    if (status == E_TENSOR) {
        return finite_refuse(sources, piece->source_count, matrix.level, error);
    }
    return status;
}

// As stored: bf16 and f16 become bf16. Pictures and sound keep f32 when nothing else is asked.
static ManifestLevels folder_levels(const WeightsOptions *options, ElementType source) {
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

static Status folder_convert(Weights *weights, const Safetensors *tensors, uint32_t threads,
                             Error *error) {
    const Manifest *manifest = &weights->store->manifest;
    const SafetensorsTensor **found =
        calloc((size_t)manifest->count * PIECE_SOURCES_MAX, sizeof *found);
    if (found == NULL) {
        return error_set(error, E_MEMORY, "no memory for the list of tensors");
    }
    Status status = manifest_match(manifest, tensors, found, error);
    for (uint32_t i = 0; i < manifest->count && status == OK; i++) {
        status = folder_load_piece(weights->store, &manifest->pieces[i],
                                   &found[i * PIECE_SOURCES_MAX], threads, error);
    }
    free(found);
    return status;
}

static Status folder_read(const char *folder, const WeightsOptions *options, Weights *weights,
                          Error *error) {
    WeightsStore *store = weights->store;
    TRY(folder_read_texts(folder, store, error));
    TRY(config_parse(&store->texts, &weights->config, error));
    Safetensors tensors;
    TRY(safetensors_open(folder, &tensors, error));
    const SafetensorsTensor *embedding =
        safetensors_find(&tensors, "model.language_model.embed_tokens.weight");
    store->source = embedding != NULL ? embedding->type : ELEMENT_BF16;
    config_set_source(&weights->config, store->source);
    store->levels = folder_levels(options, store->source);
    FilesStamp stamp = identity_cache_stamp(&tensors);
    Status status = store_check_group(options, store->levels.decoder, error);
    if (status == OK) {
        status = store_take_block(weights, false, error);
    }
    if (status == OK) {
        status = folder_convert(weights, &tensors, options->threads, error);
    }
    if (status == OK) {
        identity_cache_sections(store, &tensors, stamp, options->threads);
    }
    safetensors_close(&tensors);
    return status;
}

Status folder_open(const char *folder, const WeightsOptions *options, Weights *weights,
                   Error *error) {
    Buffer found = {0};
    Status status = hub_find(folder, &found, error);
    if (status != OK) {
        buffer_free(&found);
        return status;
    }
    weights->folder = (char *)found.data;
    return folder_read(weights->folder, options, weights, error);
}
