// SPDX-License-Identifier: Apache-2.0
#include "weights/hub.h"

#include "base/check.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

enum { REVISION_BYTES_MAX = 256 };

static Status path_of(const char *folder, const char *name, Buffer *out, Error *error) {
    buffer_clear(out);
    buffer_printf(out, "%s/%s", folder, name);
    return out->failed ? error_set(error, E_MEMORY, "%s: no memory for a path", folder) : OK;
}

// A revision is the name of a folder: no slash, not hidden.
static bool revision_good(const char *name) {
    return name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL;
}

// The revision of refs/main; empty when there is none.
static Status read_main(const char *path, Buffer *out, Error *error) {
    if (!file_exists(path)) {
        return OK;
    }
    TRY(file_read(path, REVISION_BYTES_MAX, out, error));
    while (out->length > 0 && out->data[out->length - 1] <= ' ') {
        out->data[--out->length] = '\0';
    }
    const char *name = (const char *)out->data;
    if (out->length == 0 || strlen(name) != out->length || !revision_good(name)) {
        return error_set(error, E_CHECKPOINT, "%s: does not hold the name of a snapshot", path);
    }
    return OK;
}

// The only snapshot.
static Status read_only(const char *path, Buffer *out, Error *error) {
    DIR *folder = opendir(path);
    size_t count = 0;
    if (folder == NULL) {
        return error_set(error, E_IO, "%s: cannot be opened: %s", path, strerror(errno));
    }
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (revision_good(entry->d_name) && count++ == 0) {
            buffer_append_text(out, entry->d_name);
        }
    }
    closedir(folder);
    if (count != 1) {
        return error_set(error, E_NOT_FOUND,
                         "%s: holds %zu snapshots and there is no refs/main; give the folder of "
                         "one of them",
                         path, count);
    }
    return OK;
}

static Status find_snapshot(const char *folder, Buffer *path, Buffer *revision, Buffer *out,
                            Error *error) {
    TRY(path_of(folder, "refs/main", path, error));
    TRY(read_main((const char *)path->data, revision, error));
    TRY(path_of(folder, "snapshots", path, error));
    if (revision->length == 0) {
        TRY(read_only((const char *)path->data, revision, error));
    }
    buffer_clear(out);
    buffer_printf(out, "%s/%s", (const char *)path->data, (const char *)revision->data);
    if (path->failed || revision->failed || out->failed) {
        return error_set(error, E_MEMORY, "%s: no memory for a path", folder);
    }
    return file_is_folder((const char *)out->data)
               ? OK
               : error_set(error, E_NOT_FOUND,
                           "%s: is named by refs/main and is not there; download the model again",
                           (const char *)out->data);
}

Status hub_find(const char *folder, Buffer *out, Error *error) {
    Buffer path = {0}, revision = {0};
    Status status = path_of(folder, "config.json", &path, error);
    bool plain = status == OK && file_exists((const char *)path.data);
    if (status == OK) {
        status = path_of(folder, "snapshots", &path, error);
    }
    if (status == OK && !plain && file_is_folder((const char *)path.data)) {
        status = find_snapshot(folder, &path, &revision, out, error);
    } else if (status == OK) {
        buffer_clear(out);
        buffer_append_text(out, folder);
        status = out->failed ? error_set(error, E_MEMORY, "%s: no memory for a path", folder) : OK;
    }
    buffer_free(&path);
    buffer_free(&revision);
    return status;
}
