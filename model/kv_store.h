// SPDX-License-Identifier: Apache-2.0
// The device bytes behind the page numbers: for every layer an array of pages. Page n of a kind is
// page n in every layer of that kind. Owns the memory; lives as long as the engine.
#ifndef MODEL_KV_STORE_H
#define MODEL_KV_STORE_H

#include "model/precision.h"

typedef struct KvStore {
    uint32_t layer_count;
    KvLayer layers[GEMMA4_LAYERS_MAX]; // in layer order
    // The same layers grouped by kind, for page copies.
    uint32_t kind_count[PAGE_KIND_COUNT];
    KvLayer of_kind[PAGE_KIND_COUNT][GEMMA4_LAYERS_MAX];
} KvStore;

// Bytes of one page over all layers of its kind.
uint64_t kv_store_page_bytes(const Gemma4Config *config, EngineKv setting, PageKind pages,
                             const Backend *backend);

// E_MEMORY: what was taken is given back by kv_store_close, which also takes a half opened store.
Status kv_store_open(KvStore *store, const Gemma4Config *config, EngineKv setting,
                     const uint32_t pages[PAGE_KIND_COUNT], const Backend *backend);
void kv_store_close(KvStore *store, const Backend *backend);

// Copy on write: pages from -> to of every kind, before anything else of the step.
Status kv_store_copy(const KvStore *store, const Batch *batch, const Backend *backend);

#endif
