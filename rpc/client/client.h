// SPDX-License-Identifier: Apache-2.0
// The client's side of the protocol as a pure state machine: calls in, bytes out; bytes in, events
// out. No socket (socket.h), no clock, no thread. Calls are sent before hello is answered, so a
// round trip is saved; answers come in any order, told apart by the call's id and the stream's id.
//
//     client_open(&client, &error);
//     client_hello(client, token, "my program 1.0");
//     uint32_t id = client_generate(client, &call);
//     ... write client_output, client_written; client_receive what comes ...
//     while (client_next(client, &event)) { ... }
//
// Credit is granted here: a stream that asked for token events gets them as fast as client_next is
// called. One owner, one thread.
#ifndef RPC_CLIENT_CLIENT_H
#define RPC_CLIENT_CLIENT_H

#include "base/bytes.h"
#include "base/status.h"
#include "rpc/calls.h"
#include "rpc/msg.h"
#include "rpc/results.h"

typedef struct Client Client;

Status client_open(Client **out, Error *error); // E_MEMORY
void client_close(Client *client);              // NULL is fine

// ---- Calls: each returns its id -----------------------------------------------------------------

uint32_t client_hello(Client *client, Bytes token, const char *program); // token length 0: none

uint32_t client_generate(Client *client, const GenerateCall *call);

// For tests, and for programs that use the installed client.
void client_cancel(Client *client, uint64_t stream);
// For tests, and for programs that use the installed client.
uint32_t client_put_blob(Client *client, Bytes data);
uint32_t client_call(Client *client, Method method); // one without parameters: models, stats, ...

// ---- Bytes --------------------------------------------------------------------------------------

Bytes client_output(const Client *client); // to be written; valid until the next call of any kind
void client_written(Client *client, size_t count);
// E_MESSAGE, E_MESSAGE_LIMIT, E_MEMORY: the connection is of no use any more.
Status client_receive(Client *client, Bytes bytes, Error *error);

// ---- Events -------------------------------------------------------------------------------------

typedef enum ClientEventKind {
    CLIENT_RESULT,  // of a call
    CLIENT_REFUSED, // a call got an error: `error`, retry_after_ms
    CLIENT_TOKEN,
    CLIENT_DONE,
    CLIENT_GOODBYE, // the server closes: `error`
} ClientEventKind;

typedef struct ClientPiece { // of a token event, or of a sample in done
    Bytes text, thoughts;
    const msgpack_object *logprobs; // array of map, or NULL
    uint32_t id_count;
} ClientPiece;

typedef struct ClientSample {
    Bytes reason;
    uint32_t token_count, cached_tokens;
    ClientPiece piece; // empty for streams
} ClientSample;

typedef struct ClientUsage {
    uint64_t prompt_tokens, image_tokens, cached_tokens, output_tokens;
} ClientUsage;

// Views are valid until the next client_next.
typedef struct ClientEvent {
    ClientEventKind kind;
    uint32_t call;                          // RESULT, REFUSED
    Method method;                          // of the call
    const msgpack_object *result;           // RESULT
    uint64_t stream;                        // RESULT of generate; TOKEN, DONE
    uint32_t index;                         // TOKEN
    ClientPiece piece;                      // TOKEN
    ClientSample samples[CALL_SAMPLES_MAX]; // DONE
    uint32_t sample_count;
    ClientUsage usage;
    double total_ms;
    Error error; // REFUSED, GOODBYE, and DONE with an error; else status OK
    uint32_t retry_after_ms;
} ClientEvent;

// The next event, or false. An event the server made wrongly is an error: E_MESSAGE in *status.
bool client_next(Client *client, ClientEvent *event, Status *status, Error *error);

// ---- Reading results ----------------------------------------------------------------------------

typedef struct ClientModel { // of `models`, the first; views
    Bytes name, identity, weights, activations, kv;
    uint32_t context, images, budget;
    bool vision;
    CallSampling sampling;
} ClientModel;
Status client_read_model(const msgpack_object *result, ClientModel *out, Error *error);

typedef struct ClientHello {
    uint32_t in_flight, credit;
    uint64_t message_bytes;
    Bytes server, user;
} ClientHello;
Status client_read_hello(const msgpack_object *result, ClientHello *out, Error *error);

// Of `stats`. At most `users_max` users, their names as views; what a server of another version
// does not tell is 0.
Status client_read_stats(const msgpack_object *result, ServerStats *server, UserRow *users,
                         uint32_t users_max, uint32_t *user_count, Error *error);

#endif
