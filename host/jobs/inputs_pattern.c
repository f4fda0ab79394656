// SPDX-License-Identifier: Apache-2.0
// Patterns, part by part: what is matched so far is a path, what is left of the pattern a text that
// begins with a part.
#include "host/jobs/inputs_walk.h"

#include "base/check.h"
#include "base/file.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct Pattern {
    Inputs *inputs;
    Buffer path; // matched so far; empty is the current folder
    size_t found;
    Error *error;
} Pattern;

static Status pattern_rest(Pattern *pattern, const char *rest, int depth);

static const char *pattern_path(const Pattern *pattern) {
    return pattern->path.length > 0 ? (const char *)pattern->path.data : ".";
}

static Status pattern_fault(Pattern *pattern, Status status, const char *text) {
    pattern->found++;
    return inputs_take_fault(pattern->inputs, pattern_path(pattern), pattern->error, status, "%s",
                             text);
}

// One part is matched; `after` is empty or begins with the slash behind it.
static Status pattern_matched(Pattern *pattern, const char *after, int depth) {
    if (pattern->path.failed) {
        return inputs_no_memory(pattern->error);
    }
    if (after[0] != '\0' && !file_is_folder(pattern_path(pattern))) {
        return OK;
    }
    const char *rest = after + strspn(after, "/");
    if (rest[0] != '\0') {
        return pattern_rest(pattern, rest, depth);
    }
    pattern->found++;
    return inputs_take_path(pattern->inputs, pattern_path(pattern), pattern->error);
}

// A part without signs is one name, hidden or not.
static Status pattern_name(Pattern *pattern, const char *part, size_t length, int depth) {
    size_t before = pattern->path.length;
    struct stat info;
    walk_join(&pattern->path, "");
    buffer_append(&pattern->path, part, length);
    Status status = OK;
    if (pattern->path.failed || lstat(pattern_path(pattern), &info) == 0) {
        status = pattern_matched(pattern, part + length, depth);
    } else if (errno != ENOENT && errno != ENOTDIR) {
        status = pattern_fault(pattern, E_IO, strerror(errno));
    }
    walk_cut(&pattern->path, before);
    return status;
}

typedef struct PatternStep {
    const char *name_pattern; // of the entries meant; NULL: every folder that is not hidden
    const char *after;        // what is left of the pattern behind an entry
    int depth;
} PatternStep;

static bool pattern_is_true_folder(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static Status pattern_entry(Pattern *pattern, const char *name, const PatternStep *step) {
    if (step->name_pattern != NULL) {
        return fnmatch(step->name_pattern, name, FNM_PERIOD) == 0
                   ? pattern_matched(pattern, step->after, step->depth)
                   : OK;
    }
    if (!pattern_is_true_folder(pattern_path(pattern))) {
        return OK;
    }
    if (walk_is_hidden(name)) {
        pattern->inputs->hidden++;
        return OK;
    }
    return pattern_rest(pattern, step->after, step->depth);
}

// Goes on with the entries of the folder matched so far.
static Status pattern_entries(Pattern *pattern, const PatternStep *step) {
    struct dirent **entries;
    int count;
    if (!walk_list(pattern_path(pattern), &entries, &count)) {
        char text[128];
        snprintf(text, sizeof text, "this folder cannot be read: %s", strerror(errno));
        return pattern_fault(pattern, E_IO, text);
    }
    Status status = OK;
    size_t length = pattern->path.length;
    for (int i = 0; i < count; i++) {
        if (status == OK) {
            walk_join(&pattern->path, entries[i]->d_name);
            status = pattern_entry(pattern, entries[i]->d_name, step);
            walk_cut(&pattern->path, length);
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

// A part with signs.
static Status pattern_names(Pattern *pattern, const char *part, size_t length, int depth) {
    char *name_pattern = strndup(part, length);
    if (name_pattern == NULL) {
        return inputs_no_memory(pattern->error);
    }
    const PatternStep step = {name_pattern, part + length, depth};
    Status status = pattern_entries(pattern, &step);
    free(name_pattern);
    return status;
}

// "**": the folder matched so far, and every folder below it.
static Status pattern_folders(Pattern *pattern, const char *part, int depth) {
    if (depth > INPUTS_DEPTH_MAX) {
        return pattern_fault(pattern, E_LIMIT, "lies too many folders deep; name it by itself");
    }
    const char *after = part + strlen("**");
    TRY(pattern_matched(pattern, after, depth));
    const PatternStep step = {NULL, part, depth + 1};
    return after[strspn(after, "/")] != '\0' ? pattern_entries(pattern, &step) : OK;
}

static Status pattern_rest(Pattern *pattern, const char *rest, int depth) {
    size_t length = strcspn(rest, "/");
    if (length == 2 && memcmp(rest, "**", 2) == 0) {
        return pattern_folders(pattern, rest, depth);
    }
    return strcspn(rest, "*?[\\") < length ? pattern_names(pattern, rest, length, depth)
                                           : pattern_name(pattern, rest, length, depth);
}

Status inputs_walk_pattern(Inputs *inputs, const char *text, Error *error) {
    Pattern pattern = {.inputs = inputs, .error = error};
    size_t slashes = strspn(text, "/");
    buffer_append_text(&pattern.path, slashes > 0 ? "/" : "");
    Status status = pattern_rest(&pattern, text + slashes, 0);
    if (status == OK && pattern.found == 0) {
        status = error_set(error, E_NOT_FOUND, "%s: no file matches this pattern", text);
    }
    buffer_free(&pattern.path);
    return status;
}
