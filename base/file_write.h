// SPDX-License-Identifier: Apache-2.0
// The one way to make a file appear: whole under its name, or not at all. The bytes go to a
// temporary file in the same folder, which takes the name at the end.
//
// What is replaced keeps its mode, group and owner. Symbolic links stay, the file behind them is
// replaced. What has no content of its own to replace is written through: devices, named pipes, the
// descriptors under /proc and /dev/fd, and "-", which is standard output. A file without write
// permission is never replaced.
//
// The temporary name is new, unpredictable, hidden and 21 bytes long, so every name that the folder
// allows can be written. The open temporary files are listed, so that a signal handler can remove
// them (file_write_remove_temporaries).
#ifndef BASE_FILE_WRITE_H
#define BASE_FILE_WRITE_H

#include "base/bytes.h"
#include "base/status.h"

enum { FILE_NAME_MAX = 255, FILE_TEMPORARY_TEXT = 22 };

// A file on its way. Filled by file_write_begin; a zeroed or failed one may be abandoned.
typedef struct FileWrite {
    const char *path; // as the caller named it; borrowed
    int fd;           // takes the bytes
    int folder;       // holds the file; -1: written through
    int place;        // in the list of temporary files; -1: not listed
    bool open;
    char name[FILE_NAME_MAX + 1];
    char temporary[FILE_TEMPORARY_TEXT];
} FileWrite;

// Whether file_write_begin would find a folder and a name that it may write; changes nothing. For
// commands that work for hours before they write. E_IO.
Status file_write_check(const char *path, Error *error);

// E_IO; a named pipe waits for its reader. After OK, end or abandon.
Status file_write_begin(const char *path, FileWrite *out, Error *error);
Status file_write_append(FileWrite *file, Bytes bytes, Error *error);

// Gives the file its name. E_IO: nothing has changed under that name.
Status file_write_end(FileWrite *file, Error *error);

// Leaves what was there as it is. Does nothing after file_write_end.
void file_write_abandon(FileWrite *file);

// The whole in one call; `parts` are written one after the other.
Status file_write_whole(const char *path, Bytes bytes, Error *error);
Status file_write_parts(const char *path, const Bytes *parts, size_t count, Error *error);

// Opens a file that is read while it grows and that holds what others must not see (mode 0600,
// whatever it was before). It is emptied; a symbolic link or a file of somebody else is refused.
// Returns a descriptor in `*fd`. E_ARGUMENT: "-"; E_IO.
Status file_write_private(const char *path, int *fd, Error *error);

// Removes the listed temporary files. Safe in a signal handler; the process must end after it.
void file_write_remove_temporaries(void);

#endif
