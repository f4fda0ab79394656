// SPDX-License-Identifier: Apache-2.0
// sample, AVX-512: the algorithm of sample_lanes.h.
#include "cpu/sample_lanes.h"

Status sample_avx512(void *context, const OpSample *op) {
    return sample_run(context, op);
}
