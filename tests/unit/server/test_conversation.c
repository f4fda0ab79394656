// SPDX-License-Identifier: Apache-2.0
// A conversation that came over the wire gives the prompt that Google's template gives: the golden
// conversations (tests/golden/text/make_chat.py rendered them with jinja2) are sent as a client
// sends them. And what nothing serves is refused by name.
#include "host/server/conversation.h"

#include "base/json.h"
#include "host/text/chat_template.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { SENT_AT_LEAST = 85, TEXTS_MAX = 64 };

// A golden conversation as a call. `expressible` false: the wire has no form for it.
typedef struct Sending {
    Arena arena;
    bool expressible;
    char *texts[TEXTS_MAX]; // of json_dumps
    uint32_t text_count;
} Sending;

static Bytes text_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return (Bytes){(const uint8_t *)json_string_value(value), json_string_length(value)};
}

// An object as JSON text; what is JSON text already stays.
static Bytes json_of(Sending *sending, const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (value == NULL || json_is_null(value) || json_is_string(value)) {
        return text_of(object, key);
    }
    cr_assert_lt(sending->text_count, TEXTS_MAX);
    char *text = json_dumps(value, 0);
    sending->texts[sending->text_count++] = text;
    return bytes_of_text(text);
}

static void send_part(Sending *sending, const json_t *source, CallPart *part) {
    const char *type = json_string_value(json_object_get(source, "type"));
    if (strcmp(type, "text") == 0) {
        *part = (CallPart){.kind = CALL_TEXT, .text = text_of(source, "text")};
    } else {
        *part = (CallPart){.kind = CALL_IMAGE, .data = bytes_of_text("picture")};
        sending->expressible = sending->expressible && strncmp(type, "image", 5) == 0;
    }
}

static void send_content(Sending *sending, const json_t *source, CallMessage *message) {
    const json_t *content = json_object_get(source, "content");
    message->is_list = !json_is_string(content);
    message->part_count = message->is_list ? (uint32_t)json_array_size(content) : 1;
    CallPart *parts = arena_take_array(&sending->arena, message->part_count + 1, sizeof *parts);
    message->parts = parts;
    parts[0].text = text_of(source, "content");
    for (uint32_t i = 0; message->is_list && i < message->part_count; i++) {
        send_part(sending, json_array_get(content, i), &parts[i]);
    }
    sending->expressible =
        sending->expressible &&
        (json_is_string(content) || json_is_array(content) || message->tool_call_count > 0);
}

static void send_tool_calls(Sending *sending, const json_t *source, CallMessage *message) {
    const json_t *list = json_object_get(source, "tool_calls");
    message->tool_call_count = (uint32_t)json_array_size(list);
    CallToolCall *calls =
        arena_take_array(&sending->arena, message->tool_call_count + 1, sizeof *calls);
    message->tool_calls = calls;
    for (uint32_t i = 0; i < message->tool_call_count; i++) {
        const json_t *call = json_array_get(list, i);
        const json_t *function = json_object_get(call, "function");
        calls[i] = (CallToolCall){text_of(call, "id"), text_of(function, "name"),
                                  json_of(sending, function, "arguments")};
    }
}

static void send_message(Sending *sending, const json_t *source, CallMessage *message) {
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool"};
    const char *role = json_string_value(json_object_get(source, "role"));
    while (strcmp(roles[message->role], role) != 0) {
        message->role++;
    }
    message->thoughts = text_of(source, "reasoning");
    if (message->thoughts.length == 0) {
        message->thoughts = text_of(source, "reasoning_content");
    }
    message->tool_call_id = text_of(source, "tool_call_id");
    message->name = text_of(source, "name");
    send_tool_calls(sending, source, message);
    send_content(sending, source, message);
    sending->expressible =
        sending->expressible && json_object_get(source, "tool_responses") == NULL;
}

static void send_tools(Sending *sending, const json_t *list, GenerateCall *call) {
    call->tool_count = (uint32_t)json_array_size(list);
    CallTool *tools = arena_take_array(&sending->arena, call->tool_count + 1, sizeof *tools);
    call->tools = tools;
    for (uint32_t i = 0; i < call->tool_count; i++) {
        const json_t *function = json_object_get(json_array_get(list, i), "function");
        tools[i] = (CallTool){text_of(function, "name"), text_of(function, "description"),
                              json_of(sending, function, "parameters")};
        sending->expressible =
            sending->expressible && json_object_get(function, "response") == NULL;
    }
}

