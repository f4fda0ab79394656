// SPDX-License-Identifier: Apache-2.0
#include "host/jobs/inputs.h"

#include "base/check.h"
#include "host/jobs/inputs_walk.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

Status inputs_no_memory(Error *error) {
    return error_set(error, E_MEMORY, "no memory for the list of pictures");
}

static Status inputs_first_name(Inputs *inputs, const char *name, bool *is_new, Error *error) {
    size_t before = inputs->seen.count, number;
    bool good = name_set_put(&inputs->seen, hash128(bytes_of_text(name)), &number);
    *is_new = good && number == before;
    return good ? OK : inputs_no_memory(error);
}

Status inputs_first_visit(Inputs *inputs, const char *path, bool *is_new, Error *error) {
    char *canonical = realpath(path, NULL);
    Status status = inputs_first_name(inputs, canonical != NULL ? canonical : path, is_new, error);
    free(canonical);
    return status;
}

static bool inputs_grow(Inputs *inputs) {
    if (inputs->count < inputs->capacity) {
        return true;
    }
    size_t capacity = inputs->capacity == 0 ? 64 : inputs->capacity * 2;
    const char **paths = realloc(inputs->paths, capacity * sizeof *paths);
    inputs->paths = paths != NULL ? paths : inputs->paths;
    const Error **faults = realloc(inputs->faults, capacity * sizeof *faults);
    inputs->faults = faults != NULL ? faults : inputs->faults;
    inputs->capacity = paths != NULL && faults != NULL ? capacity : inputs->capacity;
    return paths != NULL && faults != NULL;
}

static Status inputs_append(Inputs *inputs, const char *path, const Error *fault, Error *error) {
    char *copy = arena_copy_text(&inputs->arena, path, strlen(path));
    if (copy == NULL || !inputs_grow(inputs)) {
        return inputs_no_memory(error);
    }
    inputs->paths[inputs->count] = copy;
    inputs->faults[inputs->count++] = fault;
    return OK;
}

Status inputs_take_file(Inputs *inputs, const char *path, Error *error) {
    bool is_new;
    TRY(inputs_first_visit(inputs, path, &is_new, error));
    return is_new ? inputs_append(inputs, path, NULL, error) : OK;
}

Status inputs_take_fault(Inputs *inputs, const char *path, Error *error, Status status,
                         const char *format, ...) {
    Error *fault = arena_take(&inputs->arena, sizeof *fault);
    if (fault == NULL) {
        return inputs_no_memory(error);
    }
    char text[ERROR_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    error_set(fault, status, "%s: %s", path, text);
    bool is_new;
    TRY(inputs_first_name(inputs, fault->text, &is_new, error));
    return is_new ? inputs_append(inputs, path, fault, error) : OK;
}

void inputs_left_out_text(const Inputs *inputs, Buffer *out) {
    const char *comma = "";
    for (size_t i = 0; i < MEDIA_OTHER_COUNT; i++) {
        if (inputs->others[i] > 0) {
            buffer_printf(out, "%s%llu %s", comma, (unsigned long long)inputs->others[i],
                          media_other_extensions[i]);
            comma = ", ";
        }
    }
    if (inputs->hidden > 0) {
        buffer_printf(out, "%s%llu hidden", comma, (unsigned long long)inputs->hidden);
    }
}

void inputs_free(Inputs *inputs) {
    name_set_free(&inputs->seen);
    free(inputs->paths);
    free(inputs->faults);
    arena_free(&inputs->arena);
    *inputs = (Inputs){0};
}
