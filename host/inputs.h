// SPDX-License-Identifier: Apache-2.0
// What the user named, as a list of picture paths: files, folders (with subfolders, sorted by name,
// picture extensions only), patterns that the shell left alone, and `-` for a list on stdin. Every
// file is listed once, however it was reached; symbolic links that lead round are walked once.
// A name that does not exist stays in the list, so that its error becomes a record like any other.
#ifndef HOST_INPUTS_H
#define HOST_INPUTS_H

#include "base/arena.h"
#include "base/status.h"

#include <stdio.h>

typedef struct Inputs {
    const char **paths; // [count] in the order they were named
    size_t count, capacity;
    struct InputSet *seen; // canonical names of files and folders taken already
    Arena arena;
} Inputs;

// Adds what `operand` stands for. `list` is read when the operand is "-", its names end with `end`
// ('\n' or '\0'). E_NOT_FOUND: a pattern that matches nothing; E_IO: the list; E_LIMIT: folders
// nested deeper than any real ones; E_MEMORY.
Status inputs_add(Inputs *inputs, const char *operand, FILE *list, char end, Error *error);
void inputs_free(Inputs *inputs);

#endif
