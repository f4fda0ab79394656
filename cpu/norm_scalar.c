// SPDX-License-Identifier: Apache-2.0
// norm and residual_norm, portable C: the algorithms of norm_lanes.h.
#include "cpu/norm_lanes.h"

Status norm_scalar(void *context, const OpNorm *op) {
    return norm_run(context, op);
}

Status residual_norm_scalar(void *context, const OpResidualNorm *op) {
    return residual_norm_run(context, op);
}
