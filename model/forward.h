// SPDX-License-Identifier: Apache-2.0
// The network, written once as a list of op calls. Runs on whatever backend stands behind the op
// table; takes no memory and decides nothing.
#ifndef MODEL_FORWARD_H
#define MODEL_FORWARD_H

#include "model/kv_store.h"
#include "model/step.h"

typedef struct Model {
    Weights weights; // device pointers (weights_on_device.h)
    EngineActivation activation;
    const float *inverse_frequency[LAYER_KIND_COUNT]; // [head_dim / 2] on the device
    const Backend *backend;
    Workspace workspace;
    WorkspaceShape shape;
    KvStore kv;
} Model;

// Embeds the rows and runs every layer: the residual stream of all rows ends up in workspace.h, the
// keys and values of all rows in the cache.
Status forward_decoder(const Model *model, const Step *step);

// Soft-capped logits of `count` rows of h (at most shape.logits_rows) into workspace.logits:
// rows[0 .. count) of it, or, with rows NULL, the rows from `first` on. With a scan they are
// suppressed.
Status forward_logits(const Model *model, const uint32_t *rows, uint32_t first, uint32_t count,
                      LogitScan scan);

#endif
