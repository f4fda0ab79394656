// SPDX-License-Identifier: Apache-2.0
// Weights of a true shape made from a seed, for speed and memory measurements on machines that have
// no checkpoint. Nothing they say means anything, but activations stay finite.
#ifndef WEIGHTS_SYNTHETIC_H
#define WEIGHTS_SYNTHETIC_H

#include "weights/store.h"

// Names: gemma-4-12b, gemma-4-12b-2l (one sliding and one full layer of the same shape), tiny. The
// level of LEVEL_COUNT is int4. E_NOT_FOUND (the text lists the names), E_MEMORY.
Status synthetic_open(const char *name, const WeightsOptions *options, Weights *weights,
                      Error *error);

// The same model's config alone, without making any weights. E_NOT_FOUND, E_MEMORY.
Status synthetic_config(const char *name, Gemma4Config *out, Error *error);

#endif
