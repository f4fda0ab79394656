// SPDX-License-Identifier: Apache-2.0
#include "host/asking/remote.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "host/interrupt.h"

enum { REMOTE_LOOK_MS = 100 }; // how soon an interruption is noticed

static bool remote_wanted(void) {
    return !interrupt_asked();
}

static uint64_t remote_limit_ns(const Remote *remote) {
    uint64_t limit_ns = clock_ns() + (uint64_t)REMOTE_ANSWER_S * 1000000000;
    return remote->until_ns != 0 ? num_min(limit_ns, remote->until_ns) : limit_ns;
}

static Status remote_pump(Remote *remote, uint64_t until_ns, Error *error) {
    if (interrupt_asked()) {
        return error_set(error, E_CANCELLED, "interrupted");
    }
    if (clock_ns() >= until_ns) {
        return error_set(error, E_LOST,
                         "the connection stands, but nothing was answered within %d s; see whether "
                         "a tessera server listens there and whether it hangs, or name another "
                         "with --server",
                         REMOTE_ANSWER_S);
    }
    return socket_pump(&remote->socket, remote->client, REMOTE_LOOK_MS, error);
}

// The next event that answers `call`.
static Status remote_wait(Remote *remote, uint32_t call, ClientEvent *event, Error *error) {
    uint64_t until_ns = remote_limit_ns(remote);
    for (;;) {
        Status status = OK;
        while (client_next(remote->client, event, &status, error)) {
            if (event->kind == CLIENT_GOODBYE) {
                return error_set(error, event->error.status, "%s", event->error.text);
            }
            if (event->call == call && event->kind == CLIENT_REFUSED) {
                return error_set(error, event->error.status, "%s", event->error.text);
            }
            if (event->call == call && event->kind == CLIENT_RESULT) {
                return OK;
            }
        }
        TRY(status);
        TRY(remote_pump(remote, until_ns, error));
    }
}

Status remote_call(Remote *remote, Method method, ClientEvent *event, Error *error) {
    Status status = remote_wait(remote, client_call(remote->client, method), event, error);
    return status == OK ? OK : error_prefix(error, status, "%s", remote->address);
}

static Status remote_hello(const RemoteTarget *target, Remote *remote, Error *error) {
    ClientEvent event;
    ClientHello hello;
    uint32_t call = client_hello(remote->client, (Bytes){target->token, target->token_length},
                                 "tessera " TESSERA_VERSION);
    TRY(remote_wait(remote, call, &event, error));
    TRY(client_read_hello(event.result, &hello, error));
    remote->in_flight = hello.in_flight;
    remote->message_bytes = hello.message_bytes;
    return OK;
}

Status remote_open(const RemoteTarget *target, Remote *out, Error *error) {
    *out = (Remote){.address = target->address, .until_ns = target->until_ns, .socket.fd = -1};
    Status status = socket_connect_while(out->address, remote_wanted, &out->socket, error);
    if (status == OK) {
        status = client_open(&out->client, error);
    }
    if (status == OK) {
        status = remote_hello(target, out, error);
        if (status != OK) {
            error_prefix(error, status, "%s", out->address);
        }
    }
    if (status != OK) {
        remote_close(out);
    }
    return status;
}

Status remote_open_model(const RemoteTarget *target, Remote *out, ModelFacts *model, Error *error) {
    ClientEvent event;
    ClientModel there;
    TRY(remote_open(target, out, error));
    TRY(remote_call(out, METHOD_MODELS, &event, error));
    TRY(client_read_model(event.result, &there, error));
    *model = model_facts_remote(&there);
    return OK;
}

void remote_close(Remote *remote) {
    client_close(remote->client);
    socket_close(&remote->socket);
    *remote = (Remote){.socket.fd = -1};
}
