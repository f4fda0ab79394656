// SPDX-License-Identifier: Apache-2.0
// Which source a name means, and what every source leaves behind.
#include "weights/weights.h"

#include "base/check.h"
#include "weights/folder.h"
#include "weights/identity.h"
#include "weights/pack_file.h"
#include "weights/store.h"
#include "weights/synthetic.h"

#include <string.h>

static const char SYNTHETIC_PREFIX[] = "synthetic:";

static Status options_check(const WeightsOptions *options, Error *error) {
    if (options->level > LEVEL_COUNT) {
        return error_set(error, E_ARGUMENT, "the weight level must be f32, bf16, int8 or int4");
    }
    if (options->group != 0 && options->group != 32 && options->group != 64 &&
        options->group != 128) {
        return error_set(error, E_ARGUMENT, "the group is %u; it must be 32, 64 or 128",
                         options->group);
    }
    return options->level < LEVEL_COUNT ? store_check_group(options, options->level, error) : OK;
}

static bool is_synthetic(const char *path) {
    return strncmp(path, SYNTHETIC_PREFIX, strlen(SYNTHETIC_PREFIX)) == 0;
}

Status weights_open(const char *path, const WeightsOptions *options, Weights **out, Error *error) {
    *out = NULL;
    TRY(options_check(options, error));
    Weights *weights;
    TRY(store_new(&weights, error));
    Status status;
    if (is_synthetic(path)) {
        status = synthetic_open(path + strlen(SYNTHETIC_PREFIX), options, weights, error);
    } else if (file_is_folder(path)) {
        status = folder_open(path, options, weights, error);
    } else {
        status = pack_file_open(path, options, weights, error);
    }
    if (status == OK) {
        status = store_finish(weights, error);
    }
    if (status != OK) {
        weights_close(weights);
        return error_prefix(error, status, "%s", path);
    }
    *out = weights;
    return OK;
}

void weights_close(Weights *weights) {
    store_close(weights);
}

Status weights_verify(const char *path, Error *error) {
    if (is_synthetic(path) || file_is_folder(path)) {
        return error_set(error, E_ARGUMENT, "%s: only packed files can be verified", path);
    }
    return pack_file_verify(path, error);
}

Status weights_add_tokenizer(Weights *weights, Bytes tables, Error *error) {
    WeightsStore *store = weights->store;
    store->checksums.tokenizer = identity_checksum(tables);
    return identity_make(store, &store->checksums, weights->identity, error);
}

bool weights_on_heap(const Weights *weights) {
    return weights->store->block != NULL;
}

const Manifest *weights_manifest(const Weights *weights) {
    return &weights->store->manifest;
}

uint64_t weights_bytes(const Weights *weights) {
    const Manifest *manifest = weights_manifest(weights);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < manifest->count; i++) {
        sum += manifest->pieces[i].bytes + manifest->pieces[i].scales_bytes;
    }
    return sum;
}
