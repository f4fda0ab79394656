// SPDX-License-Identifier: Apache-2.0
#include "rpc/msg.h"

#include "base/check.h"
#include "base/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MSG_MAP_MAX = 64, MSG_KEY_SHOWN = 40 };

// ---- Opening ------------------------------------------------------------------------------------

static bool object_is_id(const msgpack_object *o) {
    return o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 <= UINT32_MAX;
}

static bool object_is_text(const msgpack_object *o) {
    return o->type == MSGPACK_OBJECT_STR;
}

static bool object_is_map(const msgpack_object *o) {
    return o->type == MSGPACK_OBJECT_MAP;
}

static Bytes object_text(const msgpack_object *o) {
    return (Bytes){(const uint8_t *)o->via.str.ptr, o->via.str.size};
}

static Status msg_read_shape(Msg *msg, Error *error) {
    const msgpack_object *root = &msg->unpacked.data;
    const msgpack_object *item = root->via.array.ptr;
    uint32_t count = root->type == MSGPACK_OBJECT_ARRAY ? root->via.array.size : 0;
    uint64_t kind =
        count > 0 && item[0].type == MSGPACK_OBJECT_POSITIVE_INTEGER ? item[0].via.u64 : UINT64_MAX;
    if (kind == 0 && count == 4 && object_is_id(&item[1]) && object_is_text(&item[2]) &&
        object_is_map(&item[3])) {
        msg->kind = MSG_REQUEST;
        msg->id = (uint32_t)item[1].via.u64;
        msg->method = object_text(&item[2]);
        msg->params = &item[3];
        return OK;
    }
    if (kind == 1 && count == 4 && object_is_id(&item[1]) &&
        (item[2].type == MSGPACK_OBJECT_NIL || object_is_map(&item[2]))) {
        msg->kind = MSG_RESPONSE;
        msg->id = (uint32_t)item[1].via.u64;
        msg->error = &item[2];
        msg->result = &item[3];
        return OK;
    }
    if (kind == 2 && count == 3 && object_is_text(&item[1]) && object_is_map(&item[2])) {
        msg->kind = MSG_NOTIFICATION;
        msg->method = object_text(&item[1]);
        msg->params = &item[2];
        return OK;
    }
    return error_set(
        error, E_MESSAGE,
        "a message is [0, id, method, {params}], [1, id, error, result] or [2, method, "
        "{params}]; this one is none of them");
}

Status msg_open(Bytes bytes, Msg *out, Error *error) {
    *out = (Msg){0};
    msgpack_unpacked_init(&out->unpacked);
    size_t used = 0;
    msgpack_unpack_return done =
        msgpack_unpack_next(&out->unpacked, (const char *)bytes.data, bytes.length, &used);
    Status status = OK;
    if (done == MSGPACK_UNPACK_NOMEM_ERROR) {
        status = error_set(error, E_MEMORY, "no memory for a message of %zu bytes", bytes.length);
    } else if (done != MSGPACK_UNPACK_SUCCESS || used != bytes.length) {
        status = error_set(error, E_MESSAGE, "the %zu bytes are not one MessagePack value",
                           bytes.length);
    } else {
        status = msg_read_shape(out, error);
    }
    if (status != OK) {
        msg_close(out);
    }
    return status;
}

void msg_close(Msg *msg) {
    msgpack_unpacked_destroy(&msg->unpacked);
    *msg = (Msg){0};
}

bool msg_request_id(Bytes begun, uint32_t *id) {
    const uint8_t *at = begun.data;
    if (begun.length < 3 || at[0] != 0x94 || at[1] != 0) {
        return false; // an array of four that begins with 0
    }
    if (at[2] <= 0x7f) {
        *id = at[2];
        return true;
    }
    size_t count = at[2] >= 0xcc && at[2] <= 0xcf ? (size_t)1 << (at[2] - 0xcc) : 0;
    if (count == 0 || begun.length < 3 + count) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) {
        value = value << 8 | at[3 + i];
    }
    *id = (uint32_t)value;
    return value <= UINT32_MAX;
}

// ---- Reading ------------------------------------------------------------------------------------

static Bytes key_bytes(const msgpack_object *key) {
    return (Bytes){(const uint8_t *)key->via.str.ptr, key->via.str.size};
}

static bool key_is(const msgpack_object *key, const char *text) {
    return bytes_equal(key_bytes(key), bytes_of_text(text));
}

