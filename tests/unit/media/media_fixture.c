// SPDX-License-Identifier: Apache-2.0
#include "media_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"

uint64_t fixture_fingerprint(const uint8_t *data, size_t length) {
    uint64_t h = 0;
    for (size_t i = 0; i < length; i++) {
        h = h * 1099511628211u + data[i] + 1;
    }
    return h;
}

Buffer fixture_read(const char *name) {
    char path[512];
    snprintf(path, sizeof path, MEDIA_GOLDEN "/%s", name);
    Buffer out = {0};
    Error error;
    cr_assert_eq(file_read(path, 1 << 24, &out, &error), OK, "%s", error.text);
    return out;
}

uint8_t fixture_drawn_byte(uint32_t x, uint32_t y, uint32_t c) {
    if (((x >> 4) + (y >> 4)) & 1) {
        return (uint8_t)(((x * 73856093u ^ y * 19349663u ^ c * 83492791u) * 2654435761u) >> 24);
    }
    return (x + 2 * y + c) >> 2 & 1 ? 255 : 0;
}

json_t *fixture_expected(void) {
    json_t *root = NULL;
    Error error;
    cr_assert_eq(json_parse_file(MEDIA_GOLDEN "/expected.json", 1 << 24, &root, &error), OK, "%s",
                 error.text);
    return root;
}

const char *fixture_text(json_t *row, const char *key) {
    const char *text = json_string_value(json_object_get(row, key));
    cr_assert_not_null(text, "%s", key);
    return text;
}

uint32_t fixture_number(json_t *row, const char *key) {
    json_t *value = json_object_get(row, key);
    cr_assert(json_is_integer(value), "%s", key);
    return (uint32_t)json_integer_value(value);
}

uint64_t fixture_hex(json_t *row, const char *key) {
    return strtoull(fixture_text(row, key), NULL, 16);
}

MediaScratch *fixture_scratch(void) {
    static MediaScratch scratch;
    return &scratch;
}

Bytes fixture_bytes(const Buffer *buffer) {
    return (Bytes){buffer->data, buffer->length};
}
