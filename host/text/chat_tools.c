// SPDX-License-Identifier: Apache-2.0
// Tool declarations: a JSON schema in the notation Gemma was trained on. The order of fields, the
// commas and the oddities (a schema without a type is not closed, "properties" of an object without
// any lists its other keys) are the template's, because the model has seen them so.
#include "host/text/chat_writer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const json_t *field(const json_t *value, const char *key) {
    return json_is_object(value) ? json_object_get(value, key) : NULL;
}

static bool type_is(const json_t *schema, const char *name) {
    const char *type = json_string_value(field(schema, "type"));
    return type != NULL && strcasecmp(type, name) == 0;
}

static void write_separator(ChatWriter *writer, bool *written) {
    chat_write_text(writer, *written ? "," : "");
    *written = true;
}

// required:[<|"|>a<|"|>,<|"|>b<|"|>]
static void write_required(ChatWriter *writer, const json_t *names) {
    if (!json_is_array(names)) {
        chat_write_fail(writer, E_TEMPLATE, "tools: \"required\" must be a list of names");
        return;
    }
    chat_write_text(writer, "required:[");
    for (size_t i = 0; i < json_array_size(names); i++) {
        chat_write_text(writer, i > 0 ? "," : "");
        chat_write_quoted(writer, json_array_get(names, i), false);
    }
    chat_write_text(writer, "]");
}

typedef enum Keys { ALL_KEYS, OTHER_KEYS } Keys; // OTHER_KEYS: without the standard ones

static void write_properties(ChatWriter *writer, const json_t *properties, Keys which);

// items:{...} of an array: its schema's fields in the order of their names.
static void write_items(ChatWriter *writer, const json_t *items) {
    chat_write_text(writer, "items:{");
    ChatEntry *entries = chat_sorted(writer, items);
    bool written = false;
    for (size_t i = 0; entries != NULL && i < json_object_size(items); i++) {
        const char *key = entries[i].key;
        const json_t *value = entries[i].value;
        if (json_is_null(value)) {
            continue;
        }
        write_separator(writer, &written);
        if (strcmp(key, "properties") == 0) {
            chat_write_text(writer, "properties:{");
            if (json_is_object(value)) {
                write_properties(writer, value, ALL_KEYS);
            }
            chat_write_text(writer, "}");
        } else if (strcmp(key, "required") == 0) {
            write_required(writer, value);
        } else if (strcmp(key, "type") == 0 && json_is_array(value)) {
            chat_write_text(writer, "type:[");
            for (size_t k = 0; k < json_array_size(value); k++) {
                chat_write_text(writer, k > 0 ? "," : "");
                chat_write_quoted(writer, json_array_get(value, k), true);
            }
            chat_write_text(writer, "]");
        } else if (strcmp(key, "type") == 0) {
            chat_write_text(writer, "type:");
            chat_write_quoted(writer, value, true);
        } else {
            chat_write_text(writer, key);
            chat_write_text(writer, ":");
            chat_write_value(writer, value, CHAT_KEYS_QUOTED);
        }
    }
    free(entries);
    chat_write_text(writer, "}");
}

// name:{description:...,<what the type asks for>,nullable:true,...,type:...}
static void write_property(ChatWriter *writer, const char *name, const json_t *schema) {
    bool written = false;
    chat_write_text(writer, name);
    chat_write_text(writer, ":{");
    if (chat_is_true(field(schema, "description"))) {
        write_separator(writer, &written);
        chat_write_text(writer, "description:");
        chat_write_quoted(writer, field(schema, "description"), false);
    }
    if (type_is(schema, "string") && chat_is_true(field(schema, "enum"))) {
        write_separator(writer, &written);
        chat_write_text(writer, "enum:");
        chat_write_value(writer, field(schema, "enum"), CHAT_KEYS_QUOTED);
    }
    const json_t *items = field(schema, "items");
    if (type_is(schema, "array") && json_is_object(items) && chat_is_true(items)) {
        write_separator(writer, &written);
        write_items(writer, items);
    }
    if (chat_is_true(field(schema, "nullable"))) {
        write_separator(writer, &written);
        chat_write_text(writer, "nullable:true");
    }
    if (type_is(schema, "object")) {
        const json_t *properties = field(schema, "properties");
        write_separator(writer, &written);
        chat_write_text(writer, "properties:{");
        if (json_is_object(properties)) {
            write_properties(writer, properties, ALL_KEYS);
        } else {
            write_properties(writer, schema, OTHER_KEYS);
        }
        chat_write_text(writer, "}");
        if (chat_is_true(field(schema, "required"))) {
            write_separator(writer, &written);
            write_required(writer, field(schema, "required"));
        }
    }
    write_separator(writer, &written);
    chat_write_text(writer, "type:");
    chat_write_quoted(writer, field(schema, "type"), true);
    chat_write_text(writer, "}");
}

