// SPDX-License-Identifier: Apache-2.0
// norm and residual_norm, AVX-512: the algorithms of norm_lanes.h.
#include "cpu/norm_lanes.h"

Status norm_avx512(void *context, const OpNorm *op) {
    return norm_run(context, op);
}

Status residual_norm_avx512(void *context, const OpResidualNorm *op) {
    return residual_norm_run(context, op);
}
