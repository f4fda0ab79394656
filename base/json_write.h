// SPDX-License-Identifier: Apache-2.0
// Writing compact JSON into a Buffer, member by member in the caller's order. The writer only keeps
// where a comma is due; nesting is the caller's business. A name of NULL is an element of an array.
// Texts may hold any bytes (what is not UTF-8 becomes U+FFFD); numbers that are not finite become
// null. Lack of memory is the Buffer's sticky flag.
#ifndef BASE_JSON_WRITE_H
#define BASE_JSON_WRITE_H

#include "base/bytes.h"

typedef struct JsonWriter {
    Buffer *out;
    bool comma; // one is due before the next member
} JsonWriter;

void json_write_open(JsonWriter *writer, const char *name, char bracket); // '{' or '['
void json_write_close(JsonWriter *writer, char bracket);                  // '}' or ']'
void json_write_text(JsonWriter *writer, const char *name, Bytes text);
// For tests.
void json_write_integer(JsonWriter *writer, const char *name, int64_t value);
void json_write_unsigned(JsonWriter *writer, const char *name, uint64_t value);
// `digits` significant digits: 9 bring any float back, 17 any double.
void json_write_real(JsonWriter *writer, const char *name, double value, int digits);
void json_write_bool(JsonWriter *writer, const char *name, bool value);
void json_write_null(JsonWriter *writer, const char *name);

#endif