void msg_fault(MsgReader *reader, const char *map_name, const char *key, const char *format, ...) {
    if (reader->status != OK) {
        return;
    }
    char rule[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(rule, sizeof rule, format, arguments);
    va_end(arguments);
    reader->status =
        error_set(reader->error, E_ARGUMENT, "%s%s%s %s", map_name, key[0] ? "." : "", key, rule);
}

MsgMap msg_map(MsgReader *reader, const msgpack_object *object, const char *name) {
    MsgMap map = {.reader = reader, .name = name};
    if (reader->status != OK) {
        return map;
    }
    if (object->type != MSGPACK_OBJECT_MAP || object->via.map.size > MSG_MAP_MAX) {
        msg_fault(reader, name, "", "must be a map of at most %d pairs", MSG_MAP_MAX);
        return map;
    }
    for (uint32_t i = 0; i < object->via.map.size; i++) {
        const msgpack_object *key = &object->via.map.ptr[i].key;
        if (key->type != MSGPACK_OBJECT_STR) {
            msg_fault(reader, name, "", "has a key that is not a string");
            return map;
        }
        for (uint32_t j = 0; j < i; j++) {
            const msgpack_object *other = &object->via.map.ptr[j].key;
            if (bytes_equal(key_bytes(other), key_bytes(key))) {
                msg_fault(reader, name, "", "has a key twice");
                return map;
            }
        }
    }
    map.pairs = object->via.map.ptr;
    map.count = object->via.map.size;
    return map;
}

// The value of a key, or NULL when it is absent or nil; either way the key counts as known.
static const msgpack_object *msg_find(MsgMap *map, const char *key) {
    for (uint32_t i = 0; i < map->count; i++) {
        if (key_is(&map->pairs[i].key, key)) {
            map->seen |= UINT64_C(1) << i;
            return map->pairs[i].val.type == MSGPACK_OBJECT_NIL ? NULL : &map->pairs[i].val;
        }
    }
    return NULL;
}

bool msg_has(MsgMap *map, const char *key) {
    return msg_find(map, key) != NULL;
}

static bool object_int(const msgpack_object *o, int64_t *out) {
    if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 <= INT64_MAX) {
        *out = (int64_t)o->via.u64;
        return true;
    }
    if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
        *out = o->via.i64;
        return true;
    }
    return false;
}

int64_t msg_int(MsgMap *map, const char *key, int64_t low, int64_t high, int64_t absent) {
    const msgpack_object *o = msg_find(map, key);
    if (o == NULL) {
        return absent;
    }
    int64_t value;
    if (!object_int(o, &value) || value < low || value > high) {
        msg_fault(map->reader, map->name, key, "must be an integer from %lld to %lld",
                  (long long)low, (long long)high);
        return absent;
    }
    return value;
}

double msg_real(MsgMap *map, const char *key, double low, double high, double absent) {
    const msgpack_object *o = msg_find(map, key);
    if (o == NULL) {
        return absent;
    }
    int64_t whole;
    double value = NAN;
    if (o->type == MSGPACK_OBJECT_FLOAT32 || o->type == MSGPACK_OBJECT_FLOAT64) {
        value = o->via.f64;
    } else if (object_int(o, &whole)) {
        value = (double)whole;
    }
    if (!(value >= low && value <= high)) { // NaN is refused here
        msg_fault(map->reader, map->name, key, "must be a number from %g to %g", low, high);
        return absent;
    }
    return value;
}

bool msg_bool(MsgMap *map, const char *key, bool absent) {
    const msgpack_object *o = msg_find(map, key);
    if (o == NULL) {
        return absent;
    }
    if (o->type != MSGPACK_OBJECT_BOOLEAN) {
        msg_fault(map->reader, map->name, key, "must be true or false");
        return absent;
    }
    return o->via.boolean;
}

static Bytes text_or_fault(MsgReader *reader, const char *map_name, const char *key,
                           const msgpack_object *o, size_t bytes_max, Bytes absent) {
    if (o->type != MSGPACK_OBJECT_STR || o->via.str.size > bytes_max ||
        !text_is_utf8(object_text(o), NULL)) {
        msg_fault(reader, map_name, key, "must be a string of valid UTF-8, at most %zu bytes",
                  bytes_max);
        return absent;
    }
    return object_text(o);
}

