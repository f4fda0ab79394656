// SPDX-License-Identifier: Apache-2.0
// The log: one line per event on stderr, `time level event key=value ...`. Quiet unless asked
// (--log-level). A line is one write, so lines of several threads never mix. Values that may hold
// spaces are put in double quotes by the caller's format.
#ifndef HOST_LOG_H
#define HOST_LOG_H

typedef enum LogLevel { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG } LogLevel;

void log_set_level(const char *name); // "error", "warn", "info", "debug"; before threads start

// log_event(LOG_INFO, "model_open", "seconds=%.2f", seconds)
void log_event(LogLevel level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
