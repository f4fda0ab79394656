// SPDX-License-Identifier: Apache-2.0
#include "rpc/generate.h"

#include "base/num.h"

// While a call is being read.
typedef struct GenerateReader {
    GenerateCall *call;
    Arena *arena;
    MsgReader *reader;
} GenerateReader;

static void *read_take(GenerateReader *in, size_t count, size_t item_bytes) {
    void *items = arena_take_array(in->arena, count, item_bytes);
    if (items == NULL && in->reader->status == OK) {
        in->reader->status = purse_error(in->arena->purse, "a call", in->reader->error);
    }
    return items;
}

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

static void read_image(MsgMap *map, CallPart *part) {
    if (msg_has(map, "blob") == msg_has(map, "data")) {
        msg_fault(map->reader, map->name, "", "of an image must have either data or blob");
    } else if (msg_has(map, "blob")) {
        part->kind = CALL_BLOB;
        part->blob = read_blob(map);
    } else {
        part->kind = CALL_IMAGE;
        part->image = msg_binary(map, "data", (Bytes){0});
        if (part->image.length == 0) {
            msg_fault(map->reader, map->name, "data", "must not be empty");
        }
    }
}

static void read_part(MsgMap map, CallPart *part) {
    static const char *const types[] = {"text", "image"};
    msg_need(&map, "type");
    if (msg_choice(&map, "type", types, 2, 0) == 0) {
        part->kind = CALL_TEXT;
        part->text = msg_need_text(&map, "text", CALL_TEXT_BYTES_MAX);
    } else {
        read_image(&map, part);
    }
    msg_map_end(&map);
}

static void read_message(GenerateReader *in, MsgMap map, CallMessage *message) {
    static const char *const roles[] = {"system", "user", "assistant"};
    msg_need(&map, "role");
    message->role = (CallRole)msg_choice(&map, "role", roles, 3, CALL_USER);
    msg_need(&map, "content");
    message->is_list = !msg_is_text(&map, "content");
    MsgArray list = {.reader = in->reader};
    if (message->is_list) {
        list = msg_array(&map, "content", "params.messages[].content[]", CALL_PARTS_MAX);
    }
    uint32_t count = message->is_list ? list.count : 1;
    CallPart *parts = read_take(in, num_max(count, 1), sizeof *parts);
    if (parts == NULL) {
        return;
    }
    for (uint32_t i = 0; i < list.count; i++) {
        read_part(msg_item_map(&list, i), &parts[i]);
        in->call->image_count += parts[i].kind != CALL_TEXT;
    }
    if (!message->is_list) {
        parts[0] = (CallPart){.kind = CALL_TEXT,
                              .text = msg_text(&map, "content", CALL_TEXT_BYTES_MAX, (Bytes){0})};
    }
    message->parts = parts;
    message->part_count = count;
    msg_map_end(&map);
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
        if (in->reader->status != OK) {
            error_prefix(in->reader->error, in->reader->status, "message %u", i);
        }
    }
    if (call->image_count > CALL_IMAGES_MAX) {
        msg_fault(in->reader, "params", "messages", "have %u pictures, at most %d are allowed",
                  call->image_count, CALL_IMAGES_MAX);
    }
    call->messages = messages;
    call->message_count = list.count;
}

static CallSampling read_sampling(MsgMap *params) {
    MsgMap map = msg_submap(params, "sampling", "params.sampling");
    CallSampling sampling = {
        .temperature = msg_real(&map, "temperature", 0, 100, -1),
        .top_k = msg_int(&map, "top_k", 0, CALL_TOKENS_MAX, -1),
        .top_p = msg_real(&map, "top_p", 0, 1, -1),
        .min_p = msg_real(&map, "min_p", 0, 1, -1),
        .repetition_penalty =
            msg_real(&map, "repetition_penalty", CALL_REPETITION_PENALTY_MIN, 100, -1),
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
