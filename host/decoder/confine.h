// SPDX-License-Identifier: Apache-2.0
// The decoder locks itself in before it looks at anybody's picture. From then on it can compute,
// take memory up to a limit, read calls from its socket and write answers to it. It has no file, no
// network, no other process, no environment, and it ends with whoever started it. Any other system
// call ends it at once.
//
// Built for a sanitizer (DECODER_UNCONFINED) it only ends with whoever started it: sanitizers
// reserve terabytes and read files to report.
#ifndef HOST_DECODER_CONFINE_H
#define HOST_DECODER_CONFINE_H

#include <stdbool.h>
#include <stdint.h>

// memory_bytes: what it may allocate; memory shared with others does not count. False when the
// kernel refuses any of it.
bool confine(uint64_t memory_bytes);

#endif
