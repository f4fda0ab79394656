// SPDX-License-Identifier: Apache-2.0
// What this machine has for us: memory and processors.
#ifndef BASE_MACHINE_H
#define BASE_MACHINE_H

#include <stdint.h>

// Bytes that can be had without swapping: free pages and page cache that can be dropped (the
// system's MemAvailable). 0 = unknown.
uint64_t machine_memory_available(void);

// Processors this process may run on, at least 1. A cgroup's processor quota is not read. Of more
// than 1,024 processors the answer is 1; the user can say how many.
uint32_t machine_processors(void);

#endif
