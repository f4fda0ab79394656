// SPDX-License-Identifier: Apache-2.0
#include "rpc/calls.h"

#include "base/check.h"
#include "base/num.h"
#include "rpc/msg.h"

#include <stdlib.h>

// While a Call is being read.
typedef struct CallReader {
    Call *call;
    MsgReader reader;
} CallReader;

static void *call_take(CallReader *in, size_t count, size_t item_bytes) {
    void *items = arena_take_array(&in->call->arena, count, item_bytes);
    if (items == NULL && in->reader.status == OK) {
        in->reader.status = call_no_memory(in->call, in->reader.error);
    }
    return items;
}

static void read_hello(CallReader *in, MsgMap *params) {
    HelloCall *hello = &in->call->hello;
    msg_need(params, "version");
    hello->version = (uint32_t)msg_int(params, "version", 0, UINT16_MAX, 0);
    hello->token = msg_text(params, "token", CALL_TOKEN_BYTES_MAX, (Bytes){0});
    hello->client = msg_text(params, "client", CALL_CLIENT_BYTES_MAX, (Bytes){0});
}

// ---- generate -----------------------------------------------------------------------------------

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

static void read_message(CallReader *in, MsgMap map, CallMessage *message) {
    static const char *const roles[] = {"system", "user", "assistant"};
    msg_need(&map, "role");
    message->role = (CallRole)msg_choice(&map, "role", roles, 3, CALL_USER);
    msg_need(&map, "content");
    message->is_list = !msg_is_text(&map, "content");
    MsgArray list = {.reader = &in->reader};
    if (message->is_list) {
        list = msg_array(&map, "content", "params.messages[].content[]", CALL_PARTS_MAX);
    }
    uint32_t count = message->is_list ? list.count : 1;
    CallPart *parts = call_take(in, num_max(count, 1), sizeof *parts);
    if (parts == NULL) {
        return;
    }
    for (uint32_t i = 0; i < list.count; i++) {
        read_part(msg_item_map(&list, i), &parts[i]);
        in->call->generate.image_count += parts[i].kind != CALL_TEXT;
    }
    if (!message->is_list) {
        parts[0] = (CallPart){.kind = CALL_TEXT,
                              .text = msg_text(&map, "content", CALL_TEXT_BYTES_MAX, (Bytes){0})};
    }
    message->parts = parts;
    message->part_count = count;
    msg_map_end(&map);
}

