// SPDX-License-Identifier: Apache-2.0
#include "host/cli/say.h"

#include "base/standard.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

void say(const char *format, ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    Buffer line = {0};
    if (length >= 0) {
        text_escape(&line, (Bytes){(const uint8_t *)text, (size_t)length}, TEXT_LINE);
        free(text);
    }
    buffer_append_byte(&line, '\n');
    fwrite(line.data, 1, line.length, stderr);
    buffer_free(&line);
}

static bool say_bytes(FILE *to, Bytes text) {
    return to == stdout ? standard_print(text.data, text.length)
                        : fwrite(text.data, 1, text.length, to) == text.length;
}

bool say_text(FILE *to, Bytes text) {
    if (isatty(fileno(to)) != 1) {
        return say_bytes(to, text);
    }
    Buffer shown = {0};
    text_escape(&shown, text, TEXT_LINES);
    bool good = !shown.failed && say_bytes(to, (Bytes){shown.data, shown.length});
    buffer_free(&shown);
    return good;
}

static bool say_breaks(uint8_t byte) {
    return byte == '\n' || byte == '\r' || byte == '\t';
}

bool say_row(const char *name, Bytes text) {
    Buffer line = {0};
    text_escape(&line, bytes_of_text(name), TEXT_FIELD);
    buffer_append_byte(&line, '\t');
    for (size_t begin = 0, end; begin < text.length; begin = end + 1) {
        for (end = begin; end < text.length && !say_breaks(text.data[end]); end++) {
        }
        text_escape(&line, (Bytes){text.data + begin, end - begin}, TEXT_LINE);
        buffer_append_text(&line, end < text.length ? " " : "");
    }
    buffer_append_byte(&line, '\n');
    bool good = !line.failed && standard_print(line.data, line.length);
    buffer_free(&line);
    return good;
}
