// SPDX-License-Identifier: Apache-2.0
// What the emulator's parts share and nobody else sees.
#ifndef TESTS_SIMT_STATE_H
#define TESTS_SIMT_STATE_H

#include "tests/simt/shadow.h"

extern SimtOptions simt_options;
extern DeviceMemory simt_memory;

bool simt_failed(void); // a fault is kept: every call fails

// Runs a launch to its end, now.
cudaError_t simt_run(const char *kernel, dim3 grid, unsigned block_threads, size_t shared_bytes,
                     void (*call)(const void *), const void *args);

#endif
