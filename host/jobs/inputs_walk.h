// SPDX-License-Identifier: Apache-2.0
// How pictures are found: the walk through a folder and the expansion of a pattern, and what these
// two add to the list.
//
// A walk passes over hidden names: those that begin with a dot, and __MACOSX, @eaDir, #recycle,
// $RECYCLE.BIN, "System Volume Information" and lost+found, in which systems keep copies,
// thumbnails and what was deleted. Such a name that the user gave is taken as any other. Folders
// nested deeper than INPUTS_DEPTH_MAX, folders and entries that cannot be examined, and paths that
// are too long become faults.
#ifndef HOST_JOBS_INPUTS_WALK_H
#define HOST_JOBS_INPUTS_WALK_H

#include "host/jobs/inputs.h"

#include <dirent.h>

enum { INPUTS_DEPTH_MAX = 64 };

Status inputs_walk_folder(Inputs *inputs, const char *path, Error *error);
Status inputs_take_path(Inputs *inputs, const char *path, Error *error); // a file or a folder

// As the shell understands a pattern: * ? [...] inside a name never match a leading dot. A part **
// is any number of folders, none among them; links to folders and hidden names are not entered, and
// at the end it stands for the folder itself. E_NOT_FOUND: nothing matches.
Status inputs_walk_pattern(Inputs *inputs, const char *pattern, Error *error);

// ---- Shared by the two walks -------------------------------------------------------------------

// Appends an entry's name to a folder's path, or to nothing.
void walk_join(Buffer *path, const char *name);
void walk_cut(Buffer *path, size_t length); // takes back what was appended behind `length`

// The entries of a folder but "." and "..", sorted by name; free each and the list. False: errno.
bool walk_list(const char *path, struct dirent ***entries, int *count);
bool walk_is_hidden(const char *name);

// ---- Into the list (inputs.c) ------------------------------------------------------------------

Status inputs_take_file(Inputs *inputs, const char *path, Error *error); // once
Status inputs_first_visit(Inputs *inputs, const char *path, bool *is_new, Error *error);
// `status` and the text are the fault; `error` and the result are about memory.
Status inputs_take_fault(Inputs *inputs, const char *path, Error *error, Status status,
                         const char *format, ...) __attribute__((format(printf, 5, 6)));
Status inputs_no_memory(Error *error);

#endif
