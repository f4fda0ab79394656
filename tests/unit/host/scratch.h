// SPDX-License-Identifier: Apache-2.0
// A folder of its own for a test, and small helpers to fill it. The folder goes away with
// scratch_remove; a test that fails leaves it behind to be looked at.
#ifndef TESTS_UNIT_HOST_SCRATCH_H
#define TESTS_UNIT_HOST_SCRATCH_H

#include "base/bytes.h"

#include <stddef.h>

typedef struct Scratch {
    char folder[64];
    char path[4096]; // of the last scratch_path
} Scratch;

void scratch_make(Scratch *scratch);
void scratch_remove(Scratch *scratch);
const char *scratch_path(Scratch *scratch, const char *name);
void scratch_folder(Scratch *scratch, const char *name);
void scratch_write(Scratch *scratch, const char *name, const char *text);
void scratch_write_bytes(Scratch *scratch, const char *name, const void *bytes, size_t length);
// Zero-terminated contents, "" when there is no such file. Freed by the caller.
char *scratch_read(Scratch *scratch, const char *name);

// Runs the program with arguments, NULL-terminated; standard input from `input` (NULL = nothing),
// outputs into `out` and `err`. Returns the exit status, or 128 + the signal that ended it.
int scratch_run(const char *const *arguments, const char *input, Buffer *out, Buffer *err);

#endif
