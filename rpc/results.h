// SPDX-License-Identifier: Apache-2.0
// What the server answers, typed, and its form on the wire: results of calls and events of streams.
// Writers only; the C client reads the same structs back (client/client.h). Field names on the wire
// are those of methods.def and stats.def.
#ifndef RPC_RESULTS_H
#define RPC_RESULTS_H

#include "base/bytes.h"
#include "base/hash.h"
#include "base/status.h"
#include "rpc/calls.h"

// ---- Results of calls: each appends one value to `out`, for session_result ----------------------

typedef struct ModelResult {
    Bytes name;        // as people call it
    Bytes identity;    // hash of the weights
    Bytes weights;     // level: "bf16", "int4 g32"
    Bytes activations; // as asked for: "auto", "bf16", "int8"
    Bytes kv;
    uint32_t context; // most tokens of prompt and answer together
    uint32_t images;  // most pictures of a request
    bool vision;
    uint32_t budget;       // image tokens of a picture when a call does not say
    CallSampling sampling; // when a call does not say; every field is given
} ModelResult;

#define STAT_TYPE_COUNT uint64_t
#define STAT_TYPE_REAL  double
typedef struct ServerStats {
#define SERVER_STAT(name, type, text) STAT_TYPE_##type name;
#include "rpc/stats.def"
} ServerStats;

typedef struct UserRow {
    Bytes name;
#define USER_STAT(name, type, text) STAT_TYPE_##type name;
#include "rpc/stats.def"
} UserRow;

typedef enum Health { HEALTH_OK, HEALTH_DRAINING, HEALTH_FAILED } Health;

void result_put_models(Buffer *out, const ModelResult *models, uint32_t count);
void result_put_stats(Buffer *out, const ServerStats *server, const UserRow *users, uint32_t count);
void result_put_health(Buffer *out, Health health);
void result_put_blob(Buffer *out, Hash128 blob);
void result_put_ids(Buffer *out, const int32_t *ids, size_t count);

// ---- Events of a stream, for session_token and session_done -------------------------------------

typedef struct ChoiceEvent {
    int32_t id;
    Bytes text; // any bytes: what is not UTF-8 is sent as U+FFFD
    double logprob;
} ChoiceEvent;

typedef struct LogprobEvent { // of one token
    ChoiceEvent chosen;
    const ChoiceEvent *top;
    uint32_t top_count;
} LogprobEvent;

typedef struct TokenEvent {
    uint32_t index;    // which sample
    Bytes text;        // new, whole UTF-8; may be empty
    Bytes thoughts;    // new, whole UTF-8; may be empty
    const int32_t *id; // the tokens; usually one, none when only held text comes
    uint32_t id_count;
    const LogprobEvent *logprobs; // [id_count], or NULL
} TokenEvent;

typedef enum DoneReason {
    DONE_STOP,
    DONE_LENGTH,
    DONE_CANCEL,
    DONE_DEADLINE,
    DONE_ERROR,
    DONE_REASON_COUNT
} DoneReason;

typedef struct DoneEvent {
    DoneReason reasons[CALL_SAMPLES_MAX]; // of as many samples as were accepted
    Status status;                        // OK, or why a sample has DONE_ERROR
    const char *detail; // a sentence for the client, or NULL for the catalogue's text
    uint32_t retry_after_ms;
    uint32_t cached_tokens[CALL_SAMPLES_MAX]; // of each: prompt tokens it did not compute
    uint32_t prompt_tokens, image_tokens, output_tokens;
    double prepare_ms, queue_ms, first_token_ms, total_ms;
} DoneEvent;

// Parts of events, for the session: one token's log probabilities; the pairs usage and timings.
void event_put_logprob(Buffer *out, const LogprobEvent *event);
void event_put_usage(Buffer *out, const DoneEvent *event);

const char *done_reason_name(DoneReason reason); // "stop"
const char *health_name(Health health);

#endif
