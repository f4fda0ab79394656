// SPDX-License-Identifier: Apache-2.0
// activate, written once over Lanes; a task is a row.
#ifndef CPU_ACTIVATE_LANES_H
#define CPU_ACTIVATE_LANES_H

#include "cpu/activation_lanes.h"
#include "cpu/context.h"

static void activate_row(void *argument, uint32_t row, uint32_t worker) {
    (void)worker;
    const OpActivate *op = argument;
    activation_store_lanes(&op->out, row, op->in + (size_t)row * op->in_stride);
}

LANES_INLINE Status activate_run(void *context, const OpActivate *op) {
    OpActivate copy = *op;
    pool_run(((CpuContext *)context)->pool, op->row_count, activate_row, &copy);
    return OK;
}

#endif
