// SPDX-License-Identifier: Apache-2.0
#include "host/text/chat.h"

#include "base/check.h"

#include <string.h>

Chat chat_question(Bytes system, Bytes question, size_t image_count, ChatMessage *messages,
                   ChatPart *parts) {
    size_t message_count = 0;
    if (system.length > 0) {
        parts[0] = (ChatPart){.kind = CHAT_TEXT, .text = system};
        messages[message_count++] =
            (ChatMessage){.role = CHAT_SYSTEM, .parts = parts, .part_count = 1};
        parts++;
    }
    for (size_t i = 0; i < image_count; i++) {
        parts[i] = (ChatPart){.kind = CHAT_IMAGE};
    }
    parts[image_count] = (ChatPart){.kind = CHAT_TEXT, .text = question};
    messages[message_count++] = (ChatMessage){
        .role = CHAT_USER, .parts = parts, .part_count = image_count + 1, .is_list = true};
    return (Chat){
        .messages = messages, .message_count = message_count, .add_generation_prompt = true};
}

// ---- from JSON ----------------------------------------------------------------------------------

typedef struct Reader {
    Arena *arena;
    size_t message; // index, for error texts
    Error *error;
} Reader;

static Status refuse(const Reader *reader, const char *rule) {
    return error_set(reader->error, E_TEMPLATE, "messages[%zu]: %s", reader->message, rule);
}

static Status no_memory(const Reader *reader) {
    return error_set(reader->error, E_MEMORY, "not enough memory for the conversation");
}

static const json_t *present(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

// Absent and null give data NULL.
static Status read_text(const Reader *reader, const json_t *object, const char *key,
                        const char *rule, Bytes *out) {
    const json_t *value = present(object, key);
    *out = (Bytes){0};
    if (value == NULL) {
        return OK;
    }
    if (!json_is_string(value)) {
        return refuse(reader, rule);
    }
    *out = (Bytes){(const uint8_t *)json_string_value(value), json_string_length(value)};
    return OK;
}

static Status read_role(const Reader *reader, const json_t *message, ChatRole *out) {
    static const char *const names[] = {"system", "developer", "user", "assistant", "tool"};
    const char *name = json_string_value(json_object_get(message, "role"));
    for (int i = 0; name != NULL && i < 5; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (ChatRole)i;
            return OK;
        }
    }
    return refuse(reader, "the role must be system, developer, user, assistant or tool");
}

static Status read_part(const Reader *reader, const json_t *source, ChatPart *out) {
    static const struct {
        const char *type;
        ChatPartKind kind;
    } types[] = {{"text", CHAT_TEXT},   {"image", CHAT_IMAGE},       {"image_url", CHAT_IMAGE},
                 {"audio", CHAT_AUDIO}, {"input_audio", CHAT_AUDIO}, {"video", CHAT_VIDEO}};
    const char *type = json_string_value(json_object_get(source, "type"));
    for (size_t i = 0; type != NULL && i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i].type) != 0) {
            continue;
        }
        *out = (ChatPart){.kind = types[i].kind, .source = source};
        if (out->kind == CHAT_TEXT) {
            static const char *const rule = "a text part must have a text";
            TRY(read_text(reader, source, "text", rule, &out->text));
            return out->text.data == NULL ? refuse(reader, rule) : OK;
        }
        return OK;
    }
    return refuse(reader, "a part of the content must be an object of type text, image, image_url, "
                          "audio, input_audio or video");
}

static Status read_content(const Reader *reader, const json_t *message, ChatMessage *out) {
    const json_t *content = present(message, "content");
    bool is_text = json_is_string(content);
    size_t count = is_text ? 1 : json_array_size(content);
    if (content == NULL) {
        return OK;
    }
    if (!is_text && !json_is_array(content)) {
        if (out->role == CHAT_TOOL) {
            out->result = content;
            return OK;
        }
        return refuse(reader, "the content must be a text, null or a list of parts");
    }
    ChatPart *parts = arena_take_array(reader->arena, count + 1, sizeof *parts);
    if (parts == NULL) {
        return no_memory(reader);
    }
    out->parts = parts;
    out->part_count = count;
    out->is_list = !is_text;
    if (is_text) {
        parts[0].text =
            (Bytes){(const uint8_t *)json_string_value(content), json_string_length(content)};
        return OK;
    }
    for (size_t i = 0; i < count; i++) {
        TRY(read_part(reader, json_array_get(content, i), &parts[i]));
    }
    return OK;
}

