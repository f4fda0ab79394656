// SPDX-License-Identifier: Apache-2.0
// activate, AVX2: the algorithm of activate_lanes.h.
#include "cpu/activate_lanes.h"

Status activate_avx2(void *context, const OpActivate *op) {
    return activate_run(context, op);
}
