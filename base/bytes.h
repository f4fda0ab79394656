// SPDX-License-Identifier: Apache-2.0
// Views of bytes and a growing buffer. A Bytes never owns; a Buffer owns its memory and is freed
// with buffer_free. Appends report lack of memory through a sticky flag, checked once at the end.
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include "base/purse.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Bytes {
    const uint8_t *data;
    size_t length;
} Bytes;

typedef struct Buffer {
    uint8_t *data; // always followed by a zero byte when not NULL, so text can be printed
    size_t length;
    size_t capacity;
    bool failed;  // an append found no memory; later appends do nothing
    Purse *purse; // pays for the capacity; NULL: nobody counts it
} Buffer;

Bytes bytes_of_text(const char *text); // without the terminating zero
bool bytes_equal(Bytes a, Bytes b);
void buffer_append(Buffer *buffer, const void *data, size_t length);
void buffer_append_text(Buffer *buffer, const char *text);
void buffer_append_byte(Buffer *buffer, uint8_t byte);
void buffer_printf(Buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buffer_clear(Buffer *buffer); // length 0, memory and capacity kept, failed reset
// Room for `capacity` bytes, the zero among them, and no more than that. False: failed is set.
bool buffer_grow(Buffer *buffer, size_t capacity);
// Clears; a capacity beyond `keep_bytes` is given back for one of `first_bytes`.
void buffer_empty(Buffer *buffer, size_t keep_bytes, size_t first_bytes);
void buffer_free(Buffer *buffer); // the purse stays

#endif
