// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LOG_LINE_MAX = 2048 };

static const char *const log_names[] = {"error", "warn", "info", "debug"};
LogLevel log_level = LOG_WARN; // set once, before threads start

void log_set_level(const char *name) {
    for (int i = 0; i <= LOG_DEBUG; i++) {
        if (strcmp(name, log_names[i]) == 0) {
            log_level = (LogLevel)i;
        }
    }
}

// ---- A line -------------------------------------------------------------------------------------

// Once something does not fit, nothing follows it: a cut line has no half value.
typedef struct Line {
    char text[LOG_LINE_MAX];
    size_t length;
    bool full;
} Line;

static void line_add(Line *line, const char *text, size_t length) {
    size_t room = LOG_LINE_MAX - 1 - line->length; // and the newline
    line->full = line->full || length > room;
    if (!line->full) {
        memcpy(line->text + line->length, text, length);
        line->length += length;
    }
}

static bool is_plain(uint8_t c) {
    return c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '=';
}

static size_t escape_byte(uint8_t c, char out[5]) {
    if (c == '"' || c == '\\') {
        return (size_t)snprintf(out, 5, "\\%c", c);
    }
    if (c == '\n') {
        return (size_t)snprintf(out, 5, "\\n");
    }
    if (c < ' ' || c >= 0x7f) {
        return (size_t)snprintf(out, 5, "\\x%02x", c);
    }
    out[0] = (char)c;
    return 1;
}

// A text as one value: bare when nothing in it could be mistaken, else in quotes. A long one is cut
// so that the quotes are closed.
static void line_add_value(Line *line, const char *text, size_t length) {
    bool plain = length > 0;
    for (size_t i = 0; i < length; i++) {
        plain = plain && is_plain((uint8_t)text[i]);
    }
    if (plain) {
        line_add(line, text, length);
        return;
    }
    line_add(line, "\"", 1);
    for (size_t i = 0; i < length; i++) {
        char escaped[5];
        size_t count = escape_byte((uint8_t)text[i], escaped);
        if (line->length + count + sizeof "...\"" > LOG_LINE_MAX) {
            line_add(line, "...", 3);
            break;
        }
        line_add(line, escaped, count);
    }
    line_add(line, "\"", 1);
}

// ---- Formats ------------------------------------------------------------------------------------

// One conversion of a format: what stands between the % and the letter, and the letter.
typedef struct Conversion {
    char spec[16]; // with the %
    char letter;
    int longs;      // l, ll; z counts as l
    bool has_width; // .* before s
} Conversion;

static const char *conversion_read(const char *at, Conversion *out) {
    size_t length = strspn(at + 1, "0123456789.+-*lz") + 2;
    REQUIRE_MESSAGE(length < sizeof out->spec, "a log format: %s", at);
    *out = (Conversion){.letter = at[length - 1]};
    memcpy(out->spec, at, length);
    for (size_t i = 1; i < length; i++) {
        out->longs += at[i] == 'l' || at[i] == 'z';
        out->has_width = out->has_width || at[i] == '*';
    }
    return at + length;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"

static void line_add_number(Line *line, const Conversion *conversion, va_list *arguments) {
    char text[64];
    int length = 0;
    if (strchr("fge", conversion->letter) != NULL) {
        length = snprintf(text, sizeof text, conversion->spec, va_arg(*arguments, double));
    } else if (conversion->longs > 0) {
        length = snprintf(text, sizeof text, conversion->spec, va_arg(*arguments, long));
    } else {
        REQUIRE_MESSAGE(strchr("diuxX", conversion->letter) != NULL, "a log format: %s",
                        conversion->spec);
        length = snprintf(text, sizeof text, conversion->spec, va_arg(*arguments, int));
    }
    line_add(line, text, num_min((size_t)length, sizeof text - 1));
}

#pragma GCC diagnostic pop

static void line_add_conversion(Line *line, const Conversion *conversion, va_list *arguments) {
    if (conversion->letter != 's') {
        line_add_number(line, conversion, arguments);
        return;
    }
    int width = conversion->has_width ? va_arg(*arguments, int) : -1;
    const char *text = va_arg(*arguments, const char *);
    line_add_value(line, text, width >= 0 ? (size_t)width : strlen(text));
}

static void line_format(Line *line, const char *format, va_list *arguments) {
    while (*format != '\0' && !line->full) {
        if (*format == '%') {
            Conversion conversion;
            format = conversion_read(format, &conversion);
            line_add_conversion(line, &conversion, arguments);
        } else {
            size_t count = strcspn(format, "%");
            line_add(line, format, count);
            format += count;
        }
    }
}

void log_write(LogLevel level, const char *event, const char *format, ...) {
    Line line = {.length = 0};
    char now[32];
    clock_utc_text(now);
    line.length =
        (size_t)snprintf(line.text, sizeof line.text, "%s %s %s ", now, log_names[level], event);
    va_list arguments;
    va_start(arguments, format);
    line_format(&line, format, &arguments);
    va_end(arguments);
    line.text[line.length++] = '\n';
    ssize_t written = write(STDERR_FILENO, line.text, line.length);
    (void)written; // there is nowhere to report a log that cannot be written
}

bool log_limit(LogLimit *limit, uint64_t now_ms) {
    if (now_ms - limit->since_ms >= LOG_LIMIT_MS) {
        limit->since_ms = now_ms;
        limit->lines = 0;
    }
    bool write = limit->lines < LOG_LIMIT_LINES;
    limit->lines += write;
    limit->left_out += !write;
    return write;
}

uint32_t log_limit_left_out(LogLimit *limit, uint64_t now_ms) {
    uint32_t left_out = now_ms - limit->since_ms >= LOG_LIMIT_MS ? limit->left_out : 0;
    limit->left_out -= left_out;
    return left_out;
}
