// SPDX-License-Identifier: Apache-2.0
// Opening by source, and the Hugging Face folder itself. Loading goes piece by piece: the
// checkpoint stays mapped, each piece is converted into its final place, so memory is that of the
// result plus what the system keeps of the file.
#include "weights/weights.h"

#include "base/check.h"
#include "weights/finite.h"
#include "weights/hub.h"
#include "weights/identity.h"
#include "weights/identity_cache.h"
#include "weights/pack_file.h"
#include "weights/store.h"
#include "weights/synthetic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const char SYNTHETIC_PREFIX[] = "synthetic:";

Weights *weights_new(void) {
    Weights *weights = calloc(1, sizeof *weights);
    WeightsStore *store = calloc(1, sizeof *store);
    if (weights == NULL || store == NULL) {
        free(weights);
        free(store);
        return NULL;
    }
    weights->store = store;
    store->checksums.tokenizer = identity_checksum((Bytes){0});
    return weights;
}

void weights_close(Weights *weights) {
    if (weights == NULL) {
        return;
    }
    WeightsStore *store = weights->store;
    file_map_close(&store->map);
    if (store->block != NULL) {
        munmap(store->block, store->block_bytes);
    }
    for (int i = 0; i < CONFIG_TEXT_COUNT; i++) {
        buffer_free(&store->texts_owned[i]);
    }
    manifest_free(&store->manifest);
    free(store);
    free(weights->folder);
    free(weights);
}

// Bytes the system can give without swapping; UINT64_MAX when it does not say.
static uint64_t memory_available(void) {
    Buffer text = {0};
    uint64_t kib = UINT64_MAX / 1024;
    if (file_read("/proc/meminfo", 1 << 16, &text, NULL) == OK && text.data != NULL) {
        const char *line = strstr((const char *)text.data, "MemAvailable:");
        if (line != NULL) {
            kib = strtoull(line + strlen("MemAvailable:"), NULL, 10);
        }
    }
    buffer_free(&text);
    return kib * 1024;
}

Status weights_take_block(Weights *weights, bool shape_only, Error *error) {
    WeightsStore *store = weights->store;
    TRY(manifest_build(&weights->config, store->levels, &store->manifest, error));
    uint64_t bytes = store->manifest.total_bytes;
    uint64_t available = memory_available();
    void *block = MAP_FAILED;
    if (shape_only) { // one page of zeros, wherever it is read
        block = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    } else if (bytes <= available) {
        block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (block == MAP_FAILED) {
        return error_set(error, E_MEMORY,
                         "the weights at %s need %.2f GiB and %.2f GiB are available; choose a "
                         "lower level",
                         weight_level_name(store->levels.decoder), (double)bytes / 0x1p30,
                         (double)available / 0x1p30);
    }
    // Large pages spare page faults while loading and address lookups while computing; where the
    // system has none, nothing is lost.
    (void)madvise(block, bytes, MADV_HUGEPAGE);
    store->block = block;
    store->block_bytes = bytes;
    for (int i = 0; i < SECTION_COUNT; i++) {
        store->sections[i] = block;
        block = (uint8_t *)block + store->manifest.section_bytes[i];
    }
    return OK;
}

uint8_t *weights_piece_bytes(const WeightsStore *store, const Piece *piece) {
    return store->block + (store->sections[piece->section] - store->block) + piece->offset;
}

Status weights_finish(Weights *weights, Error *error) {
    const WeightsStore *store = weights->store;
    weights->level = store->levels.decoder;
    weights->group = store->levels.group;
    manifest_attach(&store->manifest, store->sections, weights);
    return identity_make(store, &store->checksums, weights->identity, error);
}

Status weights_add_tokenizer(Weights *weights, Bytes tables, Error *error) {
    WeightsStore *store = weights->store;
    store->checksums.tokenizer = identity_checksum(tables);
    return identity_make(store, &store->checksums, weights->identity, error);
}

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
    uint8_t *bytes = weights_piece_bytes(store, piece);
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

Status weights_check_group(const WeightsOptions *options, WeightLevel level, Error *error) {
    if (options->group == 0 || level >= LEVEL_INT8) {
        return OK;
    }
    return error_set(error, E_ARGUMENT,
                     "--group is for int8 and int4 weights, and these are %s; leave it out, or add "
                     "--weights int8 or int4",
                     weight_level_name(level));
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
    Status status = weights_check_group(options, store->levels.decoder, error);
    if (status == OK) {
        status = weights_take_block(weights, false, error);
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

static Status folder_open(const char *folder, const WeightsOptions *options, Weights *weights,
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

static Status options_check(const WeightsOptions *options, Error *error) {
    if (options->level > LEVEL_COUNT) {
        return error_set(error, E_ARGUMENT, "the weight level must be f32, bf16, int8 or int4");
    }
    if (options->group != 0 && options->group != 32 && options->group != 64 &&
        options->group != 128) {
        return error_set(error, E_ARGUMENT, "the group is %u; it must be 32, 64 or 128",
                         options->group);
    }
    return options->level < LEVEL_COUNT ? weights_check_group(options, options->level, error) : OK;
}

Status weights_open(const char *path, const WeightsOptions *options, Weights **out, Error *error) {
    *out = NULL;
    TRY(options_check(options, error));
    Weights *weights = weights_new();
    if (weights == NULL) {
        return error_set(error, E_MEMORY, "no memory for the tables of a model");
    }
    Status status;
    bool synthetic = strncmp(path, SYNTHETIC_PREFIX, strlen(SYNTHETIC_PREFIX)) == 0;
    if (synthetic) {
        status = synthetic_open(path + strlen(SYNTHETIC_PREFIX), options, weights, error);
    } else if (file_is_folder(path)) {
        status = folder_open(path, options, weights, error);
    } else {
        status = pack_file_open(path, options, weights, error);
    }
    if (status == OK) {
        status = weights_finish(weights, error);
    }
    if (status != OK) {
        weights_close(weights);
        return error_prefix(error, status, "%s", path);
    }
    *out = weights;
    return OK;
}

WeightsBytes weights_bytes(const Weights *weights) {
    const Manifest *manifest = &weights->store->manifest;
    uint64_t sums[SECTION_COUNT] = {0};
    for (uint32_t i = 0; i < manifest->count; i++) {
        const Piece *piece = &manifest->pieces[i];
        sums[piece->section] += piece->bytes + piece->scales_bytes;
    }
    return (WeightsBytes){
        .decoder = sums[SECTION_DECODER],
        .embedding = sums[SECTION_EMBEDDING],
        .vision = sums[SECTION_VISION],
        .audio = sums[SECTION_AUDIO],
        .norms = sums[SECTION_NORMS],
    };
}
