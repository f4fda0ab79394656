// SPDX-License-Identifier: Apache-2.0
// linear, portable C: the integer family of linear_integer.h and the float family of
// linear_lanes.h.
#include "cpu/linear_integer.h"

Status linear_scalar(void *context, const OpLinear *op) {
    linear_run(context, op, choose_family(op->weight.level, op->in.kind), linear_finish);
    return OK;
}
