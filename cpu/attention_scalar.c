// SPDX-License-Identifier: Apache-2.0
// attention, portable: the algorithm of attention_lanes.h.
#include "cpu/attention_lanes.h"

Status attention_scalar(void *context, const OpAttention *op) {
    return attention_run(context, op);
}
