// SPDX-License-Identifier: Apache-2.0
// Work that falls into many equal pieces, spread over a few threads that live for one call:
// loading, quantizing, making synthetic weights. Not for the per-step path, which has the pool in
// cpu/.
#ifndef WEIGHTS_FANOUT_H
#define WEIGHTS_FANOUT_H

#include <stddef.h>
#include <stdint.h>

// Calls run(context, i) once for every i < count, in no promised order, from up to `threads`
// threads (0 = one per processor), and returns when all calls have returned. A thread that cannot
// be started is done without: the calling thread always works too.
void fanout_run(uint32_t threads, size_t count, void (*run)(void *context, size_t index),
                void *context);

#endif
