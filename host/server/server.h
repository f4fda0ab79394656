// SPDX-License-Identifier: Apache-2.0
// The server as a process: sockets, timers and signals on one libuv loop, which drives the service;
// prep threads and the step thread beside it. server.c is the only file of the host that listens or
// accepts.
//
//   sockets -> loop thread (service) -> prep threads -> loop thread -> step thread -> loop thread
//
// SIGTERM and SIGINT: stop listening, let what runs finish (until drain_ms), say goodbye, write
// what is left, end. A second one: end what runs at once. SIGHUP: read the users file again.
#ifndef HOST_SERVER_SERVER_H
#define HOST_SERVER_SERVER_H

#include "host/boot.h"
#include "host/server/service.h"

// Threads that compute stand back behind the loop (base/niceness.h), which has little to do and is
// waited for by everybody: a refusal must not wait for a slice of a step.
enum { SERVER_NICENESS = 5 };

typedef struct ServerOptions {
    const char *socket_path; // NULL = no Unix socket
    uint32_t socket_mode;    // permissions, as 0600
    const char *listen;      // "HOST:PORT", "[IPV6]:PORT"; NULL = no TCP
    const char *users_path;  // NULL = everybody is one user without limits
    bool metrics;            // HTTP on 127.0.0.1
    uint16_t metrics_port;
    const char *metrics_file; // NULL = none; written every few seconds
    uint32_t prep_threads;
    uint32_t drain_ms;
    ServiceOptions service; // work_max, running_max and ports are filled here
} ServerOptions;

// Serves until a signal ends it or the engine fails. `runtime` is started. OK after a clean drain;
// E_ARGUMENT, E_IO (addresses), E_USERS; E_DEVICE after an engine failure, when everybody has had
// an answer.
Status server_run(Runtime *runtime, const ServerOptions *options, Error *error);

#endif
