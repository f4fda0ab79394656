// SPDX-License-Identifier: Apache-2.0
// logits: the soft cap, cap * tanh(x / cap) (model.md 1.2).
#include "cpu/context.h"

#include <math.h>

Status logits_ref(void *context, const OpLogits *op) {
    (void)context;
    if (op->softcap == 0.0f) {
        return OK;
    }
    double cap = (double)op->softcap;
    size_t count = (size_t)op->row_count * op->vocab_count;
    for (size_t i = 0; i < count; i++) {
        op->logits[i] = (float)(cap * tanh((double)op->logits[i] / cap));
    }
    return OK;
}
