// SPDX-License-Identifier: Apache-2.0
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct StatusRow {
    Status status;
    const char *name;
    StatusClass class;
    bool retryable;
    const char *text;
} StatusRow;

static const StatusRow rows[] = {
#define STATUS(name, number, class, retryable, text)                                               \
    {number, #name, STATUS_##class, retryable, text},
#include "base/status.def"
#undef STATUS
};

static const StatusRow *status_find(Status status) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].status == status) {
            return &rows[i];
        }
    }
    return NULL;
}

// The text, or of one that is too long its beginning and its end: a long path must not hide the
// reason behind it.
__attribute__((format(printf, 2, 0))) static void
error_format(char out[ERROR_TEXT_MAX], const char *format, va_list arguments) {
    static const char gap[] = " ... ";
    enum { HEAD = ERROR_TEXT_MAX / 2, TAIL = ERROR_TEXT_MAX - HEAD - (int)sizeof gap };
    char whole[8 * ERROR_TEXT_MAX];
    vsnprintf(whole, sizeof whole, format, arguments);
    size_t length = strlen(whole);
    if (length < ERROR_TEXT_MAX) {
        memcpy(out, whole, length + 1);
        return;
    }
    memcpy(out, whole, HEAD);
    memcpy(out + HEAD, gap, sizeof gap - 1);
    memcpy(out + HEAD + sizeof gap - 1, whole + length - TAIL, TAIL + 1);
}

Status(error_set)(Error *error, Status status, const char *format, ...) {
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        error->status = status;
        error_format(error->text, format, arguments);
        va_end(arguments);
    }
    return status;
}

Status error_prefix(Error *error, Status status, const char *format, ...) {
    if (error == NULL) {
        return status;
    }
    char old[ERROR_TEXT_MAX], prefix[ERROR_TEXT_MAX];
    memcpy(old, error->text, sizeof old);
    va_list arguments;
    va_start(arguments, format);
    error_format(prefix, format, arguments);
    va_end(arguments);
    return error_set(error, status, "%s: %s", prefix, old);
}

const char *status_name(Status status) {
    const StatusRow *row = status_find(status);
    return status == OK ? "OK" : row != NULL ? row->name : "E_UNKNOWN";
}

const char *status_text(Status status) {
    const StatusRow *row = status_find(status);
    return status == OK ? "done" : row != NULL ? row->text : "an unknown error";
}

StatusClass status_class(Status status) {
    const StatusRow *row = status_find(status);
    return row != NULL ? row->class : STATUS_BUG;
}

bool status_retryable(Status status) {
    const StatusRow *row = status_find(status);
    return row != NULL && row->retryable;
}
