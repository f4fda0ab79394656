// SPDX-License-Identifier: Apache-2.0
// A Hugging Face folder: its tensors are found by the manifest's names and brought into panels at
// the asked level.
#ifndef WEIGHTS_FOLDER_H
#define WEIGHTS_FOLDER_H

#include "weights/store.h"

// Fills `weights` (new, empty) from `folder`, which may also be one of the Hugging Face cache.
// E_NOT_FOUND, E_IO, E_CONFIG, E_CHECKPOINT, E_TENSOR, E_ARGUMENT (a group for a level without),
// E_MEMORY.
Status folder_open(const char *folder, const WeightsOptions *options, Weights *weights,
                   Error *error);

#endif
