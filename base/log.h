// SPDX-License-Identifier: Apache-2.0
// The log: one line per event on stderr, `time level event key=value ...`. Quiet unless asked
// (--log-level). A line is one write, so lines of several threads never mix.
//
// Nobody can forge a pair or a line: a %s is always one value. It stands bare when it is made of
// printable characters without space, quote, backslash and '='. Otherwise it is in double quotes,
// with a backslash before a quote and a backslash, and with \n or \xHH for control bytes and for
// all from 0x7f on. So a format has no quotes around %s. A value that is too long for a line ends
// with "..." inside its quotes.
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

typedef enum LogLevel { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG } LogLevel;

void log_set_level(const char *name); // "error", "warn", "info", "debug"; before threads start
extern LogLevel log_level;            // read only by log_event

// d, i, u, x, f, g, e, with l, ll or z, and s with .* for texts without a zero.
// log_event(LOG_INFO, "model_open", "seconds=%.2f", seconds)
// A line that is not asked for costs one comparison: its arguments are not computed.
#define log_event(level, ...) ((level) <= log_level ? log_write((level), __VA_ARGS__) : (void)0)
void log_write(LogLevel level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Lines that somebody without a token can cause: so many in so long, the others are counted.
enum { LOG_LIMIT_LINES = 20, LOG_LIMIT_MS = 1000 };
typedef struct LogLimit {
    uint64_t since_ms;
    uint32_t lines, left_out;
} LogLimit;
bool log_limit(LogLimit *limit, uint64_t now_ms); // true: write it
// How many were left out, when the time is over; once.
uint32_t log_limit_left_out(LogLimit *limit, uint64_t now_ms);

#endif
