// SPDX-License-Identifier: Apache-2.0
#include "weights/folder.h"

#include "base/check.h"
#include "weights/hub.h"
#include "weights/identity_cache.h"
#include "weights/load.h"
#include "weights/safetensors.h"

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

static Status folder_read(const char *folder, const WeightsOptions *options, Weights *weights,
                          Error *error) {
    WeightsStore *store = weights->store;
    TRY(folder_read_texts(folder, store, error));
    TRY(config_parse(&store->texts, &weights->config, error));
    TensorSource tensors;
    TRY(safetensors_open(folder, &tensors, error));
    FilesStamp stamp = identity_cache_stamp(&tensors);
    Status status = load_source(&tensors, options, weights, error);
    if (status == OK) {
        identity_cache_sections(store, &tensors, stamp, options->threads);
    }
    source_close(&tensors);
    return status;
}

static Status folder_name_tokenizer(const char *folder, TokenizerOrigin *out, Error *error) {
    Buffer path = {0};
    buffer_printf(&path, "%s/tokenizer.json", folder);
    if (path.failed) {
        buffer_free(&path);
        return error_set(error, E_MEMORY, "%s: no memory for a path", folder);
    }
    *out = (TokenizerOrigin){.form = TOKENIZER_JSON, .path = (char *)path.data};
    return OK;
}

Status folder_open(const char *folder, const WeightsOptions *options, Weights *weights,
                   Error *error) {
    Buffer found = {0};
    Status status = hub_find(folder, &found, error);
    const char *path = (const char *)found.data;
    if (status == OK) {
        status = folder_name_tokenizer(path, &weights->tokenizer, error);
    }
    if (status == OK) {
        status = folder_read(path, options, weights, error);
    }
    buffer_free(&found);
    return status;
}
