// SPDX-License-Identifier: Apache-2.0
// attention, AVX2 and FMA: the algorithm of attention_lanes.h.
#include "cpu/attention_lanes.h"

Status attention_avx2(void *context, const OpAttention *op) {
    return attention_run(context, op);
}
