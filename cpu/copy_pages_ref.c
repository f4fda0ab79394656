// SPDX-License-Identifier: Apache-2.0
// copy_pages: the one implementation, since a copy has nothing to speed up. Pages of a step never
// overlap: a page is a source or a target, not both (scheduler/batch.h).
#include "cpu/context.h"

#include <string.h>

Status copy_pages_ref(void *context, const OpCopyPages *op) {
    (void)context;
    for (uint32_t l = 0; l < op->layer_count; l++) {
        const KvLayer *layer = &op->layers[l];
        unsigned char *pages = layer->pages;
        for (uint32_t i = 0; i < op->count; i++) {
            memcpy(pages + (size_t)op->to[i] * layer->page_bytes,
                   pages + (size_t)op->from[i] * layer->page_bytes, layer->page_bytes);
        }
    }
    return OK;
}
