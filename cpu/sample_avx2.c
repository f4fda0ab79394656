// SPDX-License-Identifier: Apache-2.0
// sample, AVX2 and FMA: the algorithm of sample_lanes.h.
#include "cpu/sample_lanes.h"

Status sample_avx2(void *context, const OpSample *op) {
    return sample_run(context, op);
}
