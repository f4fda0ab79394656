// SPDX-License-Identifier: Apache-2.0
// The server as a process: sockets, timers and signals on one libuv loop, which drives the service;
// prep threads and the step thread beside it. server.c is the only file of the host that listens or
// accepts.
//
//   sockets -> loop thread (service) -> prep threads -> loop thread -> step thread -> loop thread
//
// Opened before a model: what the options name is judged and taken (addresses, users, files) while
// it costs nothing yet, and a second server at the same place ends there.
//
// SIGTERM and SIGINT: stop listening, let what runs finish (until drain_ms), say goodbye, write
// what is left, end. A second one: end what runs at once. SIGHUP: read the users file again. What
// they do earlier: signals.h.
#ifndef HOST_SERVER_SERVER_H
#define HOST_SERVER_SERVER_H

#include "host/runtime/runtime.h"
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
    uint32_t connections_max;
} ServerOptions;

typedef struct Server Server;

// The texts of `options` are borrowed. E_ARGUMENT, E_IO (addresses, files), E_BUSY (another server
// has the socket), E_USERS, E_MEMORY.
Status server_open(const ServerOptions *options, Server **out, Error *error);

// Serves until a signal ends it or the engine fails; once. `runtime` is started; `service` without
// connections_max, work_max, running_max and ports, which are filled here. OK after a clean drain;
// E_IO, E_MEMORY; E_DEVICE after an engine failure, when everybody has had an answer.
Status server_run(Server *server, Runtime *runtime, const ServiceOptions *service, Error *error);

void server_close(Server *server); // before the runtime; NULL is fine

#endif
