// SPDX-License-Identifier: Apache-2.0
// logits, portable: the algorithm of logits_lanes.h.
#include "cpu/logits_lanes.h"

Status logits_scalar(void *context, const OpLogits *op) {
    return logits_run(context, op);
}
