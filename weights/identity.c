// SPDX-License-Identifier: Apache-2.0
#include "weights/identity.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/json.h"
#include "weights/fanout.h"

#include <stdlib.h>

enum { IDENTITY_FORM = 2 }; // of what is covered and how; form 1 looked at samples only

// All numbers, no padding: hashed as bytes.
typedef struct IdentityParts {
    uint64_t form;
    uint64_t level, group, media_level, source; // decide what the bytes of the sections mean
    Hash128 texts[CONFIG_TEXT_COUNT];
    Checksums checksums;
} IdentityParts;

_Static_assert(sizeof(IdentityParts) == 40 + 16 * CONFIG_TEXT_COUNT + 8 * (SECTION_COUNT + 1),
               "IdentityParts has padding");

uint64_t identity_checksum(Bytes section) {
    return hash64(section, 0);
}

static void hash_section(void *context, size_t index) {
    WeightsStore *store = context;
    const Bytes section = {store->sections[index], store->manifest.section_bytes[index]};
    store->checksums.sections[index] = identity_checksum(section);
}

void identity_hash_sections(WeightsStore *store, uint32_t threads) {
    fanout_run(threads, SECTION_COUNT, hash_section, store);
}

// The hash of a JSON text with its keys in order and nothing between its tokens; 0 when absent.
static Status hash_text(Bytes text, const char *name, Hash128 *out, Error *error) {
    *out = (Hash128){0};
    if (text.length == 0) {
        return OK;
    }
    json_t *root;
    TRY(json_parse(text, name, &root, error));
    char *plain = json_dumps(root, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(root);
    if (plain == NULL) {
        return error_set(error, E_MEMORY, "%s: no memory to compare it", name);
    }
    *out = hash128(bytes_of_text(plain));
    free(plain);
    return OK;
}

Status identity_make(const WeightsStore *store, const Checksums *checksums, char out[33],
                     Error *error) {
    IdentityParts parts = {
        .form = IDENTITY_FORM,
        .level = store->levels.decoder,
        .group = store->levels.group,
        .media_level = store->levels.media,
        .source = store->source,
        .checksums = *checksums,
    };
    for (int i = 0; i < CONFIG_TEXT_COUNT; i++) {
        TRY(hash_text(store->texts.text[i], config_file_names[i], &parts.texts[i], error));
    }
    hash128_text(hash128((Bytes){(const uint8_t *)&parts, sizeof parts}), out);
    return OK;
}
