// SPDX-License-Identifier: Apache-2.0
// The user's cache folder, ${XDG_CACHE_HOME:-~/.cache}/tessera. What lies there only saves time:
// every reader goes on without it, so nothing here is an error.
#ifndef BASE_CACHE_H
#define BASE_CACHE_H

#include "base/bytes.h"

#include <stdbool.h>

enum { CACHE_PATH_MAX = 1024 };

// The path of file `name` in it; false: no such folder is known, or the path is too long.
bool cache_path(const char *name, char out[CACHE_PATH_MAX]);

// Makes the folder and writes the file whole, if it can.
void cache_write(const char *name, Bytes bytes);

#endif
