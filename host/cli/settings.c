// SPDX-License-Identifier: Apache-2.0
#include "host/cli/settings.h"

#include "base/check.h"
#include "base/file.h"
#include "base/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { SETTINGS_NAME_MAX = 64 };

static bool settings_is_of(CommandSet command, OptionId id) {
    return (option_rows[id].commands & (unsigned)command) != 0;
}

static void settings_variable(const char *name, char out[SETTINGS_NAME_MAX]) {
    static const char prefix[] = "TESSERA_";
    size_t length = sizeof prefix - 1;
    REQUIRE(length + strlen(name) < SETTINGS_NAME_MAX);
    memcpy(out, prefix, length);
    for (const char *c = name; *c != '\0'; c++) {
        out[length++] = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    }
    out[length] = '\0';
}

// A value from elsewhere than the arguments, where no shell takes quotes away.
static Status settings_set(CommandSet command, const char *name, const char *value,
                           Options *options, Error *error) {
    if (value[0] == '"' || value[0] == '\'') {
        return error_set(error, E_ARGUMENT,
                         "--%s: the value begins with a quote, which would be part of it; leave "
                         "the quotes out",
                         name);
    }
    return options_set(command, name, value, options, error);
}

static Status settings_environment(CommandSet command, Options *options, Error *error) {
    for (int i = 0; i < OPTION_COUNT; i++) {
        char variable[SETTINGS_NAME_MAX];
        const OptionRow *row = &option_rows[i];
        if (!settings_is_of(command, (OptionId)i) || options->values[i].given || i == OPT_HELP) {
            continue;
        }
        settings_variable(row->name, variable);
        const char *text = getenv(variable);
        if (text == NULL) {
            continue;
        }
        Status status = settings_set(command, row->name, text, options, error);
        if (status != OK) {
            return error_prefix(error, status, "%s", variable);
        }
    }
    return OK;
}

// What of a command was given before the file, or by an earlier line.
typedef struct SettingsSeen {
    bool before[OPTION_COUNT];
    bool in_file[OPTION_COUNT];
} SettingsSeen;

static Status settings_line(CommandSet command, Bytes line, SettingsSeen *seen, Options *options,
                            Error *error) {
    const uint8_t *comment = memchr(line.data, '#', line.length);
    if (comment != NULL) {
        line.length = (size_t)(comment - line.data);
    }
    line = text_trim(line);
    if (line.length == 0) {
        return OK;
    }
    if (memchr(line.data, '\0', line.length) != NULL) {
        return error_set(error, E_ARGUMENT, "the line has zero bytes; the file must be UTF-8 text");
    }
    const uint8_t *equals = memchr(line.data, '=', line.length);
    if (equals == NULL) {
        return error_set(error, E_ARGUMENT, "a line is NAME = VALUE");
    }
    Bytes name = text_trim((Bytes){line.data, (size_t)(equals - line.data)});
    Bytes value = text_trim((Bytes){equals + 1, line.length - (size_t)(equals - line.data) - 1});
    char *name_text = arena_copy_text(&options->arena, (const char *)name.data, name.length);
    char *value_text = arena_copy_text(&options->arena, (const char *)value.data, value.length);
    if (name_text == NULL || value_text == NULL) {
        return error_set(error, E_MEMORY, "no memory for the options");
    }
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (!settings_is_of(command, (OptionId)i) || strcmp(option_rows[i].name, name_text) != 0) {
            continue;
        }
        if (i == OPT_CONFIG || i == OPT_HELP) {
            return error_set(error, E_ARGUMENT, "%s is for the command line only", name_text);
        }
        if (seen->in_file[i]) {
            return error_set(error, E_ARGUMENT, "%s is there twice", name_text);
        }
        seen->in_file[i] = true;
        if (seen->before[i]) {
            return OK;
        }
    }
    return settings_set(command, name_text, value_text, options, error);
}

Status settings_parse(CommandSet command, Bytes text, const char *source, Options *options,
                      Error *error) {
    SettingsSeen seen = {0};
    for (int i = 0; i < OPTION_COUNT; i++) {
        seen.before[i] = options->values[i].given;
    }
    text = text_skip_mark(text);
    for (uint32_t number = 1; text.length > 0; number++) {
        const uint8_t *end = memchr(text.data, '\n', text.length);
        size_t length = end != NULL ? (size_t)(end - text.data) : text.length;
        Status status = settings_line(command, (Bytes){text.data, length}, &seen, options, error);
        if (status != OK) {
            return error_prefix(error, status, "%s:%u", source, number);
        }
        length += end != NULL;
        text.data += length;
        text.length -= length;
    }
    return OK;
}

Status settings_add(CommandSet command, Options *options, Error *error) {
    if (!settings_is_of(command, OPT_CONFIG)) {
        return OK;
    }
    TRY(settings_environment(command, options, error));
    const char *path = options->values[OPT_CONFIG].text;
    if (path == NULL) {
        return OK;
    }
    Buffer file = {0};
    Status status = file_read(path, SETTINGS_BYTES_MAX, &file, error);
    if (status == OK) {
        status = settings_parse(command, (Bytes){file.data, file.length}, path, options, error);
    }
    buffer_free(&file);
    return status;
}
