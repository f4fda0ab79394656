// SPDX-License-Identifier: Apache-2.0
#include "host/inputs.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"

#include <dirent.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { INPUTS_DEPTH_MAX = 64 };

// An open-addressing set of 128-bit hashes of names; at most half full.
typedef struct InputSet {
    Hash128 *slots; // zero = free
    size_t capacity, count;
} InputSet;

static bool input_set_grow(InputSet *set) {
    InputSet bigger = {.capacity = set->capacity == 0 ? 256 : set->capacity * 2};
    bigger.slots = calloc(bigger.capacity, sizeof *bigger.slots);
    if (bigger.slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < set->capacity; i++) {
        if (set->slots[i].low != 0) {
            size_t at = set->slots[i].low & (bigger.capacity - 1);
            while (bigger.slots[at].low != 0) {
                at = (at + 1) & (bigger.capacity - 1);
            }
            bigger.slots[at] = set->slots[i];
        }
    }
    free(set->slots);
    bigger.count = set->count;
    *set = bigger;
    return true;
}

// Puts a name into the set; *is_new tells whether it was not there yet.
static bool input_set_put(InputSet *set, const char *name, bool *is_new) {
    if (set->count * 2 >= set->capacity && !input_set_grow(set)) {
        return false;
    }
    Hash128 hash = hash128(bytes_of_text(name));
    hash.low |= hash.low == 0;
    size_t at = hash.low & (set->capacity - 1);
    while (set->slots[at].low != 0) {
        if (set->slots[at].low == hash.low && set->slots[at].high == hash.high) {
            *is_new = false;
            return true;
        }
        at = (at + 1) & (set->capacity - 1);
    }
    set->slots[at] = hash;
    set->count++;
    *is_new = true;
    return true;
}

static Status inputs_no_memory(Error *error) {
    return error_set(error, E_MEMORY, "no memory for the list of pictures");
}

static Status inputs_first_visit(Inputs *inputs, const char *path, bool *is_new, Error *error) {
    if (inputs->seen == NULL) {
        inputs->seen = calloc(1, sizeof *inputs->seen);
        if (inputs->seen == NULL) {
            return inputs_no_memory(error);
        }
    }
    char *canonical = realpath(path, NULL);
    bool good = input_set_put(inputs->seen, canonical != NULL ? canonical : path, is_new);
    free(canonical);
    return good ? OK : inputs_no_memory(error);
}

static Status inputs_take_file(Inputs *inputs, const char *path, Error *error) {
    bool is_new;
    TRY(inputs_first_visit(inputs, path, &is_new, error));
    if (!is_new) {
        return OK;
    }
    if (inputs->count == inputs->capacity) {
        size_t capacity = inputs->capacity == 0 ? 64 : inputs->capacity * 2;
        const char **paths = realloc(inputs->paths, capacity * sizeof *paths);
        if (paths == NULL) {
            return inputs_no_memory(error);
        }
        inputs->paths = paths;
        inputs->capacity = capacity;
    }
    char *copy = arena_copy_text(&inputs->arena, path, strlen(path));
    if (copy == NULL) {
        return inputs_no_memory(error);
    }
    inputs->paths[inputs->count++] = copy;
    return OK;
}

static bool inputs_is_picture_name(const char *name) {
    static const char *const extensions[] = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof extensions / sizeof extensions[0]; i++) {
        if (strcasecmp(dot, extensions[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int inputs_compare(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static Status inputs_take_folder(Inputs *inputs, const char *path, int depth, Error *error);

static Status inputs_take_entry(Inputs *inputs, const char *folder, const char *name, int depth,
                                Error *error) {
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return OK;
    }
    Buffer path = {0};
    size_t length = strlen(folder);
    buffer_printf(&path, "%s%s%s", folder, length > 0 && folder[length - 1] == '/' ? "" : "/",
                  name);
    if (path.failed) {
        buffer_free(&path);
        return inputs_no_memory(error);
    }
    struct stat info;
    Status status = OK;
    // A name that cannot be examined (a dangling link) is taken by its extension and fails later.
    bool known = stat((const char *)path.data, &info) == 0;
    if (known && S_ISDIR(info.st_mode)) {
        status = inputs_take_folder(inputs, (const char *)path.data, depth + 1, error);
    } else if ((!known || S_ISREG(info.st_mode)) && inputs_is_picture_name(name)) {
        status = inputs_take_file(inputs, (const char *)path.data, error);
    }
    buffer_free(&path);
    return status;
}

static Status inputs_take_folder(Inputs *inputs, const char *path, int depth, Error *error) {
    if (depth > INPUTS_DEPTH_MAX) {
        return error_set(error, E_LIMIT, "%s: folders are nested deeper than %d", path,
                         INPUTS_DEPTH_MAX);
    }
    bool is_new;
    TRY(inputs_first_visit(inputs, path, &is_new, error));
    if (!is_new) {
        return OK;
    }
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, inputs_compare);
    if (count < 0) {
        // Taken as if it were a picture under another spelling: reading it fails with the reason.
        Buffer inside = {0};
        buffer_printf(&inside, "%s/", path);
        Status status = inside.failed ? inputs_no_memory(error)
                                      : inputs_take_file(inputs, (const char *)inside.data, error);
        buffer_free(&inside);
        return status;
    }
    Status status = OK;
    for (int i = 0; i < count; i++) {
        if (status == OK) {
            status = inputs_take_entry(inputs, path, entries[i]->d_name, depth, error);
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

static Status inputs_take_path(Inputs *inputs, const char *path, Error *error) {
    return file_is_folder(path) ? inputs_take_folder(inputs, path, 0, error)
                                : inputs_take_file(inputs, path, error);
}

static Status inputs_take_pattern(Inputs *inputs, const char *pattern, Error *error) {
    glob_t found;
    int result = glob(pattern, 0, NULL, &found);
    if (result == GLOB_NOMATCH) {
        return error_set(error, E_NOT_FOUND, "%s: no file matches this pattern", pattern);
    }
    if (result != 0) {
        return error_set(error, E_IO, "%s: the pattern could not be read", pattern);
    }
    Status status = OK;
    for (size_t i = 0; i < found.gl_pathc && status == OK; i++) {
        status = inputs_take_path(inputs, found.gl_pathv[i], error);
    }
    globfree(&found);
    return status;
}

static Status inputs_take_list(Inputs *inputs, FILE *list, char end, Error *error) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    Status status = OK;
    while (status == OK && (length = getdelim(&line, &capacity, end, list)) > 0) {
        if (line[length - 1] == end) {
            line[--length] = '\0';
        }
        if (end == '\n' && length > 0 && line[length - 1] == '\r') {
            line[--length] = '\0';
        }
        if (length > 0) {
            status = inputs_take_path(inputs, line, error);
        }
    }
    if (status == OK && ferror(list)) {
        status = error_set(error, E_IO, "the list on standard input could not be read");
    }
    free(line);
    return status;
}

Status inputs_add(Inputs *inputs, const char *operand, FILE *list, char end, Error *error) {
    if (strcmp(operand, "-") == 0) {
        return inputs_take_list(inputs, list, end, error);
    }
    if (!file_exists(operand) && strpbrk(operand, "*?[") != NULL) {
        return inputs_take_pattern(inputs, operand, error);
    }
    return inputs_take_path(inputs, operand, error);
}

void inputs_free(Inputs *inputs) {
    if (inputs->seen != NULL) {
        free(inputs->seen->slots);
        free(inputs->seen);
    }
    free(inputs->paths);
    arena_free(&inputs->arena);
    *inputs = (Inputs){0};
}
