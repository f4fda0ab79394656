// SPDX-License-Identifier: Apache-2.0
#include "weights/store.h"

#include "base/check.h"
#include "base/machine.h"
#include "weights/identity.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

Status store_new(Weights **out, Error *error) {
    Weights *weights = calloc(1, sizeof *weights);
    WeightsStore *store = calloc(1, sizeof *store);
    if (weights == NULL || store == NULL) {
        free(weights);
        free(store);
        return error_set(error, E_MEMORY, "no memory for the tables of a model");
    }
    weights->store = store;
    store->checksums.tokenizer = identity_checksum((Bytes){0});
    *out = weights;
    return OK;
}

void store_close(Weights *weights) {
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
    free(weights->tokenizer.path);
    free(weights);
}

Status store_take_block(Weights *weights, bool shape_only, Error *error) {
    WeightsStore *store = weights->store;
    TRY(manifest_build(&weights->config, store->levels, &store->manifest, error));
    uint64_t bytes = store->manifest.total_bytes;
    uint64_t available = machine_memory_available();
    void *block = MAP_FAILED;
    if (shape_only) { // one page of zeros, wherever it is read
        block = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    } else if (available == 0 || bytes <= available) {
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

uint8_t *store_piece_bytes(const WeightsStore *store, const Piece *piece) {
    return store->block + (store->sections[piece->section] - store->block) + piece->offset;
}

Status store_finish(Weights *weights, Error *error) {
    const WeightsStore *store = weights->store;
    weights->level = store->levels.decoder;
    weights->group = store->levels.group;
    manifest_attach(&store->manifest, store->sections, weights);
    return identity_make(store, &store->checksums, weights->identity, error);
}

Status store_check_group(const WeightsOptions *options, WeightLevel level, Error *error) {
    if (options->group == 0 || level >= LEVEL_INT8) {
        return OK;
    }
    return error_set(error, E_ARGUMENT,
                     "--group is for int8 and int4 weights, and these are %s; leave it out, or add "
                     "--weights int8 or int4",
                     weight_level_name(level));
}
