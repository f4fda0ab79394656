// SPDX-License-Identifier: Apache-2.0
// Bounded JSON reading on top of jansson. The parser, the tree and its accessors are the library's;
// what this adds is the limits and one error text that names the source, the line and the column.
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/bytes.h"
#include "base/status.h"

#include <jansson.h>

// Parses `bytes` whole. `source` is used in error texts only. On OK the caller owns *out
// (json_decref). Duplicate keys, numbers outside int64/double: E_JSON. Else E_LIMIT, E_MEMORY.
Status json_parse(Bytes bytes, const char *source, json_t **out, Error *error);

// Reads and parses a file of at most `bytes_max` bytes.
Status json_parse_file(const char *path, size_t bytes_max, json_t **out, Error *error);

// Appends `text` (any bytes) as a quoted JSON string; bytes that are not UTF-8 become U+FFFD, and
// what text_is_control tells of is escaped, so that a terminal shows it too.
void json_append_string(Buffer *out, Bytes text);

#endif
