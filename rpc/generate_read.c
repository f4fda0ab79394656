// SPDX-License-Identifier: Apache-2.0
#include "rpc/generate.h"

#include "base/json.h"
#include "base/num.h"

// While a call is being read.
typedef struct GenerateReader {
    GenerateCall *call;
    Arena *arena;
    MsgReader *reader;
    size_t json_bytes; // of all JSON texts so far
} GenerateReader;

static void read_no_memory(GenerateReader *in) {
    if (in->reader->status == OK) {
        in->reader->status = purse_error(in->arena->purse, "a call", in->reader->error);
    }
}

static void *read_take(GenerateReader *in, size_t count, size_t item_bytes) {
    void *items = arena_take_array(in->arena, count, item_bytes);
    if (items == NULL) {
        read_no_memory(in);
    }
    return items;
}

static Bytes read_name(MsgMap *map) {
    Bytes name = msg_need_text(map, "name", CALL_NAME_BYTES_MAX);
    if (name.length == 0) {
        msg_fault(map->reader, map->name, "name", "must not be empty");
    }
    return name;
}

// Whoever uses the text parses it again: a tree of it may be many times its size, and is not kept.
static Bytes read_json(GenerateReader *in, MsgMap *map, const char *key) {
    Bytes text = msg_text(map, key, CALL_JSON_BYTES_MAX, (Bytes){0});
    if (text.length == 0) {
        return text;
    }
    in->json_bytes += text.length;
    if (in->json_bytes > CALL_JSON_BYTES_ALL_MAX) {
        msg_fault(map->reader, map->name, key, "must leave all JSON texts below %d bytes",
                  CALL_JSON_BYTES_ALL_MAX);
        return text;
    }
    json_t *value;
    Status status = json_parse(text, key, &value, NULL);
    if (status == E_MEMORY) {
        read_no_memory(in);
    } else if (status != OK || !json_is_object(value)) {
        msg_fault(map->reader, map->name, key, "must be the JSON text of an object");
    }
    json_decref(value);
    return text;
}

// ---- Messages -----------------------------------------------------------------------------------

static Hash128 read_blob(MsgMap *part) {
    Bytes text = msg_need_text(part, "blob", 32);
    uint64_t halves[2] = {0, 0};
    bool valid = text.length == 32;
    for (size_t i = 0; valid && i < text.length; i++) {
        uint8_t c = text.data[i];
        bool digit = c >= '0' && c <= '9';
        valid = digit || (c >= 'a' && c <= 'f');
        halves[i / 16] = halves[i / 16] << 4 | (uint64_t)(digit ? c - '0' : c - 'a' + 10);
    }
    if (!valid) {
        msg_fault(part->reader, part->name, "blob", "must be 32 digits of 0-9 and a-f");
    }
    return (Hash128){halves[0], halves[1]};
}

static void read_media(MsgMap *map, CallPart *part) {
    static const char *const names[] = {"a text", "an image", "a sound", "a frame"};
    part->is_blob = msg_has(map, "blob");
    if (part->is_blob == msg_has(map, "data")) {
        msg_fault(map->reader, map->name, "", "of %s must have either data or blob",
                  names[part->kind]);
    } else if (part->is_blob) {
        part->blob = read_blob(map);
    } else {
        part->data = msg_binary(map, "data", (Bytes){0});
        if (part->data.length == 0) {
            msg_fault(map->reader, map->name, "data", "must not be empty");
        }
    }
}

static void read_part(MsgMap map, CallPart *part) {
    msg_need(&map, "type");
    part->kind = (CallPartKind)msg_choice(&map, "type", call_part_words, CALL_PART_KIND_COUNT, 0);
    if (part->kind == CALL_TEXT) {
        part->text = msg_need_text(&map, "text", CALL_TEXT_BYTES_MAX);
    } else {
        read_media(&map, part);
    }
    msg_map_end(&map);
}