// Arguments given as JSON text, the OpenAI way, are parsed; the tree is kept alive by the message.
static Status read_arguments(const Reader *reader, json_t *function, const json_t **out) {
    const json_t *arguments = present(function, "arguments");
    *out = arguments;
    if (json_is_string(arguments)) {
        json_t *parsed;
        Bytes text = {(const uint8_t *)json_string_value(arguments), json_string_length(arguments)};
        if (json_parse(text, "arguments", &parsed, reader->error) != OK) {
            return refuse(reader, "the arguments of a tool call are not valid JSON");
        }
        if (json_object_set_new(function, "arguments", parsed) != 0) {
            return no_memory(reader);
        }
        *out = parsed;
    }
    if (*out != NULL && !json_is_object(*out)) {
        return refuse(reader, "the arguments of a tool call must be a JSON object");
    }
    return OK;
}

static Status read_calls(const Reader *reader, const json_t *message, ChatMessage *out) {
    const json_t *list = present(message, "tool_calls");
    if (list == NULL) {
        return OK;
    }
    if (!json_is_array(list)) {
        return refuse(reader, "tool_calls must be a list");
    }
    ChatToolCall *calls = arena_take_array(reader->arena, json_array_size(list) + 1, sizeof *calls);
    if (calls == NULL) {
        return no_memory(reader);
    }
    out->calls = calls;
    out->call_count = json_array_size(list);
    for (size_t i = 0; i < out->call_count; i++) {
        const json_t *call = json_array_get(list, i);
        json_t *function = json_object_get(call, "function");
        static const char *const rule = "a tool call must have a function with a name";
        TRY(read_text(reader, call, "id", "the id of a tool call must be a text", &calls[i].id));
        TRY(read_text(reader, function, "name", rule, &calls[i].name));
        if (calls[i].name.length == 0) {
            return refuse(reader, rule);
        }
        TRY(read_arguments(reader, function, &calls[i].arguments));
    }
    return OK;
}

static Status read_results(const Reader *reader, const json_t *message, ChatMessage *out) {
    const json_t *list = present(message, "tool_responses");
    if (list == NULL) {
        return OK;
    }
    if (!json_is_array(list)) {
        return refuse(reader, "tool_responses must be a list");
    }
    ChatToolResult *results =
        arena_take_array(reader->arena, json_array_size(list) + 1, sizeof *results);
    if (results == NULL) {
        return no_memory(reader);
    }
    out->results = results;
    out->result_count = json_array_size(list);
    for (size_t i = 0; i < out->result_count; i++) {
        const json_t *result = json_array_get(list, i);
        if (!json_is_object(result)) {
            return refuse(reader, "a tool response must be an object of name and response");
        }
        TRY(read_text(reader, result, "name", "the name of a tool response must be a text",
                      &results[i].name));
        results[i].content = json_object_get(result, "response");
    }
    return OK;
}

static Status read_message(const Reader *reader, const json_t *message, ChatMessage *out) {
    TRY(read_role(reader, message, &out->role));
    TRY(read_content(reader, message, out));
    static const char *const rule = "the reasoning must be a text";
    TRY(read_text(reader, message, "reasoning", rule, &out->reasoning));
    if (out->reasoning.length == 0) {
        TRY(read_text(reader, message, "reasoning_content", rule, &out->reasoning));
    }
    TRY(read_calls(reader, message, out));
    TRY(read_results(reader, message, out));
    TRY(read_text(reader, message, "tool_call_id", "the tool_call_id must be a text",
                  &out->tool_call_id));
    return read_text(reader, message, "name", "the name must be a text", &out->tool_name);
}

Status chat_from_json(json_t *messages, Arena *arena, Chat *out, Error *error) {
    if (!json_is_array(messages)) {
        return error_set(error, E_TEMPLATE, "the messages must be a list");
    }
    Reader reader = {.arena = arena, .error = error};
    size_t count = json_array_size(messages);
    ChatMessage *items = arena_take_array(arena, count + 1, sizeof *items);
    if (items == NULL) {
        return no_memory(&reader);
    }
    for (reader.message = 0; reader.message < count; reader.message++) {
        TRY(read_message(&reader, json_array_get(messages, reader.message),
                         &items[reader.message]));
    }
    out->messages = items;
    out->message_count = count;
    return OK;
}
