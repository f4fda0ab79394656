// SPDX-License-Identifier: Apache-2.0
// logits, AVX-512: the algorithm of logits_lanes.h.
#include "cpu/logits_lanes.h"

Status logits_avx512(void *context, const OpLogits *op) {
    return logits_run(context, op);
}