static GenerateCall send_call(Sending *sending, const json_t *fixture) {
    const json_t *list = json_object_get(fixture, "messages");
    GenerateCall call =
        generate_question((Bytes){0}, (Bytes){0}, NULL, 0, (CallMessage[2]){0}, (CallPart[2]){0});
    call.message_count = (uint32_t)json_array_size(list);
    CallMessage *messages =
        arena_take_array(&sending->arena, call.message_count + 1, sizeof *messages);
    call.messages = messages;
    for (uint32_t i = 0; i < call.message_count; i++) {
        send_message(sending, json_array_get(list, i), &messages[i]);
    }
    send_tools(sending, json_object_get(fixture, "tools"), &call);
    return call;
}

static void sending_end(Sending *sending) {
    for (uint32_t i = 0; i < sending->text_count; i++) {
        free(sending->texts[i]);
    }
    arena_free(&sending->arena);
}

static Call *received(const GenerateCall *call, const char *name) {
    Buffer message = {0};
    Call *out = NULL;
    Error error = {0};
    msg_put_request(&message, 1, "generate");
    generate_put(&message, call);
    cr_assert_eq(call_open(&message, &out, &error), OK, "%s: %s", name, error.text);
    return out;
}

static void expect_prompt(Call *call, const json_t *fixture, const char *name) {
    const json_t *want = json_object_get(fixture, "expected");
    Chat chat;
    ChatPrompt prompt = {0};
    Error error = {0};
    uint64_t text_bytes;
    cr_assert_eq(conversation_check(&call->generate, &error), OK, "%s: %s", name, error.text);
    cr_assert_eq(conversation_make(call, &chat, &text_bytes, &error), OK, "%s", error.text);
    chat.thinking = json_is_true(json_object_get(fixture, "thinking"));
    chat.preserve_thinking = json_is_true(json_object_get(fixture, "preserve_thinking"));
    chat.add_generation_prompt = json_is_true(json_object_get(fixture, "add_generation_prompt"));
    cr_assert_eq(chat_template(&chat, &prompt, &error), OK, "%s: %s", name, error.text);
    cr_assert(
        bytes_equal((Bytes){prompt.text.data, prompt.text.length},
                    (Bytes){(const uint8_t *)json_string_value(want), json_string_length(want)}),
        "%s\nwant: %s\nhave: %.*s", name, json_string_value(want), (int)prompt.text.length,
        (const char *)prompt.text.data);
    chat_prompt_free(&prompt);
}

Test(conversation, over_the_wire_is_rendered_as_by_the_original_template) {
    json_t *root, *fixture;
    Error error = {0};
    size_t index, sent = 0;
    cr_assert_eq(json_parse_file(TEST_ROOT "/tests/golden/text/chat.json", 8 << 20, &root, &error),
                 OK, "%s", error.text);
    json_array_foreach(json_object_get(root, "cases"), index, fixture) {
        const char *name = json_string_value(json_object_get(fixture, "name"));
        Sending sending = {.expressible = true};
        GenerateCall asked = send_call(&sending, fixture);
        if (sending.expressible) {
            Call *call = received(&asked, name);
            expect_prompt(call, fixture, name);
            call_free(call);
            sent++;
        }
        sending_end(&sending);
    }
    cr_assert_geq(sent, SENT_AT_LEAST, "%zu", sent);
    json_decref(root);
}

// ---- What is not served -------------------------------------------------------------------------

static void expect_refusal(const GenerateCall *call, const char *says) {
    Error error = {0};
    cr_assert_eq(conversation_check(call, &error), E_UNSUPPORTED, "%s", says);
    cr_assert_not_null(strstr(error.text, says), "\"%s\" does not say \"%s\"", error.text, says);
}

Test(conversation, what_nothing_serves_is_refused_by_name) {
    CallMessage messages[2];
    CallPart parts[2];
    GenerateCall call =
        generate_question((Bytes){0}, bytes_of_text("hi"), NULL, 0, messages, parts);
    Error error;
    cr_assert_eq(conversation_check(&call, &error), OK);
    parts[0].kind = CALL_AUDIO;
    expect_refusal(&call, "message 0: a part of type audio is not yet supported");
    parts[0].kind = CALL_FRAME;
    expect_refusal(&call, "message 0: a part of type frame is not yet supported");
    parts[0].kind = CALL_TEXT;
    call.tool_choice = CALL_CHOICE_REQUIRED;
    expect_refusal(&call, "params.tool_choice is not yet supported");
    call.tool_choice = CALL_CHOICE_AUTO;
    call.schema = bytes_of_text("{}");
    expect_refusal(&call, "params.schema is not yet supported");
}
