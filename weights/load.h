// SPDX-License-Identifier: Apache-2.0
// From the tensors of any format to the pieces of the manifest, at the asked level.
#ifndef WEIGHTS_LOAD_H
#define WEIGHTS_LOAD_H

#include "weights/source.h"
#include "weights/store.h"

// Takes the block of `weights`, whose config is there, and fills it. The sections are not hashed.
// E_ARGUMENT (a group for a level without), E_MEMORY, E_TENSOR (what does not fit the manifest, or
// a value that is not finite).
Status load_source(const TensorSource *tensors, const WeightsOptions *options, Weights *weights,
                   Error *error);

#endif
