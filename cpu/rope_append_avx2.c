// SPDX-License-Identifier: Apache-2.0
// rope_append, AVX2 and FMA: the algorithm of rope_append_lanes.h.
#include "cpu/rope_append_lanes.h"

Status rope_append_avx2(void *context, const OpRopeAppend *op) {
    return rope_append_run(context, op);
}
