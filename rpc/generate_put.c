// SPDX-License-Identifier: Apache-2.0
#include "rpc/generate.h"

static const char *const role_words[] = {"system", "developer", "user", "assistant", "tool"};
static const char *const choice_words[] = {"auto", "none", "required"};
const char *const call_part_words[CALL_PART_KIND_COUNT] = {"text", "image", "audio", "frame"};

GenerateCall generate_question(Bytes system, Bytes text, const Bytes *images, uint32_t image_count,
                               CallMessage *messages, CallPart *parts) {
    uint32_t message_count = 0;
    if (system.length > 0) {
        parts[0] = (CallPart){.kind = CALL_TEXT, .text = system};
        messages[message_count++] =
            (CallMessage){.role = CALL_SYSTEM, .parts = parts, .part_count = 1};
        parts++;
    }
    for (uint32_t i = 0; i < image_count; i++) {
        parts[i] = (CallPart){.kind = CALL_IMAGE, .data = images[i]};
    }
    parts[image_count] = (CallPart){.kind = CALL_TEXT, .text = text};
    messages[message_count++] = (CallMessage){
        .role = CALL_USER, .parts = parts, .part_count = image_count + 1, .is_list = true};
    return (GenerateCall){
        .messages = messages,
        .message_count = message_count,
        .media_count = image_count,
        .sampling = CALL_SAMPLING_ABSENT,
        .max_tokens = CALL_TOKENS_DEFAULT,
        .samples = 1,
    };
}

// ---- Writing ------------------------------------------------------------------------------------

static void put_part(Buffer *out, const CallPart *part) {
    char name[33];
    msg_put_map(out, 2);
    msg_pair_word(out, "type", call_part_words[part->kind]);
    if (part->kind == CALL_TEXT) {
        msg_pair_text(out, "text", part->text);
    } else if (part->is_blob) {
        hash128_text(part->blob, name);
        msg_pair_word(out, "blob", name);
    } else {
        msg_pair_binary(out, "data", part->data);
    }
}

static void put_content(Buffer *out, const CallMessage *message) {
    msg_put_key(out, "content");
    if (!message->is_list) {
        msg_put_text(out, message->parts[0].text);
        return;
    }
    msg_put_array(out, message->part_count);
    for (uint32_t i = 0; i < message->part_count; i++) {
        put_part(out, &message->parts[i]);
    }
}

// A text that is left out when it is empty.
static void put_given(Buffer *out, const char *key, Bytes text) {
    if (text.length > 0) {
        msg_pair_text(out, key, text);
    }
}

static void put_tool_calls(Buffer *out, const CallMessage *message) {
    msg_put_key(out, "tool_calls");
    msg_put_array(out, message->tool_call_count);
    for (uint32_t i = 0; i < message->tool_call_count; i++) {
        const CallToolCall *call = &message->tool_calls[i];
        msg_put_map(out, 1 + (uint32_t)(call->id.length > 0) + (call->arguments.length > 0));
        put_given(out, "id", call->id);
        msg_pair_text(out, "name", call->name);
        put_given(out, "arguments", call->arguments);
    }
}

static void put_message(Buffer *out, const CallMessage *message) {
    msg_put_map(out, 2 + (uint32_t)(message->thoughts.length > 0) + (message->tool_call_count > 0) +
                         (message->tool_call_id.length > 0) + (message->name.length > 0));
    msg_pair_word(out, "role", role_words[message->role]);
    put_content(out, message);
    put_given(out, "thoughts", message->thoughts);
    if (message->tool_call_count > 0) {
        put_tool_calls(out, message);
    }
    put_given(out, "tool_call_id", message->tool_call_id);
    put_given(out, "name", message->name);
}

static void put_messages(Buffer *out, const GenerateCall *call) {
    msg_put_key(out, "messages");
    msg_put_array(out, call->message_count);
    for (uint32_t i = 0; i < call->message_count; i++) {
        put_message(out, &call->messages[i]);
    }
}

static void put_tools(Buffer *out, const GenerateCall *call) {
    msg_put_key(out, "tools");
    msg_put_array(out, call->tool_count);
    for (uint32_t i = 0; i < call->tool_count; i++) {
        const CallTool *tool = &call->tools[i];
        msg_put_map(out,
                    1 + (uint32_t)(tool->description.length > 0) + (tool->parameters.length > 0));
        msg_pair_text(out, "name", tool->name);
        put_given(out, "description", tool->description);
        put_given(out, "parameters", tool->parameters);
    }
}

static void put_tool_choice(Buffer *out, const GenerateCall *call) {
    msg_put_key(out, "tool_choice");
    if (call->tool_choice != CALL_CHOICE_NAMED) {
        msg_put_key(out, choice_words[call->tool_choice]);
        return;
    }
    msg_put_map(out, 1);
    msg_pair_text(out, "name", call->tool_choice_name);
}

void generate_put_sampling(Buffer *out, const CallSampling *sampling) {
    uint32_t given = 0;
#define SAMPLING(name, type, low, high, off) given += sampling->name >= 0;
#include "rpc/sampling.def"
    msg_put_map(out, given);
#define PUT_COUNT(key, value) msg_pair_uint(out, key, (uint64_t)(value))
#define PUT_REAL(key, value)  msg_pair_real(out, key, value)
#define SAMPLING(name, type, low, high, off)                                                       \
    if (sampling->name >= 0) {                                                                     \
        PUT_##type(#name, sampling->name);                                                         \
    }
#include "rpc/sampling.def"
}

static void put_stops(Buffer *out, const GenerateCall *call) {
    msg_put_key(out, "stop");
    msg_put_array(out, call->stop_count);
    for (uint32_t i = 0; i < call->stop_count; i++) {
        msg_put_text(out, call->stops[i]);
    }
}

// A number that is left out when it is as if it were left out.
static void put_option(Buffer *out, const char *key, uint32_t value, uint32_t absent) {
    if (value != absent) {
        msg_pair_uint(out, key, value);
    }
}

void generate_put(Buffer *out, const GenerateCall *call) {
    bool choice = call->tool_choice != CALL_CHOICE_AUTO;
    msg_put_map(out, 9 + (uint32_t)(call->budget != 0) + (call->samples != 1) +
                         (call->deadline_ms != 0) + (call->tool_count > 0) + choice +
                         (call->schema.length > 0));
    put_messages(out, call);
    msg_put_key(out, "sampling");
    generate_put_sampling(out, &call->sampling);
    msg_pair_uint(out, "seed", call->seed);
    msg_pair_uint(out, "max_tokens", call->max_tokens);
    put_stops(out, call);
    msg_pair_word(out, "class", call->batch ? "batch" : "interactive");
    msg_pair_bool(out, "stream", call->stream);
    msg_pair_bool(out, "thinking", call->thinking);
    msg_pair_uint(out, "logprobs", call->logprobs);
    put_option(out, "budget", call->budget, 0);
    put_option(out, "n", call->samples, 1);
    put_option(out, "deadline_ms", call->deadline_ms, 0);
    if (call->tool_count > 0) {
        put_tools(out, call);
    }
    if (choice) {
        put_tool_choice(out, call);
    }
    put_given(out, "schema", call->schema);
}
