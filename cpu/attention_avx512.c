// SPDX-License-Identifier: Apache-2.0
// attention, AVX-512: the algorithm of attention_lanes.h.
#include "cpu/attention_lanes.h"

Status attention_avx512(void *context, const OpAttention *op) {
    return attention_run(context, op);
}
