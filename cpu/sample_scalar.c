// SPDX-License-Identifier: Apache-2.0
// sample, portable: the algorithm of sample_lanes.h.
#include "cpu/sample_lanes.h"

Status sample_scalar(void *context, const OpSample *op) {
    return sample_run(context, op);
}
