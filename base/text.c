// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include "base/utf8.h"

#include <string.h>

bool text_is_utf8(Bytes text, size_t *at) {
    size_t good = 0, length = 1;
    for (uint32_t code; good < text.length && length > 0; good += length) {
        length = utf8_decode(text, good, &code);
    }
    if (at != NULL) {
        *at = good;
    }
    return length > 0;
}

static bool text_is_space(uint8_t byte) {
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

Bytes text_trim(Bytes text) {
    while (text.length > 0 && text_is_space(text.data[0])) {
        text.data++;
        text.length--;
    }
    while (text.length > 0 && text_is_space(text.data[text.length - 1])) {
        text.length--;
    }
    return text;
}

bool text_is_white_space(uint32_t code) {
    return (code >= 9 && code <= 13) || code == 0x20 || code == 0x85 || code == 0xa0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

void text_repair(Buffer *out, Bytes text) {
    for (size_t at = 0, length; at < text.length; at += length) {
        uint32_t code;
        length = utf8_decode(text, at, &code);
        if (length == 0) {
            length = 1;
            buffer_append_text(out, TEXT_REPLACEMENT);
        } else {
            buffer_append(out, text.data + at, length);
        }
    }
}

Bytes text_skip_mark(Bytes text) {
    static const char mark[] = "\xef\xbb\xbf";
    size_t length = sizeof mark - 1;
    bool marked = text.length >= length && memcmp(text.data, mark, length) == 0;
    return marked ? (Bytes){text.data + length, text.length - length} : text;
}

bool text_is_control(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code == 0x2028 || code == 0x2029 ||
           (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

static void text_escape_control(Buffer *out, uint32_t code) {
    static const char named[] = "\n\t\r", names[] = "ntr";
    const char *at = code != 0 && code < 0x80 ? strchr(named, (int)code) : NULL;
    if (at != NULL) {
        buffer_append_byte(out, '\\');
        buffer_append_byte(out, (uint8_t)names[at - named]);
    } else {
        buffer_printf(out, code < 0x80 ? "\\x%02x" : "\\u%04x", (unsigned)code);
    }
}

void text_escape(Buffer *out, Bytes text, TextForm form) {
    for (size_t at = 0, length; at < text.length; at += length) {
        uint32_t code;
        length = utf8_decode(text, at, &code);
        if (length == 0) {
            length = 1;
            buffer_printf(out, "\\x%02x", text.data[at]);
        } else if (form == TEXT_LINES && (code == '\n' || code == '\t')) {
            buffer_append_byte(out, (uint8_t)code);
        } else if (form == TEXT_FIELD && code == '\\') {
            buffer_append_text(out, "\\\\");
        } else if (text_is_control(code)) {
            text_escape_control(out, code);
        } else {
            buffer_append(out, text.data + at, length);
        }
    }
}
