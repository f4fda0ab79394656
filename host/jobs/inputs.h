// SPDX-License-Identifier: Apache-2.0
// What the user named, as a list of picture paths: files, folders (with subfolders, sorted by name,
// picture extensions only), patterns that the shell left alone, and `-` for a list on stdin. Every
// file is listed once, however it was reached; symbolic links that lead round are walked once.
//
// Nothing is left out without a word. A name that does not exist stays in the list, so that its
// error becomes a record like any other; so does what a walk cannot look into, with the reason as a
// fault. What a walk passes over by rule (other picture formats, hidden names) is counted.
#ifndef HOST_JOBS_INPUTS_H
#define HOST_JOBS_INPUTS_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/name_set.h"
#include "base/status.h"
#include "host/media/extensions.h"

#include <stdio.h>

typedef struct Inputs {
    const char **paths;   // [count] in the order they were named
    const Error **faults; // [count] why nothing can be read there, NULL: not known yet
    size_t count, capacity;
    uint64_t others[MEDIA_OTHER_COUNT]; // files passed over, by their extension
    uint64_t hidden;                    // names passed over as hidden (inputs_walk.h)
    NameSet seen;                       // canonical names of files and folders taken already
    Arena arena;
} Inputs;

// Adds what `operand` stands for. `list` is read when the operand is "-", its names end with `end`
// ('\n' or '\0'). E_NOT_FOUND: a pattern that matches nothing; E_ARGUMENT: zero bytes in a list of
// lines; E_IO: the list; E_MEMORY.
Status inputs_add(Inputs *inputs, const char *operand, FILE *list, char end, Error *error);

// "3 .gif, 1 .heic, 2 hidden": what was passed over; nothing when nothing was.
void inputs_left_out_text(const Inputs *inputs, Buffer *out);

void inputs_free(Inputs *inputs);

#endif
