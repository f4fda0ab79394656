// SPDX-License-Identifier: Apache-2.0
// The pairs of weight level and activation kind whose products the benches measure.
#ifndef BENCH_MIX_H
#define BENCH_MIX_H

#include "model/ops.h"

typedef struct Mix {
    const char *name;
    WeightLevel level;
    ActivationKind kind;
} Mix;

extern const Mix mixes[];
extern const uint32_t mix_count;

#endif
