// SPDX-License-Identifier: Apache-2.0
#include "base/json_write.h"

#include "base/json.h"

#include <inttypes.h>
#include <math.h>

static void json_write_name(JsonWriter *writer, const char *name) {
    if (writer->comma) {
        buffer_append_byte(writer->out, ',');
    }
    if (name != NULL) {
        json_append_string(writer->out, bytes_of_text(name));
        buffer_append_byte(writer->out, ':');
    }
    writer->comma = true;
}

void json_write_open(JsonWriter *writer, const char *name, char bracket) {
    json_write_name(writer, name);
    buffer_append_byte(writer->out, (uint8_t)bracket);
    writer->comma = false;
}

void json_write_close(JsonWriter *writer, char bracket) {
    buffer_append_byte(writer->out, (uint8_t)bracket);
    writer->comma = true;
}

void json_write_text(JsonWriter *writer, const char *name, Bytes text) {
    json_write_name(writer, name);
    json_append_string(writer->out, text);
}

void json_write_integer(JsonWriter *writer, const char *name, int64_t value) {
    json_write_name(writer, name);
    buffer_printf(writer->out, "%" PRId64, value);
}

void json_write_unsigned(JsonWriter *writer, const char *name, uint64_t value) {
    json_write_name(writer, name);
    buffer_printf(writer->out, "%" PRIu64, value);
}

void json_write_real(JsonWriter *writer, const char *name, double value, int digits) {
    if (!isfinite(value)) {
        json_write_null(writer, name);
        return;
    }
    json_write_name(writer, name);
    buffer_printf(writer->out, "%.*g", digits, value);
}

void json_write_bool(JsonWriter *writer, const char *name, bool value) {
    json_write_name(writer, name);
    buffer_append_text(writer->out, value ? "true" : "false");
}

void json_write_null(JsonWriter *writer, const char *name) {
    json_write_name(writer, name);
    buffer_append_text(writer->out, "null");
}
