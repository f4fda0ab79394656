// SPDX-License-Identifier: Apache-2.0
// Files that are there: a read-only map of a whole file and a bounded read. Writing is
// file_write.h. Every error text names the path.
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/bytes.h"
#include "base/status.h"

typedef struct FileMap {
    Bytes bytes; // data NULL and length 0 for an empty file
    void *base;
    size_t base_length;
} FileMap;

// Maps `path` read-only. E_NOT_FOUND, E_IO. The map lives until file_map_close; touching it after
// the file was truncated by someone else raises SIGBUS, as with every mmap.
Status file_map_open(const char *path, FileMap *map, Error *error);
void file_map_close(FileMap *map);

// Reads a whole regular file of at most `bytes_max` bytes and appends it to `out` (the caller
// frees). E_NOT_FOUND, E_IO, E_LIMIT (the text names the size and the limit), E_MEMORY.
Status file_read(const char *path, size_t bytes_max, Buffer *out, Error *error);

bool file_exists(const char *path); // also as a link to nothing, which then cannot be opened
bool file_is_folder(const char *path);
bool file_is_regular(const char *path);
bool file_is_same(const char *a, const char *b); // both are there and are one, by whatever names

// Whether bytes are what Git LFS leaves in the place of a large file until that is fetched; and the
// error that says so of `path`.
bool file_is_lfs_pointer(Bytes bytes);
Status file_refuse_lfs_pointer(const char *path, Status status, Error *error);

#endif
