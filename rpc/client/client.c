// SPDX-License-Identifier: Apache-2.0
#include "rpc/client/client.h"

#include "base/check.h"
#include "base/num.h"
#include "rpc/frame.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

enum { CREDIT_MAX = 1000000 }; // of one grant

// A call without an answer; the method tells how to read it.
typedef struct Pending {
    uint32_t id;
    Method method;
} Pending;

// Token events of a stream since credit was last granted.
typedef struct Reading {
    uint64_t stream;
    uint32_t events;
} Reading;

struct Client {
    Buffer output;
    size_t written;
    Buffer input;
    size_t taken; // of input: messages that became events
    Frame frame;
    Msg msg;       // of the last event
    size_t length; // its bytes, to be taken with the next client_next
    uint32_t next_id;
    Pending *pending;
    uint32_t pending_count, pending_capacity;
    Reading *readings;
    uint32_t reading_count, reading_capacity;
    uint32_t credit_chunk; // token events after which as many are granted
    bool failed;           // out of memory
};

Status client_open(Client **out, Error *error) {
    *out = calloc(1, sizeof **out);
    if (*out == NULL) {
        return error_set(error, E_MEMORY, "no memory for a client");
    }
    FrameLimits limits = frame_limits_default();
    frame_open(&(*out)->frame, &limits);
    (*out)->credit_chunk = 1;
    return OK;
}

void client_close(Client *client) {
    if (client != NULL) {
        msg_close(&client->msg);
        buffer_free(&client->output);
        buffer_free(&client->input);
        free(client->pending);
        free(client->readings);
        free(client);
    }
}

// ---- Calls --------------------------------------------------------------------------------------

// Makes room for one more item. False: out of memory, which shows at the next receive.
static bool list_grow(Client *client, void **items, uint32_t count, uint32_t *capacity,
                      size_t item_bytes) {
    if (count < *capacity) {
        return true;
    }
    uint32_t larger = *capacity > 0 ? *capacity * 2 : 16;
    void *grown = realloc(*items, larger * item_bytes);
    if (grown == NULL) {
        client->failed = true;
        return false;
    }
    *items = grown;
    *capacity = larger;
    return true;
}

static uint32_t begin_call(Client *client, Method method) {
    uint32_t id = ++client->next_id;
    if (list_grow(client, (void **)&client->pending, client->pending_count,
                  &client->pending_capacity, sizeof *client->pending)) {
        client->pending[client->pending_count++] = (Pending){id, method};
    }
    msg_put_request(&client->output, id, method_rows[method].name);
    return id;
}

uint32_t client_hello(Client *client, Bytes token, const char *program) {
    uint32_t id = begin_call(client, METHOD_HELLO);
    Buffer *out = &client->output;
    msg_put_map(out, token.length > 0 ? 3 : 2);
    msg_pair_uint(out, "version", PROTOCOL_VERSION);
    msg_pair_word(out, "client", program);
    if (token.length > 0) {
        msg_pair_text(out, "token", token);
    }
    return id;
}

uint32_t client_generate(Client *client, const GenerateCall *call) {
    uint32_t id = begin_call(client, METHOD_GENERATE);
    generate_put(&client->output, call);
    return id;
}

void client_cancel(Client *client, uint64_t stream) {
    msg_put_notification(&client->output, method_rows[METHOD_CANCEL].name);
    msg_put_map(&client->output, 1);
    msg_pair_uint(&client->output, "id", stream);
}

uint32_t client_put_blob(Client *client, Bytes data) {
    uint32_t id = begin_call(client, METHOD_PUT_BLOB);
    msg_put_map(&client->output, 1);
    msg_pair_binary(&client->output, "data", data);
    return id;
}

uint32_t client_call(Client *client, Method method) {
    uint32_t id = begin_call(client, method);
    msg_put_map(&client->output, 0);
    return id;
}

// ---- Bytes --------------------------------------------------------------------------------------

Bytes client_output(const Client *client) {
    return (Bytes){client->output.data + client->written, client->output.length - client->written};
}

void client_written(Client *client, size_t count) {
    REQUIRE(count <= client->output.length - client->written);
    client->written += count;
    if (client->written == client->output.length) {
        bool failed = client->output.failed;
        buffer_clear(&client->output);
        client->output.failed = failed;
        client->written = 0;
    }
}

