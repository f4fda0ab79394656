// SPDX-License-Identifier: Apache-2.0
// activate, portable C: the algorithm of activate_lanes.h.
#include "cpu/activate_lanes.h"

Status activate_scalar(void *context, const OpActivate *op) {
    return activate_run(context, op);
}
