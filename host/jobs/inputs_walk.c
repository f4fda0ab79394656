// SPDX-License-Identifier: Apache-2.0
#include "host/jobs/inputs_walk.h"

#include "base/check.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Walk {
    Inputs *inputs;
    Buffer path; // of where the walk is
    Error *error;
} Walk;

static const char *walk_path(const Walk *walk) {
    return (const char *)walk->path.data;
}

void walk_join(Buffer *path, const char *name) {
    if (path->length > 0 && path->data[path->length - 1] != '/') {
        buffer_append_byte(path, '/');
    }
    buffer_append_text(path, name);
}

void walk_cut(Buffer *path, size_t length) {
    if (path->length > length) {
        path->length = length;
        path->data[length] = '\0';
    }
}

static int walk_is_entry(const struct dirent *entry) {
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int walk_compare(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

bool walk_list(const char *path, struct dirent ***entries, int *count) {
    // Without the right to search it the names could be listed, and no more.
    if (faccessat(AT_FDCWD, path, R_OK | X_OK, AT_EACCESS) != 0) {
        return false;
    }
    *count = scandir(path, entries, walk_is_entry, walk_compare);
    return *count >= 0;
}

bool walk_is_hidden(const char *name) {
    static const char *const names[] = {"__MACOSX",     "@eaDir",     "#recycle",
                                        "$RECYCLE.BIN", "lost+found", "System Volume Information"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return name[0] == '.';
}

static bool walk_is_picture(const char *name) {
    return media_is_picture_name(name) || media_other_extension(name) >= 0;
}

// A name that is no folder.
static Status walk_file(Walk *walk, const char *name) {
    if (media_is_picture_name(name)) {
        return inputs_take_file(walk->inputs, walk_path(walk), walk->error);
    }
    int other = media_other_extension(name);
    if (other >= 0) {
        walk->inputs->others[other]++;
    }
    return OK;
}

// A name that cannot be examined. What is named as a picture fails when it is read, with the
// reason; a link that leads nowhere or round, or a file that has gone, was no folder.
static Status walk_unknown(Walk *walk, const struct dirent *entry, int reason) {
    bool nothing = reason == ELOOP || (reason == ENOENT && entry->d_type != DT_DIR);
    if (walk_is_picture(entry->d_name) || nothing) {
        return walk_file(walk, entry->d_name);
    }
    return inputs_take_fault(walk->inputs, walk_path(walk), walk->error, E_IO,
                             "cannot be examined: %s", strerror(reason));
}

static Status walk_into(Walk *walk, int depth);

static Status walk_entry(Walk *walk, const struct dirent *entry, int depth) {
    if (walk_is_hidden(entry->d_name)) {
        walk->inputs->hidden += entry->d_type != DT_REG || walk_is_picture(entry->d_name);
        return OK;
    }
    struct stat info;
    if (stat(walk_path(walk), &info) != 0) {
        return walk_unknown(walk, entry, errno);
    }
    return S_ISDIR(info.st_mode) ? walk_into(walk, depth + 1) : walk_file(walk, entry->d_name);
}

static Status walk_entries(Walk *walk, struct dirent **entries, int count, int depth) {
    Status status = OK;
    size_t length = walk->path.length;
    for (int i = 0; i < count && status == OK; i++) {
        walk_join(&walk->path, entries[i]->d_name);
        status =
            walk->path.failed ? inputs_no_memory(walk->error) : walk_entry(walk, entries[i], depth);
        walk_cut(&walk->path, length);
    }
    return status;
}

static Status walk_into(Walk *walk, int depth) {
    const char *path = walk_path(walk);
    if (depth > INPUTS_DEPTH_MAX) {
        return inputs_take_fault(walk->inputs, path, walk->error, E_LIMIT,
                                 "lies more than %d folders deep; name it by itself",
                                 INPUTS_DEPTH_MAX);
    }
    bool is_new;
    TRY(inputs_first_visit(walk->inputs, path, &is_new, walk->error));
    if (!is_new) {
        return OK;
    }
    struct dirent **entries;
    int count;
    if (!walk_list(path, &entries, &count)) {
        return inputs_take_fault(walk->inputs, path, walk->error, E_IO,
                                 "this folder cannot be read: %s", strerror(errno));
    }
    Status status = walk_entries(walk, entries, count, depth);
    for (int i = 0; i < count; i++) {
        free(entries[i]);
    }
    free(entries);
    return status;
}

Status inputs_walk_folder(Inputs *inputs, const char *path, Error *error) {
    Walk walk = {.inputs = inputs, .error = error};
    buffer_append_text(&walk.path, path);
    Status status = walk.path.failed ? inputs_no_memory(error) : walk_into(&walk, 0);
    buffer_free(&walk.path);
    return status;
}

Status inputs_take_path(Inputs *inputs, const char *path, Error *error) {
    return file_is_folder(path) ? inputs_walk_folder(inputs, path, error)
                                : inputs_take_file(inputs, path, error);
}
