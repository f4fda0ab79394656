// SPDX-License-Identifier: Apache-2.0
#include "rpc/calls.h"

#include "base/check.h"
#include "rpc/msg.h"

#include <stdlib.h>

// While a Call is being read.
typedef struct CallReader {
    Call *call;
    MsgReader reader;
} CallReader;

static void read_hello(CallReader *in, MsgMap *params) {
    HelloCall *hello = &in->call->hello;
    msg_need(params, "version");
    hello->version = (uint32_t)msg_int(params, "version", 0, UINT16_MAX, 0);
    if (hello->version != PROTOCOL_VERSION) {
        params->seen = UINT64_MAX; // whatever else there is: the session says which is spoken
        return;
    }
    hello->token = msg_text(params, "token", CALL_TOKEN_BYTES_MAX, (Bytes){0});
    hello->client = msg_text(params, "client", CALL_CLIENT_BYTES_MAX, (Bytes){0});
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
        generate_read(&params, &in->call->arena, &in->call->generate);
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
