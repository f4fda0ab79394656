// SPDX-License-Identifier: Apache-2.0
// The Asker whose model runs in this process:
//
//   next -> prep threads (prep_pool) -> step loop -> finished
//
// The calling thread is the step thread. At most sizes.batch + sizes.waiting requests exist at a
// time, which bounds the memory of decoded pictures. Engine and scheduler are started by
// asker_start; where logits are asked for, as soon as the length of the prompt is known.
#ifndef HOST_ASKING_LOCAL_H
#define HOST_ASKING_LOCAL_H

#include "host/asking/asker.h"

// For tests.
Runtime *local_runtime(Asker *asker);

#endif
