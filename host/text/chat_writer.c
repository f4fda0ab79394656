// SPDX-License-Identifier: Apache-2.0
#include "host/text/chat_writer.h"

#include "base/text.h"
#include "base/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- segments -----------------------------------------------------------------------------------

void chat_write_fail(ChatWriter *writer, Status status, const char *format, ...) {
    if (writer->status != OK) {
        return;
    }
    char text[ERROR_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    writer->status = error_set(writer->error, status, "%s", text);
}

// The segment to write to: the last one when it is text too, otherwise a new one.
static ChatSegment *open_segment(ChatWriter *writer, ChatSegmentKind kind) {
    ChatPrompt *prompt = writer->prompt;
    if (kind == CHAT_SEGMENT_TEXT && prompt->segment_count > 0 &&
        prompt->segments[prompt->segment_count - 1].kind == kind) {
        return &prompt->segments[prompt->segment_count - 1];
    }
    if (prompt->segment_count == prompt->segment_capacity) {
        size_t capacity = prompt->segment_capacity * 2 + 32;
        ChatSegment *segments = realloc(prompt->segments, capacity * sizeof *segments);
        if (segments == NULL) {
            chat_write_fail(writer, E_MEMORY, "not enough memory for the prompt");
            return NULL;
        }
        prompt->segments = segments;
        prompt->segment_capacity = capacity;
    }
    ChatSegment *segment = &prompt->segments[prompt->segment_count++];
    *segment = (ChatSegment){kind, prompt->text.length, 0};
    return segment;
}

static void write_segment(ChatWriter *writer, ChatSegmentKind kind, Bytes text) {
    if (writer->status != OK || text.length == 0) {
        return;
    }
    ChatSegment *segment = open_segment(writer, kind);
    if (segment != NULL) {
        buffer_append(&writer->prompt->text, text.data, text.length);
        segment->length += text.length;
    }
    if (writer->prompt->text.failed) {
        chat_write_fail(writer, E_MEMORY, "not enough memory for the prompt");
    }
}

void chat_write(ChatWriter *writer, Bytes text) {
    write_segment(writer, CHAT_SEGMENT_TEXT, text);
}

void chat_write_text(ChatWriter *writer, const char *text) {
    chat_write(writer, bytes_of_text(text));
}

void chat_write_control(ChatWriter *writer, const char *token) {
    write_segment(writer, CHAT_SEGMENT_CONTROL, bytes_of_text(token));
}

void chat_write_media(ChatWriter *writer, ChatPartKind kind) {
    if (kind == CHAT_IMAGE) {
        write_segment(writer, CHAT_SEGMENT_IMAGE, bytes_of_text("<|image|>"));
    } else if (kind == CHAT_AUDIO) {
        write_segment(writer, CHAT_SEGMENT_AUDIO, bytes_of_text("<|audio|>"));
    } else if (kind == CHAT_VIDEO) {
        write_segment(writer, CHAT_SEGMENT_VIDEO, bytes_of_text("<|video|>"));
    }
}

// ---- text ---------------------------------------------------------------------------------------

// What Python's str.isspace says of one character: four separators more than Unicode.
static bool is_space(uint32_t code) {
    return (code >= 0x1c && code <= 0x1f) || text_is_white_space(code);
}

Bytes chat_trim(Bytes text) {
    uint32_t code;
    size_t length;
    while (text.length > 0 && (length = utf8_decode(text, 0, &code)) > 0 && is_space(code)) {
        text.data += length;
        text.length -= length;
    }
    while ((length = utf8_decode_before(text, text.length, &code)) > 0 && is_space(code)) {
        text.length -= length;
    }
    return text;
}

// Lower case of the alphabets that have two cases and are likely in a key: Latin, Greek, Cyrillic.
static uint32_t lower(uint32_t code) {
    if ((code >= 'A' && code <= 'Z') || (code >= 0xc0 && code <= 0xde && code != 0xd7) ||
        (code >= 0x391 && code <= 0x3a9) || (code >= 0x410 && code <= 0x42f)) {
        return code + 32;
    }
    if (code >= 0x400 && code <= 0x40f) {
        return code + 80;
    }
    bool even_pairs = (code >= 0x100 && code <= 0x137) || (code >= 0x14a && code <= 0x177);
    return even_pairs ? code | 1 : code;
}

static int compare_keys(const char *a, const char *b) {
    Bytes x = bytes_of_text(a), y = bytes_of_text(b);
    size_t i = 0, k = 0;
    while (i < x.length && k < y.length) {
        uint32_t p = 0, q = 0;
        i += utf8_decode(x, i, &p);
        k += utf8_decode(y, k, &q);
        p = lower(p);
        q = lower(q);
        if (p != q) {
            return p < q ? -1 : 1;
        }
    }
    return (i < x.length) - (k < y.length);
}

static int compare_entries(const void *a, const void *b) {
    const ChatEntry *x = a, *y = b;
    int order = compare_keys(x->key, y->key);
    return order != 0 ? order : (x->order > y->order) - (x->order < y->order);
}

ChatEntry *chat_sorted(ChatWriter *writer, const json_t *object) {
    size_t count = json_object_size(object);
    if (count == 0 || writer->status != OK) {
        return NULL;
    }
    ChatEntry *entries = malloc(count * sizeof *entries);
    if (entries == NULL) {
        chat_write_fail(writer, E_MEMORY, "not enough memory for the prompt");
        return NULL;
    }
    size_t at = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        entries[at] = (ChatEntry){key, value, at};
        at++;
    }
    qsort(entries, count, sizeof *entries, compare_entries);
    return entries;
}