static bool is_standard(const char *key) {
    static const char *const standard[] = {"description", "type", "properties", "required",
                                           "nullable"};
    for (size_t i = 0; i < sizeof standard / sizeof *standard; i++) {
        if (strcmp(key, standard[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void write_properties(ChatWriter *writer, const json_t *properties, Keys which) {
    ChatEntry *entries = chat_sorted(writer, properties);
    bool written = false;
    for (size_t i = 0; entries != NULL && i < json_object_size(properties); i++) {
        if (which == OTHER_KEYS && is_standard(entries[i].key)) {
            continue;
        }
        write_separator(writer, &written);
        write_property(writer, entries[i].key, entries[i].value);
    }
    free(entries);
}

// ,parameters:{...}: closed only when the schema has a type, as the template does it.
static void write_parameters(ChatWriter *writer, const json_t *parameters) {
    const json_t *properties = field(parameters, "properties");
    chat_write_text(writer, ",parameters:{");
    if (chat_is_true(properties)) {
        chat_write_text(writer, "properties:{");
        write_properties(writer, properties, ALL_KEYS);
        chat_write_text(writer, "},");
    }
    if (chat_is_true(field(parameters, "required"))) {
        write_required(writer, field(parameters, "required"));
        chat_write_text(writer, ",");
    }
    if (chat_is_true(field(parameters, "type"))) {
        chat_write_text(writer, "type:");
        chat_write_quoted(writer, field(parameters, "type"), true);
        chat_write_text(writer, "}");
    }
}

static void write_response(ChatWriter *writer, const json_t *response) {
    chat_write_text(writer, ",response:{");
    if (chat_is_true(field(response, "description"))) {
        chat_write_text(writer, "description:");
        chat_write_quoted(writer, field(response, "description"), false);
        chat_write_text(writer, ",");
    }
    if (type_is(response, "object")) {
        chat_write_text(writer, "type:");
        chat_write_quoted(writer, field(response, "type"), true);
        chat_write_text(writer, "}");
    }
}

void chat_write_tool(ChatWriter *writer, const json_t *tool, size_t index) {
    const json_t *function = field(tool, "function"), *name = field(function, "name");
    const json_t *parameters = field(function, "parameters");
    if (!json_is_string(name) || json_string_length(name) == 0) {
        chat_write_fail(writer, E_TEMPLATE,
                        "tools[%zu] must be an object with a function that has "
                        "a name",
                        index);
        return;
    }
    if (chat_is_true(parameters) &&
        (!json_is_object(parameters) || (chat_is_true(field(parameters, "properties")) &&
                                         !json_is_object(field(parameters, "properties"))))) {
        chat_write_fail(writer, E_TEMPLATE,
                        "tools[%zu]: the parameters of \"%.64s\" and their properties must be "
                        "objects",
                        index, json_string_value(name));
        return;
    }
    chat_write_control(writer, "<|tool>");
    chat_write_text(writer, "declaration:");
    chat_write_plain(writer, name, false);
    chat_write_text(writer, "{description:");
    chat_write_quoted(writer, field(function, "description"), false);
    if (chat_is_true(parameters)) {
        write_parameters(writer, parameters);
    }
    if (field(function, "response") != NULL) {
        write_response(writer, field(function, "response"));
    }
    chat_write_text(writer, "}");
    chat_write_control(writer, "<tool|>");
}