// The last event is over: its bytes and every message before it leave the input.
static void client_take(Client *client) {
    msg_close(&client->msg);
    client->taken += client->length;
    client->length = 0;
    if (client->taken > 0 && client->taken * 2 >= client->input.length) {
        memmove(client->input.data, client->input.data + client->taken,
                client->input.length - client->taken);
        client->input.length -= client->taken;
        client->taken = 0;
    }
}

Status client_receive(Client *client, Bytes bytes, Error *error) {
    client_take(client);
    buffer_append(&client->input, bytes.data, bytes.length);
    if (client->failed || client->input.failed || client->output.failed) {
        return error_set(error, E_MEMORY, "no memory for the server's messages");
    }
    return OK;
}

// ---- Events -------------------------------------------------------------------------------------

static Method pending_take(Client *client, uint32_t id) {
    for (uint32_t i = 0; i < client->pending_count; i++) {
        if (client->pending[i].id == id) {
            Method method = client->pending[i].method;
            client->pending[i] = client->pending[--client->pending_count];
            return method;
        }
    }
    return METHOD_COUNT;
}

static void read_fault(MsgMap *map, ClientEvent *event) {
    int64_t code = msg_int(map, "code", INT32_MIN, -1, E_INTERNAL);
    Bytes text = msg_text(map, "message", SIZE_MAX, (Bytes){0});
    event->retry_after_ms = (uint32_t)msg_int(map, "retry_after_ms", 0, UINT32_MAX, 0);
    error_set(&event->error, (Status)code, "%.*s", (int)text.length, (const char *)text.data);
}

static const msgpack_object *find_array(const msgpack_object *map, const char *key) {
    for (uint32_t i = 0; map->type == MSGPACK_OBJECT_MAP && i < map->via.map.size; i++) {
        const msgpack_object_kv *pair = &map->via.map.ptr[i];
        if (pair->key.type == MSGPACK_OBJECT_STR && pair->val.type == MSGPACK_OBJECT_ARRAY &&
            bytes_equal((Bytes){(const uint8_t *)pair->key.via.str.ptr, pair->key.via.str.size},
                        bytes_of_text(key))) {
            return &pair->val;
        }
    }
    return NULL;
}

static void read_piece(MsgMap *map, const msgpack_object *object, ClientPiece *piece) {
    const msgpack_object *ids = find_array(object, "ids");
    piece->text = msg_text(map, "text", SIZE_MAX, (Bytes){0});
    piece->thoughts = msg_text(map, "thoughts", SIZE_MAX, (Bytes){0});
    piece->id_count = ids != NULL ? ids->via.array.size : 0;
    piece->logprobs = find_array(object, "logprobs");
}

static void read_token(Client *client, const msgpack_object *params, MsgMap *map,
                       ClientEvent *event) {
    event->kind = CLIENT_TOKEN;
    event->stream = (uint64_t)msg_int(map, "id", 0, INT64_MAX, 0);
    event->index = (uint32_t)msg_int(map, "index", 0, CALL_SAMPLES_MAX - 1, 0);
    read_piece(map, params, &event->piece);
    uint32_t i = 0;
    while (i < client->reading_count && client->readings[i].stream != event->stream) {
        i++;
    }
    if (i < client->reading_count && ++client->readings[i].events >= client->credit_chunk) {
        client->readings[i].events = 0;
        msg_put_notification(&client->output, method_rows[METHOD_CREDIT].name);
        msg_put_map(&client->output, 2);
        msg_pair_uint(&client->output, "id", event->stream);
        msg_pair_uint(&client->output, "n", client->credit_chunk);
    }
}

