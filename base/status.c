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
    const char *hint;
} StatusRow;

static const StatusRow rows[] = {
#define STATUS(name, number, class, retryable, text, hint)                                         \
    {number, #name, STATUS_##class, retryable, text, hint},
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

Status(error_set)(Error *error, Status status, const char *format, ...) {
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        error->status = status;
        vsnprintf(error->text, sizeof error->text, format, arguments);
        va_end(arguments);
    }
    return status;
}

Status error_prefix(Error *error, Status status, const char *format, ...) {
    if (error == NULL) {
        return status;
    }
    char old[ERROR_TEXT_MAX];
    memcpy(old, error->text, sizeof old);
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    if (length >= 0 && (size_t)length + 2 < sizeof error->text) {
        size_t start = (size_t)length + 2;
        size_t fits = sizeof error->text - start - 1; // what does not fit is cut
        size_t copied = strlen(old) < fits ? strlen(old) : fits;
        memcpy(error->text + length, ": ", 2);
        memcpy(error->text + start, old, copied);
        error->text[start + copied] = '\0';
    }
    error->status = status;
    return status;
}

const char *status_name(Status status) {
    const StatusRow *row = status_find(status);
    return status == OK ? "OK" : row != NULL ? row->name : "E_UNKNOWN";
}

const char *status_text(Status status) {
    const StatusRow *row = status_find(status);
    return status == OK ? "done" : row != NULL ? row->text : "an unknown error";
}

const char *status_hint(Status status) {
    const StatusRow *row = status_find(status);
    return row != NULL ? row->hint : "";
}

StatusClass status_class(Status status) {
    const StatusRow *row = status_find(status);
    return row != NULL ? row->class : STATUS_BUG;
}

bool status_retryable(Status status) {
    const StatusRow *row = status_find(status);
    return row != NULL && row->retryable;
}