// ---- values -------------------------------------------------------------------------------------

bool chat_is_true(const json_t *value) {
    switch (value == NULL ? JSON_NULL : json_typeof(value)) {
    case JSON_OBJECT:
        return json_object_size(value) > 0;
    case JSON_ARRAY:
        return json_array_size(value) > 0;
    case JSON_STRING:
        return json_string_length(value) > 0;
    case JSON_INTEGER:
    case JSON_REAL:
        return json_number_value(value) != 0;
    case JSON_TRUE:
        return true;
    default:
        return false;
    }
}

// The shortest decimal that reads back as `number`, in Python's form: with an exponent below 1e-4
// and from 1e16 on, always with a point or an exponent.
static void append_real(Buffer *out, double number) {
    char digits[32];
    int precision = 0;
    do {
        snprintf(digits, sizeof digits, "%.*e", precision, number);
    } while (strtod(digits, NULL) != number && ++precision < 17);
    int exponent = (int)strtol(strchr(digits, 'e') + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        buffer_append_text(out, digits);
        return;
    }
    int decimals = precision > exponent ? precision - exponent : 0;
    buffer_printf(out, "%.*f%s", decimals, number, decimals == 0 ? ".0" : "");
}

static void append_python(Buffer *out, const json_t *value, bool quoted);

static void append_python_string(Buffer *out, const json_t *value) {
    Bytes text = {(const uint8_t *)json_string_value(value), json_string_length(value)};
    bool has_single = memchr(text.data, '\'', text.length) != NULL;
    uint8_t quote = has_single && memchr(text.data, '"', text.length) == NULL ? '"' : '\'';
    buffer_append_byte(out, quote);
    for (size_t i = 0; i < text.length; i++) {
        uint8_t byte = text.data[i];
        if (byte == quote || byte == '\\') {
            buffer_append_byte(out, '\\');
            buffer_append_byte(out, byte);
        } else if (byte == '\n' || byte == '\r' || byte == '\t') {
            buffer_append_text(out, byte == '\n' ? "\\n" : byte == '\r' ? "\\r" : "\\t");
        } else if (byte < 0x20 || byte == 0x7f) {
            buffer_printf(out, "\\x%02x", byte);
        } else {
            buffer_append_byte(out, byte);
        }
    }
    buffer_append_byte(out, quote);
}