static void read_done(Client *client, MsgMap *map, ClientEvent *event) {
    event->kind = CLIENT_DONE;
    event->stream = (uint64_t)msg_int(map, "id", 0, INT64_MAX, 0);
    MsgArray samples = msg_array(map, "samples", "done.samples[]", CALL_SAMPLES_MAX);
    event->sample_count = samples.count;
    for (uint32_t i = 0; i < samples.count; i++) {
        MsgMap sample = msg_item_map(&samples, i);
        event->samples[i].reason = msg_need_text(&sample, "reason", 32);
        event->samples[i].token_count = (uint32_t)msg_int(&sample, "tokens", 0, UINT32_MAX, 0);
        event->samples[i].cached_tokens =
            (uint32_t)msg_int(&sample, "cached_tokens", 0, UINT32_MAX, 0);
        read_piece(&sample, &samples.items[i], &event->samples[i].piece);
    }
    MsgMap usage = msg_submap(map, "usage", "done.usage");
    event->usage = (ClientUsage){
        .prompt_tokens = (uint64_t)msg_int(&usage, "prompt_tokens", 0, INT64_MAX, 0),
        .image_tokens = (uint64_t)msg_int(&usage, "image_tokens", 0, INT64_MAX, 0),
        .cached_tokens = (uint64_t)msg_int(&usage, "cached_tokens", 0, INT64_MAX, 0),
        .output_tokens = (uint64_t)msg_int(&usage, "output_tokens", 0, INT64_MAX, 0),
    };
    MsgMap timings = msg_submap(map, "timings", "done.timings");
    event->total_ms = msg_real(&timings, "total_ms", 0, 1e15, 0);
    if (msg_has(map, "error")) {
        MsgMap fault = msg_submap(map, "error", "done.error");
        read_fault(&fault, event);
    }
    for (uint32_t i = 0; i < client->reading_count; i++) {
        if (client->readings[i].stream == event->stream) {
            client->readings[i] = client->readings[--client->reading_count];
        }
    }
}

static void read_response(Client *client, const Msg *msg, MsgReader *reader, ClientEvent *event) {
    event->call = msg->id;
    event->method = pending_take(client, msg->id);
    if (event->method == METHOD_COUNT) {
        msg_fault(reader, "the response", "", "answers no call that was made");
    } else if (msg->error->type != MSGPACK_OBJECT_NIL) {
        event->kind = CLIENT_REFUSED;
        MsgMap fault = msg_map(reader, msg->error, "error");
        read_fault(&fault, event);
    } else {
        event->kind = CLIENT_RESULT;
        event->result = msg->result;
        if (event->method ==
            METHOD_HELLO) { // at half of what a stream begins with, more is granted
            MsgMap map = msg_map(reader, msg->result, "hello");
            int64_t credit = msg_int(&map, "credit", 0, UINT32_MAX, 0);
            client->credit_chunk = (uint32_t)num_min(num_max((size_t)credit / 2, 1), CREDIT_MAX);
        }
        if (event->method == METHOD_GENERATE) {
            MsgMap map = msg_map(reader, msg->result, "result");
            msg_need(&map, "stream");
            event->stream = (uint64_t)msg_int(&map, "stream", 0, INT64_MAX, 0);
            if (list_grow(client, (void **)&client->readings, client->reading_count,
                          &client->reading_capacity, sizeof *client->readings)) {
                client->readings[client->reading_count++] = (Reading){event->stream, 0};
            }
        }
    }
}

// False: an event of a later version, which is skipped.
static bool read_notification(Client *client, const Msg *msg, MsgReader *reader,
                              ClientEvent *event) {
    MsgMap map = msg_map(reader, msg->params, "params");
    if (bytes_equal(msg->method, bytes_of_text("token"))) {
        read_token(client, msg->params, &map, event);
    } else if (bytes_equal(msg->method, bytes_of_text("done"))) {
        read_done(client, &map, event);
    } else if (bytes_equal(msg->method, bytes_of_text("goodbye"))) {
        event->kind = CLIENT_GOODBYE;
        read_fault(&map, event);
    } else {
        return false;
    }
    return true;
}

static Status client_read(Client *client, ClientEvent *event, bool *is_event, Error *error) {
    Bytes bytes = {client->input.data + client->taken, client->length};
    *event = (ClientEvent){.method = METHOD_COUNT};
    *is_event = true;
    TRY(msg_open(bytes, &client->msg, error));
    MsgReader reader = {.error = error};
    if (client->msg.kind == MSG_RESPONSE) {
        read_response(client, &client->msg, &reader, event);
    } else if (client->msg.kind == MSG_NOTIFICATION) {
        *is_event = read_notification(client, &client->msg, &reader, event);
    } else {
        msg_fault(&reader, "the server", "", "sent a request");
    }
    return reader.status == OK ? OK : error_prefix(error, E_MESSAGE, "the server's message");
}