Bytes msg_text(MsgMap *map, const char *key, size_t bytes_max, Bytes absent) {
    const msgpack_object *o = msg_find(map, key);
    return o == NULL ? absent : text_or_fault(map->reader, map->name, key, o, bytes_max, absent);
}

void msg_need(MsgMap *map, const char *key) {
    if (map->reader->status == OK && !msg_has(map, key)) {
        msg_fault(map->reader, map->name, key, "is missing");
    }
}

bool msg_is_text(MsgMap *map, const char *key) {
    const msgpack_object *o = msg_find(map, key);
    return o != NULL && object_is_text(o);
}

uint32_t msg_choice(MsgMap *map, const char *key, const char *const *words, uint32_t word_count,
                    uint32_t absent) {
    const msgpack_object *o = msg_find(map, key);
    if (o == NULL) {
        return absent;
    }
    char list[160] = "";
    for (uint32_t i = 0; i < word_count; i++) {
        if (object_is_text(o) && bytes_equal(object_text(o), bytes_of_text(words[i]))) {
            return i;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "", words[i]);
    }
    msg_fault(map->reader, map->name, key, "must be one of: %s", list);
    return absent;
}

Bytes msg_need_text(MsgMap *map, const char *key, size_t bytes_max) {
    if (map->reader->status == OK && !msg_has(map, key)) {
        msg_fault(map->reader, map->name, key, "is missing; it must be a string");
    }
    return msg_text(map, key, bytes_max, (Bytes){0});
}

Bytes msg_binary(MsgMap *map, const char *key, Bytes absent) {
    const msgpack_object *o = msg_find(map, key);
    if (o == NULL) {
        return absent;
    }
    if (o->type != MSGPACK_OBJECT_BIN) {
        msg_fault(map->reader, map->name, key, "must be a bin");
        return absent;
    }
    return (Bytes){(const uint8_t *)o->via.bin.ptr, o->via.bin.size};
}

MsgMap msg_submap(MsgMap *map, const char *key, const char *name) {
    const msgpack_object *o = msg_find(map, key);
    return o == NULL ? (MsgMap){.reader = map->reader, .name = name}
                     : msg_map(map->reader, o, name);
}

MsgArray msg_array(MsgMap *map, const char *key, const char *name, uint32_t items_max) {
    MsgArray array = {.reader = map->reader, .name = name};
    const msgpack_object *o = msg_find(map, key);
    if (o == NULL || map->reader->status != OK) {
        return array;
    }
    if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size > items_max) {
        msg_fault(map->reader, map->name, key, "must be an array of at most %u items", items_max);
        return array;
    }
    array.items = o->via.array.ptr;
    array.count = o->via.array.size;
    return array;
}

MsgMap msg_item_map(const MsgArray *array, uint32_t index) {
    REQUIRE(index < array->count);
    return msg_map(array->reader, &array->items[index], array->name);
}

Bytes msg_item_text(const MsgArray *array, uint32_t index, size_t bytes_max) {
    REQUIRE(index < array->count);
    return text_or_fault(array->reader, array->name, "", &array->items[index], bytes_max,
                         (Bytes){0});
}

int64_t msg_item_int(const MsgArray *array, uint32_t index, int64_t low, int64_t high) {
    REQUIRE(index < array->count);
    int64_t value;
    if (!object_int(&array->items[index], &value) || value < low || value > high) {
        msg_fault(array->reader, array->name, "", "must hold integers from %lld to %lld",
                  (long long)low, (long long)high);
        return low;
    }
    return value;
}

// Whether a key can be shown in a sentence and in a log line as it is.
// Only what could be the name of a parameter is told again: the text goes into answers and logs.
static bool is_key_like(Bytes text) {
    for (size_t i = 0; i < text.length; i++) {
        uint8_t c = text.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '_' && c != '-' && c != '.') {
            return false;
        }
    }
    return text.length > 0;
}

void msg_map_end(MsgMap *map) {
    for (uint32_t i = 0; i < map->count && map->reader->status == OK; i++) {
        if ((map->seen >> i & 1) == 0) {
            Bytes shown = object_text(&map->pairs[i].key);
            shown.length = shown.length < MSG_KEY_SHOWN ? shown.length : MSG_KEY_SHOWN;
            if (is_key_like(shown)) {
                msg_fault(map->reader, map->name, "", "has no parameter named \"%.*s\"",
                          (int)shown.length, (const char *)shown.data);
            } else {
                msg_fault(map->reader, map->name, "", "has a key that is no parameter's name");
            }
        }
    }
}

