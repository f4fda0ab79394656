// SPDX-License-Identifier: Apache-2.0
// activate: f32 rows into linear-ready activations (cpu/activation.h is the definition).
#include "cpu/activation.h"
#include "cpu/context.h"

Status activate_ref(void *context, const OpActivate *op) {
    (void)context;
    for (uint32_t r = 0; r < op->row_count; r++) {
        activation_store(&op->out, r, op->in + (size_t)r * op->in_stride);
    }
    return OK;
}
