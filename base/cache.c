// SPDX-License-Identifier: Apache-2.0
#include "base/cache.h"

#include "base/file_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool cache_path(const char *name, char out[CACHE_PATH_MAX]) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int written = -1;
    if (cache != NULL && cache[0] == '/') {
        written = snprintf(out, CACHE_PATH_MAX, "%s/tessera/%s", cache, name);
    } else if (home != NULL && home[0] == '/') {
        written = snprintf(out, CACHE_PATH_MAX, "%s/.cache/tessera/%s", home, name);
    }
    return written >= 0 && written < CACHE_PATH_MAX;
}

// The two folders that may be missing; what fails here shows when the file is written.
static void make_folders(const char *path) {
    char folder[CACHE_PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *inner = strrchr(folder, '/');
    *inner = '\0';
    char *outer = strrchr(folder, '/');
    *outer = '\0';
    (void)mkdir(folder, 0700);
    *outer = '/';
    (void)mkdir(folder, 0700);
}

void cache_write(const char *name, Bytes bytes) {
    char path[CACHE_PATH_MAX];
    if (cache_path(name, path)) {
        make_folders(path);
        (void)file_write_whole(path, bytes, NULL);
    }
}
