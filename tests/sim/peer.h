// SPDX-License-Identifier: Apache-2.0
// A client of the simulated server, on bytes: writes calls, reads what comes and holds the server
// to the protocol: one answer per call, for an accepted generate any number of token events in
// order and then exactly one done, nothing after that. Written from rpc/spec.md, not from the
// session.
#ifndef TESTS_SIM_PEER_H
#define TESTS_SIM_PEER_H

#include "base/bytes.h"
#include "rpc/frame.h"
#include "rpc/msg.h"

enum { PEER_STREAMS = 24, PEER_SAMPLES = 3, PEER_TOKENS = 64 };

typedef enum PeerStreamState {
    PEER_UNUSED,
    PEER_ASKED,
    PEER_OPEN,
    PEER_DONE,
    PEER_REFUSED
} PeerStreamState;
typedef enum PeerReason {
    PEER_STOP,
    PEER_LENGTH,
    PEER_CANCEL,
    PEER_DEADLINE,
    PEER_ERROR,
    PEER_REASONS
} PeerReason;

typedef struct PeerSample {
    PeerReason reason;
    uint32_t id_count;
    int32_t ids[PEER_TOKENS];
    uint64_t next_seq;
} PeerSample;

typedef struct PeerStream {
    PeerStreamState state;
    uint32_t call;   // id of its request
    uint32_t marker; // the number in its prompt
    uint64_t id;     // of the stream
    bool streams, cancelled, has_deadline;
    uint32_t sample_count;
    PeerSample samples[PEER_SAMPLES];
    int64_t error; // code of the refusal or of done's error; 0 = none
    bool has_error_retry;
} PeerStream;

typedef struct Peer {
    Buffer out; // to be sent
    Buffer in;  // arrived and not yet understood
    Frame frame;
    uint32_t next_call;
    uint32_t hello_call;
    bool greeted; // hello was answered well
    int64_t hello_error;
    int64_t goodbye;      // code of the goodbye; 0 = none came
    uint32_t plain_open;  // calls other than generate without an answer
    uint64_t credit_owed; // token events read and not paid for
    PeerStream streams[PEER_STREAMS];
} Peer;

typedef struct PeerAsk {
    uint32_t marker;
    const char *text;
    Bytes image; // length 0: none
    uint32_t max_tokens, samples, deadline_ms;
    uint64_t seed;
    bool streams, batch;
} PeerAsk;

void peer_open(Peer *peer);
void peer_close(Peer *peer);

void peer_hello(Peer *peer, const char *token); // NULL: no token
// False when all streams are in use.
bool peer_generate(Peer *peer, const PeerAsk *ask);
void peer_cancel(Peer *peer, uint64_t stream);
void peer_credit(Peer *peer, uint64_t stream, uint32_t count);
void peer_plain(Peer *peer, const char *method); // without parameters: stats, models, health

void peer_receive(Peer *peer, Bytes bytes);
uint32_t peer_pending(const Peer *peer); // generate calls not done and not refused

#endif
