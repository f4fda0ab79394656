// SPDX-License-Identifier: Apache-2.0
#include "host/text/chat.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

Chat chat_question(Bytes system, Bytes question, ChatMediaList media, ChatMessage *messages,
                   ChatPart *parts) {
    size_t message_count = 0, part_count = 0;
    if (system.length > 0) {
        parts[0] = (ChatPart){.kind = CHAT_TEXT, .text = system};
        messages[message_count++] =
            (ChatMessage){.role = CHAT_SYSTEM, .parts = parts, .part_count = 1};
        parts++;
    }
    for (size_t i = 0; i < media.count; i++) {
        if (i == 0 || !media.items[i - 1].film_goes_on) {
            parts[part_count++] = (ChatPart){.kind = media.items[i].kind};
        }
    }
    parts[part_count++] = (ChatPart){.kind = CHAT_TEXT, .text = question};
    messages[message_count++] =
        (ChatMessage){.role = CHAT_USER, .parts = parts, .part_count = part_count, .is_list = true};
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

// A value as JSON text in the arena.
static Status text_of(const Reader *reader, const json_t *value, Bytes *out) {
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    size_t length = text != NULL ? strlen(text) : 0;
    const char *copy = text != NULL ? arena_copy_text(reader->arena, text, length) : NULL;
    free(text);
    *out = (Bytes){(const uint8_t *)copy, length};
    return copy != NULL ? OK : no_memory(reader);
}

// An object, or JSON text of one, the OpenAI way.
static Status read_arguments(const Reader *reader, const json_t *function, Bytes *out) {
    const json_t *arguments = present(function, "arguments");
    json_t *parsed = NULL;
    *out = (Bytes){0};
    if (arguments == NULL) {
        return OK;
    }
    if (!json_is_string(arguments)) {
        TRY(text_of(reader, arguments, out));
    } else {
        TRY(read_text(reader, function, "arguments", "", out));
        if (json_parse(*out, "arguments", &parsed, reader->error) != OK) {
            return refuse(reader, "the arguments of a tool call are not valid JSON");
        }
    }
    bool is_object = json_is_object(parsed != NULL ? parsed : arguments);
    json_decref(parsed);
    return is_object ? OK : refuse(reader, "the arguments of a tool call must be a JSON object");
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
        const json_t *function = json_object_get(call, "function");
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

static Status read_tools(const Reader *reader, const json_t *tools, Chat *out) {
    if (tools == NULL || json_is_null(tools)) {
        return OK;
    }
    if (!json_is_array(tools)) {
        return error_set(reader->error, E_TEMPLATE, "the tools must be a list");
    }
    size_t count = json_array_size(tools);
    Bytes *texts = arena_take_array(reader->arena, count + 1, sizeof *texts);
    if (texts == NULL) {
        return no_memory(reader);
    }
    for (size_t i = 0; i < count; i++) {
        TRY(text_of(reader, json_array_get(tools, i), &texts[i]));
    }
    out->tools = texts;
    out->tool_count = count;
    return OK;
}

Status chat_from_json(const json_t *messages, const json_t *tools, Arena *arena, Chat *out,
                      Error *error) {
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
    return read_tools(&reader, tools, out);
}
