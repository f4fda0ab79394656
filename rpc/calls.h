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
#include "base/hash.h"
#include "base/status.h"
#include "rpc/methods.h"

enum { PROTOCOL_VERSION = 1 };

enum {
    CALL_MESSAGES_MAX = 256,
    CALL_PARTS_MAX = 256,  // of one message
    CALL_IMAGES_MAX = 64,  // of one call
    CALL_SAMPLES_MAX = 16, // n of generate
    CALL_STOPS_MAX = 64,
    CALL_STOP_BYTES_MAX = 1024,
    CALL_LOGPROBS_MAX = 20,
    CALL_TOKENS_MAX = 1048576,
    CALL_TEXT_BYTES_MAX = 4 << 20,
    CALL_TOKEN_BYTES_MAX = 512,
    CALL_CLIENT_BYTES_MAX = 128,
};

#define CALL_REPETITION_PENALTY_MIN 0.01

typedef struct HelloCall {
    uint32_t version;
    Bytes token;  // length 0: none
    Bytes client; // length 0: not told
} HelloCall;

typedef enum CallRole { CALL_SYSTEM, CALL_USER, CALL_ASSISTANT } CallRole;
typedef enum CallPartKind { CALL_TEXT, CALL_IMAGE, CALL_BLOB } CallPartKind;

typedef struct CallPart {
    CallPartKind kind;
    Bytes text;   // CALL_TEXT: valid UTF-8
    Bytes image;  // CALL_IMAGE: the file, at least one byte, not looked into
    Hash128 blob; // CALL_BLOB: what put_blob of the same user gave
} CallPart;

typedef struct CallMessage {
    CallRole role;
    const CallPart *parts;
    uint32_t part_count;
    bool is_list; // content was an array of parts
} CallMessage;

// -1 in any field: not given, as the model says.
typedef struct CallSampling {
    double temperature;
    int64_t top_k;
    double top_p;
    double min_p;
    double repetition_penalty;
} CallSampling;

typedef struct GenerateCall {
    const CallMessage *messages;
    uint32_t message_count; // at least 1
    uint32_t image_count;   // parts of kind CALL_IMAGE and CALL_BLOB in all messages
    CallSampling sampling;
    uint64_t seed;
    uint32_t max_tokens;
    Bytes stops[CALL_STOPS_MAX]; // valid UTF-8, 1..CALL_STOP_BYTES_MAX bytes
    uint32_t stop_count;
    uint32_t samples; // n
    bool batch;       // class
    bool stream;
    bool thinking;
    uint32_t deadline_ms; // 0 = none
    uint32_t budget;      // 0 = as the model says
    uint32_t logprobs;    // 0 = off
} GenerateCall;

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