// An answer that only calls tools needs no content; it is as an empty list.
static void read_content(GenerateReader *in, MsgMap *map, CallMessage *message) {
    if (message->tool_call_count == 0) {
        msg_need(map, "content");
    }
    message->is_list = !msg_is_text(map, "content");
    MsgArray list = {.reader = in->reader};
    if (message->is_list) {
        list = msg_array(map, "content", "params.messages[].content[]", CALL_PARTS_MAX);
    }
    uint32_t count = message->is_list ? list.count : 1;
    CallPart *parts = read_take(in, num_max(count, 1), sizeof *parts);
    if (parts == NULL) {
        return;
    }
    for (uint32_t i = 0; i < list.count; i++) {
        read_part(msg_item_map(&list, i), &parts[i]);
        in->call->media_count += parts[i].kind != CALL_TEXT;
    }
    if (!message->is_list) {
        parts[0].text = msg_text(map, "content", CALL_TEXT_BYTES_MAX, (Bytes){0});
    }
    message->parts = parts;
    message->part_count = count;
}

static void read_tool_calls(GenerateReader *in, MsgMap *map, CallMessage *message) {
    MsgArray list =
        msg_array(map, "tool_calls", "params.messages[].tool_calls[]", CALL_TOOL_CALLS_MAX);
    CallToolCall *calls = list.count > 0 ? read_take(in, list.count, sizeof *calls) : NULL;
    for (uint32_t i = 0; i < list.count && calls != NULL; i++) {
        MsgMap call = msg_item_map(&list, i);
        calls[i].id = msg_text(&call, "id", CALL_NAME_BYTES_MAX, (Bytes){0});
        calls[i].name = read_name(&call);
        calls[i].arguments = read_json(in, &call, "arguments");
        msg_map_end(&call);
    }
    message->tool_calls = calls;
    message->tool_call_count = calls != NULL ? list.count : 0;
}

static void read_message(GenerateReader *in, MsgMap map, CallMessage *message) {
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool"};
    msg_need(&map, "role");
    message->role = (CallRole)msg_choice(&map, "role", roles, CALL_ROLE_COUNT, CALL_USER);
    if (message->role == CALL_ASSISTANT) {
        message->thoughts = msg_text(&map, "thoughts", CALL_TEXT_BYTES_MAX, (Bytes){0});
        read_tool_calls(in, &map, message);
    }
    if (message->role == CALL_TOOL) {
        message->tool_call_id = msg_text(&map, "tool_call_id", CALL_NAME_BYTES_MAX, (Bytes){0});
        message->name = msg_text(&map, "name", CALL_NAME_BYTES_MAX, (Bytes){0});
    }
    read_content(in, &map, message);
    msg_map_end(&map);
}

// A tool answers the assistant that spoke last.
static void check_order(GenerateReader *in, const CallMessage *messages, uint32_t index) {
    uint32_t speaker = index;
    while (speaker > 0 && messages[speaker].role == CALL_TOOL) {
        speaker--;
    }
    if (messages[index].role == CALL_TOOL && messages[speaker].tool_call_count == 0) {
        msg_fault(in->reader, "params.messages[]", "",
                  "of role tool must follow an assistant's with the tool_calls that it answers");
    }
}

static void read_messages(GenerateReader *in, MsgMap *params) {
    GenerateCall *call = in->call;
    MsgArray list = msg_array(params, "messages", "params.messages[]", CALL_MESSAGES_MAX);
    if (list.count == 0) {
        msg_fault(in->reader, "params", "messages", "must have at least one message");
        return;
    }
    CallMessage *messages = read_take(in, list.count, sizeof *messages);
    for (uint32_t i = 0; i < list.count && in->reader->status == OK; i++) {
        read_message(in, msg_item_map(&list, i), &messages[i]);
        check_order(in, messages, i);
        if (in->reader->status != OK) {
            error_prefix(in->reader->error, in->reader->status, "message %u", i);
        }
    }
    if (call->media_count > CALL_MEDIA_MAX) {
        msg_fault(in->reader, "params", "messages", "have %u pictures, at most %d are allowed",
                  call->media_count, CALL_MEDIA_MAX);
    }
    call->messages = messages;
    call->message_count = list.count;
}

// ---- Tools --------------------------------------------------------------------------------------