bool client_next(Client *client, ClientEvent *event, Status *status, Error *error) {
    bool is_event = false;
    *status = OK;
    while (!is_event && *status == OK) {
        client_take(client);
        Bytes rest = {client->input.data + client->taken, client->input.length - client->taken};
        *status = frame_next(&client->frame, rest, &client->length, error);
        if (*status == OK && client->length == 0) {
            return false;
        }
        if (*status == OK) {
            *status = client_read(client, event, &is_event, error);
        }
    }
    return *status == OK;
}

// ---- Results ------------------------------------------------------------------------------------

static CallSampling read_sampling(MsgMap *model) {
    MsgMap map = msg_submap(model, "sampling", "model.sampling");
#define READ_COUNT(key, absent) msg_int(&map, key, 0, UINT32_MAX, absent)
#define READ_REAL(key, absent)  msg_real(&map, key, 0, 1e6, absent)
    return (CallSampling){
#define SAMPLING(name, type, low, high, off) .name = READ_##type(#name, off),
#include "rpc/sampling.def"
    };
#undef READ_COUNT
#undef READ_REAL
}

Status client_read_model(const msgpack_object *result, ClientModel *out, Error *error) {
    MsgReader reader = {.error = error};
    MsgMap map = msg_map(&reader, result, "models");
    MsgArray models = msg_array(&map, "models", "models[]", 64);
    if (models.count == 0) {
        msg_fault(&reader, "models", "", "must name one model at least");
        return reader.status;
    }
    MsgMap model = msg_item_map(&models, 0);
    *out = (ClientModel){
        .name = msg_need_text(&model, "name", 4096),
        .identity = msg_need_text(&model, "identity", 256),
        .weights = msg_need_text(&model, "weights", 64),
        .activations = msg_need_text(&model, "activations", 64),
        .kv = msg_need_text(&model, "kv", 64),
        .context = (uint32_t)msg_int(&model, "context", 0, UINT32_MAX, 0),
        .images = (uint32_t)msg_int(&model, "images", 0, UINT32_MAX, 0),
        .budget = (uint32_t)msg_int(&model, "budget", 0, UINT32_MAX, 0),
        .vision = msg_bool(&model, "vision", false),
        .sampling = read_sampling(&model),
    };
    return reader.status;
}

Status client_read_hello(const msgpack_object *result, ClientHello *out, Error *error) {
    MsgReader reader = {.error = error};
    MsgMap map = msg_map(&reader, result, "hello");
    *out = (ClientHello){
        .in_flight = (uint32_t)msg_int(&map, "in_flight", 1, UINT32_MAX, 1),
        .credit = (uint32_t)msg_int(&map, "credit", 0, UINT32_MAX, 0),
        .message_bytes = (uint64_t)msg_int(&map, "message_bytes", 1, INT64_MAX, 1),
        .server = msg_need_text(&map, "server", 256),
        .user = msg_need_text(&map, "user", 256),
    };
    return reader.status;
}

static uint64_t read_stat_count(MsgMap *map, const char *name) {
    return (uint64_t)msg_int(map, name, 0, INT64_MAX, 0);
}

static double read_stat_real(MsgMap *map, const char *name) {
    return msg_real(map, name, 0, DBL_MAX, 0);
}

#define READ_COUNT read_stat_count
#define READ_REAL  read_stat_real

static void read_server_stats(MsgMap *map, ServerStats *out) {
#define SERVER_STAT(name, type, text) out->name = READ_##type(map, #name);
#include "rpc/stats.def"
}

static void read_user_stats(MsgMap *map, UserRow *out) {
    out->name = msg_need_text(map, "name", 256);
#define USER_STAT(name, type, text) out->name = READ_##type(map, #name);
#include "rpc/stats.def"
}

Status client_read_stats(const msgpack_object *result, ServerStats *server, UserRow *users,
                         uint32_t users_max, uint32_t *user_count, Error *error) {
    MsgReader reader = {.error = error};
    MsgMap map = msg_map(&reader, result, "stats");
    MsgMap numbers = msg_submap(&map, "server", "server");
    read_server_stats(&numbers, server);
    MsgArray list = msg_array(&map, "users", "users", UINT32_MAX);
    *user_count = (uint32_t)num_min(list.count, users_max);
    for (uint32_t i = 0; i < *user_count; i++) {
        MsgMap user = msg_item_map(&list, i);
        read_user_stats(&user, &users[i]);
    }
    return reader.status;
}
