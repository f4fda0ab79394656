// SPDX-License-Identifier: Apache-2.0
// Messages of MessagePack-RPC and typed access to what is in them.
//
//   request       [0, id, method, params]     response  [1, id, error, result]
//   notification  [2, method, params]         params, error and result are maps (error may be nil)
//
// Reading is done with one sticky error: after the first fault every read returns a harmless
// default, and the caller looks once, at the end. Every fault names the field, the rule and the
// value. Parsing is msgpack-c's, behind frame.h's limits. Writing appends to a Buffer, whose own
// sticky flag says when memory ran out.
#ifndef RPC_MSG_H
#define RPC_MSG_H

#include "base/bytes.h"
#include "base/status.h"

#include <msgpack.h>

typedef enum MsgKind { MSG_REQUEST, MSG_RESPONSE, MSG_NOTIFICATION } MsgKind;

typedef struct Msg {
    MsgKind kind;
    uint32_t id;                  // request and response
    Bytes method;                 // request and notification; a view of the message's bytes
    const msgpack_object *params; // request and notification: a map
    const msgpack_object *error;  // response: nil or a map
    const msgpack_object *result; // response
    msgpack_unpacked unpacked;    // owns the objects
} Msg;

// Parses one framed message. Texts and bins inside are views of `bytes`, which must live as long as
// the Msg. E_MESSAGE, E_MEMORY. On OK the caller ends it with msg_close.
Status msg_open(Bytes bytes, Msg *out, Error *error);
void msg_close(Msg *msg);

// The id of the request that begins with these bytes, when they are enough to tell.
enum { MSG_HEAD_BYTES = 11 };
bool msg_request_id(Bytes begun, uint32_t *id);

// ---- Reading ------------------------------------------------------------------------------------

typedef struct MsgReader {
    Status status; // OK until the first fault
    Error *error;  // filled at the first fault; may be NULL
} MsgReader;

typedef struct MsgMap {
    MsgReader *reader;
    const char *name; // for errors: "params", "params.sampling"
    const msgpack_object_kv *pairs;
    uint32_t count;
    uint64_t seen; // bit i: pair i was asked for
} MsgMap;

typedef struct MsgArray {
    MsgReader *reader;
    const char *name;
    const msgpack_object *items;
    uint32_t count;
} MsgArray;

// `object` as a map of at most 64 pairs with distinct string keys.
MsgMap msg_map(MsgReader *reader, const msgpack_object *object, const char *name);

// Absent keys and nil give the default; `need` forms make them a fault.
bool msg_has(MsgMap *map, const char *key);
int64_t msg_int(MsgMap *map, const char *key, int64_t low, int64_t high, int64_t absent);
double msg_real(MsgMap *map, const char *key, double low, double high, double absent);
bool msg_bool(MsgMap *map, const char *key, bool absent);
Bytes msg_text(MsgMap *map, const char *key, size_t bytes_max, Bytes absent); // valid UTF-8
Bytes msg_need_text(MsgMap *map, const char *key, size_t bytes_max);
Bytes msg_binary(MsgMap *map, const char *key, Bytes absent);
// Index of the word that the string is, or `absent`.
uint32_t msg_choice(MsgMap *map, const char *key, const char *const *words, uint32_t word_count,
                    uint32_t absent);
bool msg_is_text(MsgMap *map, const char *key);
void msg_need(MsgMap *map, const char *key);                       // a fault when it is absent
MsgMap msg_submap(MsgMap *map, const char *key, const char *name); // an empty map when absent
MsgArray msg_array(MsgMap *map, const char *key, const char *name, uint32_t items_max);
MsgMap msg_item_map(const MsgArray *array, uint32_t index);
Bytes msg_item_text(const MsgArray *array, uint32_t index, size_t bytes_max);
// For tests.
int64_t msg_item_int(const MsgArray *array, uint32_t index, int64_t low, int64_t high);

// The first fault of a reader: "NAME.KEY RULE" (key "" = of the whole map). Later ones do nothing.
void msg_fault(MsgReader *reader, const char *map_name, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

// A fault when a pair was never asked for: a misspelt parameter is refused, not ignored.
void msg_map_end(MsgMap *map);

// ---- Writing ------------------------------------------------------------------------------------

void msg_put_array(Buffer *out, uint32_t count);
void msg_put_map(Buffer *out, uint32_t pair_count);
void msg_put_text(Buffer *out, Bytes text);
// For tests.
void msg_put_text_repaired(Buffer *out, Bytes text); // each byte that is not UTF-8 as U+FFFD
void msg_put_key(Buffer *out, const char *key);      // a string
// For tests.
void msg_put_binary(Buffer *out, Bytes bytes);
void msg_put_uint(Buffer *out, uint64_t value);
void msg_put_int(Buffer *out, int64_t value);
// For tests.
void msg_put_real(Buffer *out, double value);
// For tests.
void msg_put_bool(Buffer *out, bool value);
void msg_put_nil(Buffer *out);

// A pair of a map.
void msg_pair_text(Buffer *out, const char *key, Bytes text);
void msg_pair_text_repaired(Buffer *out, const char *key, Bytes text);
void msg_pair_word(Buffer *out, const char *key, const char *word);
void msg_pair_binary(Buffer *out, const char *key, Bytes bytes);
void msg_pair_uint(Buffer *out, const char *key, uint64_t value);
void msg_pair_int(Buffer *out, const char *key, int64_t value);
void msg_pair_real(Buffer *out, const char *key, double value);
void msg_pair_bool(Buffer *out, const char *key, bool value);

// The heads of messages; what follows is one value (params, or the result).
void msg_put_request(Buffer *out, uint32_t id, const char *method);
void msg_put_notification(Buffer *out, const char *method);
void msg_put_result(Buffer *out, uint32_t id);

// An error's map: {code, name, message, retry_after_ms (when > 0)}. `detail` is the sentence for
// the client, or NULL for the catalogue's text.
void msg_put_fault(Buffer *out, Status status, const char *detail, uint32_t retry_after_ms);

// A whole error response, with msg_put_fault's map.
void msg_put_error(Buffer *out, uint32_t id, Status status, const char *detail,
                   uint32_t retry_after_ms);

#endif
