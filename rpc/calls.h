// SPDX-License-Identifier: Apache-2.0
// What clients may ask, typed: every parameter of every method of methods.def, range-checked. The
// edge of the server: what is out of range, misspelt or of the wrong type is refused here by name,
// and nothing behind this header checks again.
//
// A Call owns the bytes of its message and everything in it points there: pictures are never
// copied. Whoever is handed a Call ends it with call_free, on any thread.
#ifndef RPC_CALLS_H
#define RPC_CALLS_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"
#include "rpc/generate.h"
#include "rpc/methods.h"

enum { PROTOCOL_VERSION = 1 };

enum {
    CALL_TOKEN_BYTES_MAX = 512,
    CALL_CLIENT_BYTES_MAX = 128,
};

typedef struct HelloCall {
    uint32_t version;
    Bytes token;  // length 0: none
    Bytes client; // length 0: not told
} HelloCall;

typedef struct StreamCall { // cancel, credit
    uint64_t id;
    uint32_t count; // credit's n
} StreamCall;

typedef struct PutBlobCall {
    Bytes data; // at least one byte
} PutBlobCall;

typedef struct TokenizeCall {
    Bytes text; // valid UTF-8
} TokenizeCall;

typedef struct Call {
    Method method;
    bool notification;    // wants no answer: cancel and credit only
    uint32_t id;          // of the request
    uint64_t ticket;      // the session's name for it, for session_accept, _result, _error
    uint64_t began_ms;    // when its first byte came
    uint64_t received_ms; // and its last
    union {
        HelloCall hello;
        GenerateCall generate;
        StreamCall stream;
        PutBlobCall put_blob;
        TokenizeCall tokenize;
    };
    Buffer message; // the bytes everything points into
    Arena arena;    // messages and parts
} Call;

// Reads one framed message that a client sent. Takes over `message` (and empties it) in any case.
// *out NULL: no message, or none that a client may send, or one that wants no answer and is wrong;
// the connection cannot go on (E_MESSAGE, E_METHOD, E_ARGUMENT), or there is no room for it
// (E_MEMORY, E_BUSY, E_USER_BUSY: whose request it was is not told). With *out set to a Call
// of which only the `id` counts: E_METHOD, E_ARGUMENT, to be answered.
Status call_open(Buffer *message, Call **out, Error *error);
void call_free(Call *call);          // NULL is fine
size_t call_bytes(const Call *call); // that its message's purse pays for
// A call that nobody paid for yet is the purse's from here. False: refused.
bool call_pay(Call *call, Purse *purse);
// The error of an arena_take of a call's arena that gave NULL.
Status call_no_memory(const Call *call, Error *error);

#endif
