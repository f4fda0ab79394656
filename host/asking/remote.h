// SPDX-License-Identifier: Apache-2.0
// A command's connection to a running server: where it is, who asks, and calls that wait for their
// answer.
#ifndef HOST_ASKING_REMOTE_H
#define HOST_ASKING_REMOTE_H

#include "host/asking/model_facts.h"
#include "rpc/calls.h"
#include "rpc/client/socket.h"

enum { REMOTE_ANSWER_S = 10 }; // a server answers these calls at once

typedef struct RemoteTarget {
    const char *address;
    uint8_t token[CALL_TOKEN_BYTES_MAX];
    size_t token_length; // 0: none
    uint64_t until_ns;   // on clock_ns: no answer is waited for any longer; 0: no such time
} RemoteTarget;

typedef struct Remote {
    const char *address;
    uint64_t until_ns; // as the target has it
    Socket socket;
    Client *client;
    uint32_t in_flight;     // most calls and streams at a time
    uint64_t message_bytes; // most of one message
} Remote;

// Connects and says hello. E_LOST: nobody is there, or nobody answers within REMOTE_ANSWER_S;
// E_CANCELLED: interrupted. The error names the address.
Status remote_open(const RemoteTarget *target, Remote *out, Error *error);
// The same, and asks about its model.
Status remote_open_model(const RemoteTarget *target, Remote *out, ModelFacts *model, Error *error);
void remote_close(Remote *remote);

// Makes a call without parameters and waits for its result, as long as for that of hello; `event`
// is valid until the next call.
Status remote_call(Remote *remote, Method method, ClientEvent *event, Error *error);

#endif
