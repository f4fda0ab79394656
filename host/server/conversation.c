// SPDX-License-Identifier: Apache-2.0
#include "host/server/conversation.h"

#include "base/check.h"
#include "base/json.h"

// While a conversation is being made.
typedef struct Maker {
    Call *call;
    uint64_t text_bytes;
    Error *error;
} Maker;

// ---- What is served -----------------------------------------------------------------------------

static Status check_parts(const CallMessage *message, uint32_t index, Error *error) {
    for (uint32_t i = 0; i < message->part_count; i++) {
        CallPartKind kind = message->parts[i].kind;
        if (kind != CALL_TEXT && kind != CALL_IMAGE) {
            return error_set(error, E_UNSUPPORTED,
                             "message %u: a part of type %s is not yet supported; text and image "
                             "are",
                             index, call_part_words[kind]);
        }
    }
    return OK;
}

Status conversation_check(const GenerateCall *call, Error *error) {
    for (uint32_t i = 0; i < call->message_count; i++) {
        TRY(check_parts(&call->messages[i], i, error));
    }
    if (call->tool_choice != CALL_CHOICE_AUTO) {
        return error_set(error, E_UNSUPPORTED,
                         "params.tool_choice is not yet supported but as auto: the model decides "
                         "what it calls");
    }
    if (call->schema.length > 0) {
        return error_set(error, E_UNSUPPORTED,
                         "params.schema is not yet supported: ask for the form in words");
    }
    return OK;
}

// ---- Messages -----------------------------------------------------------------------------------

static Status no_memory(const Maker *maker) {
    return call_no_memory(maker->call, maker->error);
}

// A text of the call; data NULL when it is not given.
static Bytes weighed(Maker *maker, Bytes text) {
    maker->text_bytes += text.length;
    return text.length > 0 ? text : (Bytes){0};
}

static Status make_parts(Maker *maker, const CallMessage *from, ChatMessage *out) {
    ChatPart *parts = arena_take_array(&maker->call->arena, from->part_count + 1, sizeof *parts);
    if (parts == NULL) {
        return no_memory(maker);
    }
    for (uint32_t i = 0; i < from->part_count; i++) {
        bool text = from->parts[i].kind == CALL_TEXT;
        parts[i] = (ChatPart){.kind = text ? CHAT_TEXT : CHAT_IMAGE,
                              .text = weighed(maker, from->parts[i].text)};
    }
    out->parts = parts;
    out->part_count = from->part_count;
    out->is_list = from->is_list;
    return OK;
}

static Status make_tool_calls(Maker *maker, const CallMessage *from, ChatMessage *out) {
    if (from->tool_call_count == 0) {
        return OK;
    }
    ChatToolCall *calls =
        arena_take_array(&maker->call->arena, from->tool_call_count, sizeof *calls);
    if (calls == NULL) {
        return no_memory(maker);
    }
    for (uint32_t i = 0; i < from->tool_call_count; i++) {
        calls[i] = (ChatToolCall){.id = weighed(maker, from->tool_calls[i].id),
                                  .name = weighed(maker, from->tool_calls[i].name),
                                  .arguments = weighed(maker, from->tool_calls[i].arguments)};
    }
    out->calls = calls;
    out->call_count = from->tool_call_count;
    return OK;
}

static Status make_message(Maker *maker, const CallMessage *from, ChatMessage *out) {
    static const ChatRole roles[CALL_ROLE_COUNT] = {CHAT_SYSTEM, CHAT_DEVELOPER, CHAT_USER,
                                                    CHAT_ASSISTANT, CHAT_TOOL};
    *out = (ChatMessage){.role = roles[from->role],
                         .reasoning = weighed(maker, from->thoughts),
                         .tool_call_id = weighed(maker, from->tool_call_id),
                         .tool_name = weighed(maker, from->name)};
    TRY(make_parts(maker, from, out));
    return make_tool_calls(maker, from, out);
}

// ---- Tools --------------------------------------------------------------------------------------

// {"type":"function","function":{"name":...,"description":...,"parameters":...}}
static Status make_tool(Maker *maker, const CallTool *tool, Bytes *out) {
    Buffer text = {.purse = maker->call->arena.purse};
    buffer_append_text(&text, "{\"type\":\"function\",\"function\":{\"name\":");
    json_append_string(&text, tool->name);
    if (tool->description.length > 0) {
        buffer_append_text(&text, ",\"description\":");
        json_append_string(&text, tool->description);
    }
    if (tool->parameters.length > 0) {
        buffer_append_text(&text, ",\"parameters\":");
        buffer_append(&text, tool->parameters.data, tool->parameters.length);
    }
    buffer_append_text(&text, "}}");
    const char *copy =
        text.failed ? NULL
                    : arena_copy_text(&maker->call->arena, (const char *)text.data, text.length);
    *out = (Bytes){(const uint8_t *)copy, text.length};
    buffer_free(&text);
    return copy != NULL ? OK : no_memory(maker);
}

static Status make_tools(Maker *maker, Chat *out) {
    const GenerateCall *call = &maker->call->generate;
    if (call->tool_count == 0) {
        return OK;
    }
    Bytes *tools = arena_take_array(&maker->call->arena, call->tool_count, sizeof *tools);
    if (tools == NULL) {
        return no_memory(maker);
    }
    for (uint32_t i = 0; i < call->tool_count; i++) {
        TRY(make_tool(maker, &call->tools[i], &tools[i]));
        weighed(maker, tools[i]);
    }
    out->tools = tools;
    out->tool_count = call->tool_count;
    return OK;
}

Status conversation_make(Call *call, Chat *out, uint64_t *text_bytes, Error *error) {
    Maker maker = {.call = call, .error = error};
    const GenerateCall *generate = &call->generate;
    ChatMessage *messages =
        arena_take_array(&call->arena, generate->message_count, sizeof *messages);
    if (messages == NULL) {
        return no_memory(&maker);
    }
    for (uint32_t i = 0; i < generate->message_count; i++) {
        TRY(make_message(&maker, &generate->messages[i], &messages[i]));
    }
    *out = (Chat){
        .messages = messages,
        .message_count = generate->message_count,
        .add_generation_prompt = true,
    };
    TRY(make_tools(&maker, out));
    *text_bytes = maker.text_bytes;
    return OK;
}