static void read_tools(GenerateReader *in, MsgMap *params) {
    MsgArray list = msg_array(params, "tools", "params.tools[]", CALL_TOOLS_MAX);
    if (list.count == 0) {
        return;
    }
    CallTool *tools = read_take(in, list.count, sizeof *tools);
    for (uint32_t i = 0; i < list.count && in->reader->status == OK; i++) {
        MsgMap tool = msg_item_map(&list, i);
        tools[i].name = read_name(&tool);
        tools[i].description = msg_text(&tool, "description", CALL_TEXT_BYTES_MAX, (Bytes){0});
        tools[i].parameters = read_json(in, &tool, "parameters");
        msg_map_end(&tool);
        if (in->reader->status != OK) {
            error_prefix(in->reader->error, in->reader->status, "tool %u", i);
        }
    }
    in->call->tools = tools;
    in->call->tool_count = tools != NULL ? list.count : 0;
}

static bool is_tool(const GenerateCall *call, Bytes name) {
    bool found = false;
    for (uint32_t i = 0; i < call->tool_count && !found; i++) {
        found = bytes_equal(call->tools[i].name, name);
    }
    return found;
}

// One of three words, or {name: one of the tools}.
static void read_tool_choice(GenerateReader *in, MsgMap *params) {
    static const char *const words[] = {"auto", "none", "required"};
    GenerateCall *call = in->call;
    if (!msg_has(params, "tool_choice") || msg_is_text(params, "tool_choice")) {
        call->tool_choice = (CallToolChoice)msg_choice(params, "tool_choice", words, 3, 0);
        return;
    }
    MsgMap map = msg_submap(params, "tool_choice", "params.tool_choice");
    call->tool_choice = CALL_CHOICE_NAMED;
    call->tool_choice_name = read_name(&map);
    msg_map_end(&map);
    if (!is_tool(call, call->tool_choice_name)) {
        msg_fault(in->reader, "params", "tool_choice", "must name one of the tools");
    }
}

// ---- How it is answered -------------------------------------------------------------------------

static CallSampling read_sampling(MsgMap *params) {
    MsgMap map = msg_submap(params, "sampling", "params.sampling");
#define READ_COUNT msg_int
#define READ_REAL  msg_real
    CallSampling sampling = {
#define SAMPLING(name, type, low, high, off) .name = READ_##type(&map, #name, low, high, -1),
#include "rpc/sampling.def"
    };
    msg_map_end(&map);
    return sampling;
}

static void read_stops(GenerateReader *in, MsgMap *params) {
    GenerateCall *call = in->call;
    MsgArray list = msg_array(params, "stop", "params.stop[]", CALL_STOPS_MAX);
    for (uint32_t i = 0; i < list.count; i++) {
        call->stops[i] = msg_item_text(&list, i, CALL_STOP_BYTES_MAX);
        if (call->stops[i].length == 0) {
            msg_fault(in->reader, "params", "stop", "must not hold an empty text");
        }
    }
    call->stop_count = list.count;
}

static uint32_t read_budget(MsgMap *params) {
    int64_t budget = msg_int(params, "budget", 70, 1120, 0);
    if (budget != 0 && budget != 70 && budget != 140 && budget != 280 && budget != 560 &&
        budget != 1120) {
        msg_fault(params->reader, params->name, "budget", "must be 70, 140, 280, 560 or 1120");
    }
    return (uint32_t)budget;
}

void generate_read(MsgMap *params, Arena *arena, GenerateCall *call) {
    static const char *const classes[] = {"interactive", "batch"};
    GenerateReader in = {.call = call, .arena = arena, .reader = params->reader};
    read_messages(&in, params);
    read_tools(&in, params);
    read_tool_choice(&in, params);
    call->schema = read_json(&in, params, "schema");
    call->sampling = read_sampling(params);
    read_stops(&in, params);
    call->seed = (uint64_t)msg_int(params, "seed", 0, INT64_MAX, 0);
    call->max_tokens =
        (uint32_t)msg_int(params, "max_tokens", 1, CALL_TOKENS_MAX, CALL_TOKENS_DEFAULT);
    call->samples = (uint32_t)msg_int(params, "n", 1, CALL_SAMPLES_MAX, 1);
    call->batch = msg_choice(params, "class", classes, 2, 0) == 1;
    call->stream = msg_bool(params, "stream", false);
    call->thinking = msg_bool(params, "thinking", false);
    call->deadline_ms = (uint32_t)msg_int(params, "deadline_ms", 1, 86400000, 0);
    call->budget = read_budget(params);
    call->logprobs = (uint32_t)msg_int(params, "logprobs", 0, CALL_LOGPROBS_MAX, 0);
}
