// SPDX-License-Identifier: Apache-2.0
// The parameters of `generate`, typed: what a client may ask. A client fills a GenerateCall and
// generate_put writes it; the server's generate_read checks every range and gives the same struct
// again. Texts, pictures and arrays are borrowed.
#ifndef RPC_GENERATE_H
#define RPC_GENERATE_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "rpc/msg.h"

enum {
    CALL_MESSAGES_MAX = 256,
    CALL_PARTS_MAX = 256,  // of one message
    CALL_MEDIA_MAX = 64,   // parts that are not text, of one call
    CALL_SAMPLES_MAX = 16, // n
    CALL_STOPS_MAX = 64,
    CALL_STOP_BYTES_MAX = 1024,
    CALL_LOGPROBS_MAX = 20,
    CALL_TOKENS_MAX = 1048576,
    CALL_TOKENS_DEFAULT = 256, // max_tokens
    CALL_TEXT_BYTES_MAX = 4 << 20,
    CALL_TOOLS_MAX = 128,
    CALL_TOOL_CALLS_MAX = 128,         // of one message
    CALL_NAME_BYTES_MAX = 256,         // of a tool, and of an id of a tool call
    CALL_JSON_BYTES_MAX = 256 << 10,   // of one JSON text
    CALL_JSON_BYTES_ALL_MAX = 1 << 20, // of all JSON texts of a call
};

#define CALL_REPETITION_PENALTY_MIN 0.01

typedef enum CallRole {
    CALL_SYSTEM,
    CALL_DEVELOPER,
    CALL_USER,
    CALL_ASSISTANT,
    CALL_TOOL,
    CALL_ROLE_COUNT
} CallRole;

typedef enum CallPartKind {
    CALL_TEXT,
    CALL_IMAGE,
    CALL_AUDIO,
    CALL_FRAME, // of a film; the text before it says when it was
    CALL_PART_KIND_COUNT
} CallPartKind;
extern const char *const call_part_words[CALL_PART_KIND_COUNT]; // as the wire names them

typedef struct CallPart {
    CallPartKind kind;
    Bytes text; // CALL_TEXT: valid UTF-8
    // The others: the file, at least one byte, not looked into; or a blob.
    Bytes data;
    Hash128 blob; // what put_blob of the same user gave
    bool is_blob;
} CallPart;

// A JSON text is valid and an object, and checked when it is read. It travels as text because the
// order of its keys and the form of its numbers are part of it, and its depth is not the message's.
typedef struct CallToolCall {
    Bytes id; // length 0: none
    Bytes name;
    Bytes arguments; // JSON text; length 0: none
} CallToolCall;

typedef struct CallMessage {
    CallRole role;
    const CallPart *parts;
    uint32_t part_count;
    bool is_list;                   // content is an array of parts; else parts[0] is its text
    Bytes thoughts;                 // of an assistant; length 0: none
    const CallToolCall *tool_calls; // of an assistant
    uint32_t tool_call_count;
    Bytes tool_call_id, name; // of a tool's answer: which call; length 0: not told
} CallMessage;

typedef struct CallTool {
    Bytes name;
    Bytes description; // length 0: none
    Bytes parameters;  // JSON text of a schema; length 0: none
} CallTool;

typedef enum CallToolChoice {
    CALL_CHOICE_AUTO, // the model decides
    CALL_CHOICE_NONE,
    CALL_CHOICE_REQUIRED,
    CALL_CHOICE_NAMED,
} CallToolChoice;

// -1 in any field: not given, as the model says.
typedef struct CallSampling {
#define CALL_SAMPLING_COUNT                  int64_t
#define CALL_SAMPLING_REAL                   double
#define SAMPLING(name, type, low, high, off) CALL_SAMPLING_##type name;
#include "rpc/sampling.def"
} CallSampling;

#define CALL_SAMPLING_ABSENT ((CallSampling){-1, -1, -1, -1, -1})

typedef struct GenerateCall {
    const CallMessage *messages;
    uint32_t message_count; // at least 1
    uint32_t media_count;   // parts that are not text, in all messages
    const CallTool *tools;  // what the model may call
    uint32_t tool_count;
    CallToolChoice tool_choice;
    Bytes tool_choice_name; // CALL_CHOICE_NAMED: of one of the tools
    Bytes schema;           // JSON text of the schema that the answer must fit; length 0: none
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

// A user's question: after a system text (length 0: none) one message of pictures, then the text.
// `messages` has room for 2, `parts` for image_count + 2. All else is as if it were left out.
GenerateCall generate_question(Bytes system, Bytes text, const Bytes *images, uint32_t image_count,
                               CallMessage *messages, CallPart *parts);

// Appends the parameters as a map: the inverse of generate_read.
void generate_put(Buffer *out, const GenerateCall *call);

// Appends the numbers that are given (not -1) as a map.
void generate_put_sampling(Buffer *out, const CallSampling *sampling);

// Reads the parameters, arrays into the arena. What is wrong, and no memory, is the first fault of
// the map's reader.
void generate_read(MsgMap *params, Arena *arena, GenerateCall *out);

#endif
