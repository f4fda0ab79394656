// SPDX-License-Identifier: Apache-2.0
#include "host/log.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LOG_LINE_MAX = 2048 };

static const char *const log_names[] = {"error", "warn", "info", "debug"};
static LogLevel log_level = LOG_WARN; // set once, before threads start

void log_set_level(const char *name) {
    for (int i = 0; i <= LOG_DEBUG; i++) {
        if (strcmp(name, log_names[i]) == 0) {
            log_level = (LogLevel)i;
        }
    }
}

void log_event(LogLevel level, const char *event, const char *format, ...) {
    if (level > log_level) {
        return;
    }
    char line[LOG_LINE_MAX];
    char now[32];
    clock_utc_text(now);
    int length = snprintf(line, sizeof line, "%s %s %s ", now, log_names[level], event);
    va_list arguments;
    va_start(arguments, format);
    length += vsnprintf(line + length, sizeof line - (size_t)length, format, arguments);
    va_end(arguments);
    if (length > LOG_LINE_MAX - 2) {
        length = LOG_LINE_MAX - 2;
    }
    line[length++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, (size_t)length);
    (void)written; // there is nowhere to report a log that cannot be written
}