static void read_messages(CallReader *in, MsgMap *params) {
    GenerateCall *call = &in->call->generate;
    MsgArray list = msg_array(params, "messages", "params.messages[]", CALL_MESSAGES_MAX);
    if (list.count == 0) {
        msg_fault(&in->reader, "params", "messages", "must have at least one message");
        return;
    }
    CallMessage *messages = call_take(in, list.count, sizeof *messages);
    for (uint32_t i = 0; i < list.count && in->reader.status == OK; i++) {
        read_message(in, msg_item_map(&list, i), &messages[i]);
        if (in->reader.status != OK) {
            error_prefix(in->reader.error, in->reader.status, "message %u", i);
        }
    }
    if (call->image_count > CALL_IMAGES_MAX) {
        msg_fault(&in->reader, "params", "messages", "have %u pictures, at most %d are allowed",
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

static void read_stops(CallReader *in, MsgMap *params) {
    GenerateCall *call = &in->call->generate;
    MsgArray list = msg_array(params, "stop", "params.stop[]", CALL_STOPS_MAX);
    for (uint32_t i = 0; i < list.count; i++) {
        call->stops[i] = msg_item_text(&list, i, CALL_STOP_BYTES_MAX);
        if (call->stops[i].length == 0) {
            msg_fault(&in->reader, "params", "stop", "must not hold an empty text");
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

static void read_generate(CallReader *in, MsgMap *params) {
    static const char *const classes[] = {"interactive", "batch"};
    GenerateCall *call = &in->call->generate;
    read_messages(in, params);
    call->sampling = read_sampling(params);
    read_stops(in, params);
    call->seed = (uint64_t)msg_int(params, "seed", 0, INT64_MAX, 0);
    call->max_tokens = (uint32_t)msg_int(params, "max_tokens", 1, CALL_TOKENS_MAX, 256);
    call->samples = (uint32_t)msg_int(params, "n", 1, CALL_SAMPLES_MAX, 1);
    call->batch = msg_choice(params, "class", classes, 2, 0) == 1;
    call->stream = msg_bool(params, "stream", false);
    call->thinking = msg_bool(params, "thinking", false);
    call->deadline_ms = (uint32_t)msg_int(params, "deadline_ms", 1, 86400000, 0);
    call->budget = read_budget(params);
    call->logprobs = (uint32_t)msg_int(params, "logprobs", 0, CALL_LOGPROBS_MAX, 0);
}

// ---- The others ---------------------------------------------------------------------------------

static void read_stream(CallReader *in, MsgMap *params) {
    msg_need(params, "id");
    in->call->stream.id = (uint64_t)msg_int(params, "id", 0, INT64_MAX, 0);
    if (in->call->method == METHOD_CREDIT) {
        msg_need(params, "n");
        in->call->stream.count = (uint32_t)msg_int(params, "n", 1, 1000000, 1);
    }
}

static void read_put_blob(CallReader *in, MsgMap *params) {
    msg_need(params, "data");
    in->call->put_blob.data = msg_binary(params, "data", (Bytes){0});
    if (in->call->put_blob.data.length == 0) {
        msg_fault(&in->reader, "params", "data", "must not be empty");
    }
}

static void read_params(CallReader *in, const msgpack_object *object) {
    MsgMap params = msg_map(&in->reader, object, "params");
    switch (in->call->method) {
    case METHOD_HELLO:
        read_hello(in, &params);
        break;
    case METHOD_GENERATE:
        read_generate(in, &params);
        break;
    case METHOD_CANCEL:
    case METHOD_CREDIT:
        read_stream(in, &params);
        break;
    case METHOD_PUT_BLOB:
        read_put_blob(in, &params);
        break;
    case METHOD_TOKENIZE:
        in->call->tokenize.text = msg_need_text(&params, "text", CALL_TEXT_BYTES_MAX);
        break;
    default: // no parameters
        break;
    }
    msg_map_end(&params);
}

static Status call_read(Call *call, Msg *msg, Error *error) {
    TRY(msg_open((Bytes){call->message.data, call->message.length}, msg, error));
    call->id = msg->id;
    call->notification = msg->kind == MSG_NOTIFICATION;
    if (msg->kind == MSG_RESPONSE) {
        return error_set(error, E_MESSAGE,
                         "a client sends requests and notifications, and this "
                         "is a response");
    }
    if (!method_find(msg->method, &call->method)) {
        return error_set(error, E_METHOD, "there is no such method; api_info lists them");
    }
    if (call->notification && call->method != METHOD_CANCEL && call->method != METHOD_CREDIT) {
        return error_set(error, E_MESSAGE, "%s must be a request, not a notification",
                         method_rows[call->method].name);
    }
    CallReader in = {.call = call, .reader = {.error = error}};
    read_params(&in, msg->params);
    return in.reader.status;
}

Status call_open(Buffer *message, Call **out, Error *error) {
    *out = NULL;
    Purse *purse = message->purse;
    Call *call = purse_take(purse, sizeof *call) ? calloc(1, sizeof *call) : NULL;
    if (call == NULL) {
        if (purse == NULL || purse->refused == OK) {
            purse_give(purse, sizeof *call);
        }
        buffer_free(message);
        return purse_error(purse, "a call", error);
    }
    call->message = *message;
    call->arena.purse = purse;
    *message = (Buffer){0};
    Msg msg;
    Status status = call_read(call, &msg, error);
    bool parsed = status == OK || status == E_METHOD || status == E_ARGUMENT;
    msg_close(&msg);
    if (status == OK || (parsed && !call->notification)) {
        *out = call;
        return status;
    }
    call_free(call);
    return status;
}

void call_free(Call *call) {
    if (call != NULL) {
        Purse *purse = call->arena.purse;
        buffer_free(&call->message);
        arena_free(&call->arena);
        purse_give(purse, sizeof *call);
        free(call);
    }
}

size_t call_bytes(const Call *call) {
    return sizeof *call + call->message.capacity + call->arena.bytes_held;
}

bool call_pay(Call *call, Purse *purse) {
    if (call->arena.purse != NULL || purse == NULL) {
        return true;
    }
    bool paid = purse_take(purse, call_bytes(call));
    if (paid) {
        call->message.purse = call->arena.purse = purse;
    }
    return paid;
}

Status call_no_memory(const Call *call, Error *error) {
    return purse_error(call->arena.purse, "a call", error);
}