// ---- Writing ------------------------------------------------------------------------------------

static int msg_append(void *data, const char *bytes, size_t length) {
    buffer_append(data, bytes, length);
    return 0;
}

static msgpack_packer msg_packer(Buffer *out) {
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, msg_append);
    return packer;
}

void msg_put_array(Buffer *out, uint32_t count) {
    msgpack_packer packer = msg_packer(out);
    msgpack_pack_array(&packer, count);
}

void msg_put_map(Buffer *out, uint32_t pair_count) {
    msgpack_packer packer = msg_packer(out);
    msgpack_pack_map(&packer, pair_count);
}

void msg_put_text(Buffer *out, Bytes text) {
    msgpack_packer packer = msg_packer(out);
    msgpack_pack_str_with_body(&packer, text.data, text.length);
}

void msg_put_text_repaired(Buffer *out, Bytes text) {
    Buffer repaired = {0};
    text_repair(&repaired, text);
    msg_put_text(out, (Bytes){repaired.data, repaired.length});
    out->failed = out->failed || repaired.failed;
    buffer_free(&repaired);
}

void msg_put_key(Buffer *out, const char *key) {
    msg_put_text(out, bytes_of_text(key));
}

void msg_put_binary(Buffer *out, Bytes bytes) {
    msgpack_packer packer = msg_packer(out);
    msgpack_pack_bin_with_body(&packer, bytes.data, bytes.length);
}

void msg_put_uint(Buffer *out, uint64_t value) {
    msgpack_packer packer = msg_packer(out);
    msgpack_pack_uint64(&packer, value);
}

void msg_put_int(Buffer *out, int64_t value) {
    msgpack_packer packer = msg_packer(out);
    msgpack_pack_int64(&packer, value);
}

void msg_put_real(Buffer *out, double value) {
    msgpack_packer packer = msg_packer(out);
    msgpack_pack_double(&packer, value);
}

void msg_put_bool(Buffer *out, bool value) {
    msgpack_packer packer = msg_packer(out);
    if (value) {
        msgpack_pack_true(&packer);
    } else {
        msgpack_pack_false(&packer);
    }
}

void msg_put_nil(Buffer *out) {
    msgpack_packer packer = msg_packer(out);
    msgpack_pack_nil(&packer);
}

#define PAIR(name, type)                                                                           \
    void msg_pair_##name(Buffer *out, const char *key, type value) {                               \
        msg_put_key(out, key);                                                                     \
        msg_put_##name(out, value);                                                                \
    }
PAIR(text, Bytes)
PAIR(text_repaired, Bytes)
PAIR(binary, Bytes)
PAIR(uint, uint64_t)
PAIR(int, int64_t)
PAIR(real, double)
PAIR(bool, bool)
#undef PAIR

void msg_pair_word(Buffer *out, const char *key, const char *word) {
    msg_put_key(out, key);
    msg_put_key(out, word);
}

void msg_put_request(Buffer *out, uint32_t id, const char *method) {
    msg_put_array(out, 4);
    msg_put_uint(out, 0);
    msg_put_uint(out, id);
    msg_put_key(out, method);
}

void msg_put_notification(Buffer *out, const char *method) {
    msg_put_array(out, 3);
    msg_put_uint(out, 2);
    msg_put_key(out, method);
}

void msg_put_result(Buffer *out, uint32_t id) {
    msg_put_array(out, 4);
    msg_put_uint(out, 1);
    msg_put_uint(out, id);
    msg_put_nil(out);
}

void msg_put_fault(Buffer *out, Status status, const char *detail, uint32_t retry_after_ms) {
    msg_put_map(out, retry_after_ms > 0 ? 4 : 3);
    msg_pair_int(out, "code", status);
    msg_pair_word(out, "name", status_name(status));
    msg_pair_text_repaired(out, "message",
                           bytes_of_text(detail != NULL ? detail : status_text(status)));
    if (retry_after_ms > 0) {
        msg_pair_uint(out, "retry_after_ms", retry_after_ms);
    }
}

void msg_put_error(Buffer *out, uint32_t id, Status status, const char *detail,
                   uint32_t retry_after_ms) {
    msg_put_array(out, 4);
    msg_put_uint(out, 1);
    msg_put_uint(out, id);
    msg_put_fault(out, status, detail, retry_after_ms);
    msg_put_nil(out);
}