static void append_python_list(Buffer *out, const json_t *value) {
    const char *key;
    json_t *item;
    size_t index = 0;
    if (json_is_array(value)) {
        buffer_append_byte(out, '[');
        json_array_foreach(value, index, item) {
            buffer_append_text(out, index > 0 ? ", " : "");
            append_python(out, item, true);
        }
        buffer_append_byte(out, ']');
        return;
    }
    buffer_append_byte(out, '{');
    json_object_foreach((json_t *)value, key, item) {
        json_t *name = json_string(key);
        buffer_append_text(out, index++ > 0 ? ", " : "");
        append_python_string(out, name);
        json_decref(name);
        buffer_append_text(out, ": ");
        append_python(out, item, true);
    }
    buffer_append_byte(out, '}');
}

static void append_python(Buffer *out, const json_t *value, bool quoted) {
    switch (json_typeof(value)) {
    case JSON_STRING:
        if (quoted) {
            append_python_string(out, value);
        } else {
            buffer_append(out, json_string_value(value), json_string_length(value));
        }
        break;
    case JSON_INTEGER:
        buffer_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        append_real(out, json_real_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        buffer_append_text(out, json_is_true(value) ? "True" : "False");
        break;
    case JSON_NULL:
        buffer_append_text(out, "None");
        break;
    default:
        append_python_list(out, value);
    }
}

void chat_write_plain(ChatWriter *writer, const json_t *value, bool capitals) {
    if (value == NULL || writer->status != OK) {
        return; // undefined is nothing
    }
    Buffer text = {0};
    append_python(&text, value, false);
    for (size_t i = 0; capitals && i < text.length; i++) {
        text.data[i] -= text.data[i] >= 'a' && text.data[i] <= 'z' ? 32 : 0;
    }
    if (text.failed) {
        chat_write_fail(writer, E_MEMORY, "not enough memory for the prompt");
    }
    chat_write(writer, (Bytes){text.data, text.length});
    buffer_free(&text);
}

void chat_write_quoted(ChatWriter *writer, const json_t *value, bool capitals) {
    chat_write_control(writer, "<|\"|>");
    chat_write_plain(writer, value, capitals);
    chat_write_control(writer, "<|\"|>");
}

void chat_write_entries(ChatWriter *writer, const json_t *object, ChatKeys keys) {
    ChatEntry *entries = chat_sorted(writer, object);
    for (size_t i = 0; entries != NULL && i < json_object_size(object); i++) {
        chat_write_text(writer, i > 0 ? "," : "");
        if (keys == CHAT_KEYS_QUOTED) {
            chat_write_control(writer, "<|\"|>");
        }
        chat_write_text(writer, entries[i].key);
        if (keys == CHAT_KEYS_QUOTED) {
            chat_write_control(writer, "<|\"|>");
        }
        chat_write_text(writer, ":");
        chat_write_value(writer, entries[i].value, keys);
    }
    free(entries);
}

void chat_write_value(ChatWriter *writer, const json_t *value, ChatKeys keys) {
    switch (value == NULL ? JSON_NULL : json_typeof(value)) {
    case JSON_NULL:
        chat_write_text(writer, "null");
        break;
    case JSON_STRING:
        chat_write_quoted(writer, value, false);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        chat_write_text(writer, json_is_true(value) ? "true" : "false");
        break;
    case JSON_OBJECT:
        chat_write_text(writer, "{");
        chat_write_entries(writer, value, keys);
        chat_write_text(writer, "}");
        break;
    case JSON_ARRAY:
        chat_write_text(writer, "[");
        for (size_t i = 0; i < json_array_size(value); i++) {
            chat_write_text(writer, i > 0 ? "," : "");
            chat_write_value(writer, json_array_get(value, i), keys);
        }
        chat_write_text(writer, "]");
        break;
    default:
        chat_write_plain(writer, value, false);
    }
}
