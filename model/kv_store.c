// SPDX-License-Identifier: Apache-2.0
#include "model/kv_store.h"

#include "base/check.h"

uint64_t kv_store_page_bytes(const Gemma4Config *config, EngineKv setting, PageKind pages,
                             const Backend *backend) {
    uint64_t bytes = 0;
    for (uint32_t l = 0; l < config->layer_count; l++) {
        const LayerShape *shape = &config->layers[l];
        if ((PageKind)shape->kind == pages) {
            bytes += backend->device->kv_page_bytes(precision_kv(setting, shape->kind), shape);
        }
    }
    return bytes;
}

Status kv_store_open(KvStore *store, const Gemma4Config *config, EngineKv setting,
                     const uint32_t pages[PAGE_KIND_COUNT], const Backend *backend) {
    *store = (KvStore){0};
    for (uint32_t l = 0; l < config->layer_count; l++) {
        const LayerShape *shape = &config->layers[l];
        PageKind page_kind = (PageKind)shape->kind;
        KvKind kind = precision_kv(setting, shape->kind);
        KvLayer layer = {.kind = kind,
                         .shape = *shape,
                         .page_bytes = backend->device->kv_page_bytes(kind, shape)};
        layer.pages =
            backend->device->take(backend->context, (size_t)pages[page_kind] * layer.page_bytes);
        if (layer.pages == NULL) {
            return E_MEMORY;
        }
        store->layers[store->layer_count++] = layer;
        store->of_kind[page_kind][store->kind_count[page_kind]++] = layer;
    }
    return OK;
}

void kv_store_close(KvStore *store, const Backend *backend) {
    for (uint32_t l = 0; l < store->layer_count; l++) {
        backend->device->give(backend->context, store->layers[l].pages);
    }
    *store = (KvStore){0};
}

Status kv_store_copy(const KvStore *store, const Batch *batch, const Backend *backend) {
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        if (batch->copy_count[kind] == 0) {
            continue;
        }
        TRY(backend->ops->copy_pages(backend->context,
                                     &(OpCopyPages){.layers = store->of_kind[kind],
                                                    .layer_count = store->kind_count[kind],
                                                    .count = batch->copy_count[kind],
                                                    .from = batch->copy_from[kind],
                                                    .to = batch->copy_to[kind]}));
    }
    return OK;
}
