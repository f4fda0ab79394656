// SPDX-License-Identifier: Apache-2.0
// rope_append, AVX-512: the algorithm of rope_append_lanes.h.
#include "cpu/rope_append_lanes.h"

Status rope_append_avx512(void *context, const OpRopeAppend *op) {
    return rope_append_run(context, op);
}
