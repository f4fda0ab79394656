// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include "base/file.h"
#include "base/text.h"
#include "base/utf8.h"

Status json_parse(Bytes bytes, const char *source, json_t **out, Error *error) {
    json_error_t detail;
    *out = NULL;
    json_t *root = json_loadb((const char *)bytes.data, bytes.length,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &detail);
    if (root == NULL && file_is_lfs_pointer(bytes)) {
        return file_refuse_lfs_pointer(source, E_JSON, error);
    }
    if (root == NULL && json_error_code(&detail) == json_error_unknown) { // it says nothing then
        return error_set(error, E_MEMORY, "%s: no memory for %zu bytes of JSON", source,
                         bytes.length);
    }
    if (root == NULL) {
        return error_set(error, E_JSON, "%s: not valid JSON at line %d, column %d: %s", source,
                         detail.line, detail.column, detail.text);
    }
    *out = root;
    return OK;
}

Status json_parse_file(const char *path, size_t bytes_max, json_t **out, Error *error) {
    Buffer text = {0};
    *out = NULL;
    Status status = file_read(path, bytes_max, &text, error);
    if (status == OK) {
        status = json_parse((Bytes){text.data, text.length}, path, out, error);
    }
    buffer_free(&text);
    return status;
}

void json_append_string(Buffer *out, Bytes text) {
    buffer_append_byte(out, '"');
    size_t at = 0;
    while (at < text.length) {
        uint32_t code;
        size_t length = utf8_decode(text, at, &code);
        if (length == 0) {
            buffer_append_text(out, TEXT_REPLACEMENT);
            at++;
            continue;
        }
        if (code == '"' || code == '\\') {
            buffer_append_byte(out, '\\');
            buffer_append_byte(out, (uint8_t)code);
        } else if (code == '\n') {
            buffer_append_text(out, "\\n");
        } else if (code == '\r') {
            buffer_append_text(out, "\\r");
        } else if (code == '\t') {
            buffer_append_text(out, "\\t");
        } else if (text_is_control(code)) {
            buffer_printf(out, "\\u%04x", (unsigned)code);
        } else {
            buffer_append(out, text.data + at, length);
        }
        at += length;
    }
    buffer_append_byte(out, '"');
}
