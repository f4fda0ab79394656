// SPDX-License-Identifier: Apache-2.0
// A command's connection to a running server: where it is (--server, else the environment variable
// TESSERA_SERVER, else the place the shipped unit uses), who asks (--token-file, else
// TESSERA_TOKEN), and calls that wait for their answer. A token is never an argument: other users
// see those.
#ifndef HOST_REMOTE_H
#define HOST_REMOTE_H

#include "host/model_facts.h"
#include "host/options.h"
#include "rpc/client/socket.h"

typedef struct Remote {
    const char *address;
    Socket socket;
    Client *client;
    uint32_t in_flight;     // most calls and streams at a time
    uint64_t message_bytes; // most of one message
} Remote;

const char *remote_address(const Options *options);

// Connects and says hello. The error names the address.
Status remote_open(const Options *options, Remote *out, Error *error);
// The same, and asks about its model. E_ARGUMENT: an option that only the server can decide is
// given.
Status remote_open_model(const Options *options, Remote *out, ModelFacts *model, Error *error);
void remote_close(Remote *remote);

// Makes a call without parameters and waits for its result; `event` is valid until the next call.
Status remote_call(Remote *remote, Method method, ClientEvent *event, Error *error);

#endif
