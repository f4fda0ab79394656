// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"

#include "base/num.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Bytes bytes_of_text(const char *text) {
    return (Bytes){(const uint8_t *)text, strlen(text)};
}

bool bytes_equal(Bytes a, Bytes b) {
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

// To exactly this capacity, which is more than there is.
static bool buffer_resize(Buffer *buffer, size_t capacity) {
    size_t more = capacity - buffer->capacity;
    if (!purse_take(buffer->purse, more)) {
        return false;
    }
    uint8_t *data = realloc(buffer->data, capacity);
    if (data == NULL) {
        purse_give(buffer->purse, more);
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

bool buffer_grow(Buffer *buffer, size_t capacity) {
    buffer->failed =
        buffer->failed || (capacity > buffer->capacity &&
                           (capacity >= SIZE_MAX / 2 || !buffer_resize(buffer, capacity)));
    return !buffer->failed;
}

static bool buffer_reserve(Buffer *buffer, size_t more) {
    if (buffer->failed || more >= SIZE_MAX / 4 || buffer->length >= SIZE_MAX / 4) {
        buffer->failed = true;
        return false;
    }
    size_t need = buffer->length + more + 1;
    if (need <= buffer->capacity) {
        return true;
    }
    size_t capacity = num_max(num_max(need, 64), buffer->capacity * 2);
    buffer->failed = !buffer_resize(buffer, capacity) && !buffer_resize(buffer, need);
    return !buffer->failed;
}

void buffer_append(Buffer *buffer, const void *data, size_t length) {
    if (!buffer_reserve(buffer, length)) {
        return;
    }
    if (length > 0) {
        memcpy(buffer->data + buffer->length, data, length);
    }
    buffer->length += length;
    buffer->data[buffer->length] = 0;
}

void buffer_append_text(Buffer *buffer, const char *text) {
    buffer_append(buffer, text, strlen(text));
}

void buffer_append_byte(Buffer *buffer, uint8_t byte) {
    buffer_append(buffer, &byte, 1);
}

void buffer_printf(Buffer *buffer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length >= 0 && buffer_reserve(buffer, (size_t)length)) {
        vsnprintf((char *)buffer->data + buffer->length, (size_t)length + 1, format, again);
        buffer->length += (size_t)length;
    }
    va_end(again);
}

void buffer_clear(Buffer *buffer) {
    buffer->length = 0;
    buffer->failed = false;
    if (buffer->data != NULL) {
        buffer->data[0] = 0;
    }
}

void buffer_empty(Buffer *buffer, size_t keep_bytes, size_t first_bytes) {
    if (buffer->capacity > keep_bytes) {
        buffer_free(buffer);
        buffer_grow(buffer, first_bytes);
    }
    buffer_clear(buffer);
}

void buffer_free(Buffer *buffer) {
    free(buffer->data);
    purse_give(buffer->purse, buffer->capacity);
    *buffer = (Buffer){.purse = buffer->purse};
}
