// SPDX-License-Identifier: Apache-2.0
#include "host/remote.h"

#include "base/check.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

const char *remote_address(const Options *options) {
    const char *given = options->values[OPT_SERVER].text;
    const char *set = getenv("TESSERA_SERVER");
    return given != NULL                   ? given
           : set != NULL && set[0] != '\0' ? set
                                           : "unix:/run/tessera/tessera.sock";
}

// The token as one line, from the file or the environment; empty: none.
static Status remote_read_token(const Options *options, Buffer *out, Error *error) {
    const char *path = options->values[OPT_TOKEN_FILE].text;
    if (path == NULL) {
        const char *set = getenv("TESSERA_TOKEN");
        buffer_append_text(out, set != NULL ? set : "");
        return OK;
    }
    TRY(file_read(path, 4096, out, error));
    while (out->length > 0 && strchr(" \t\r\n", out->data[out->length - 1]) != NULL) {
        out->length--;
    }
    if (out->length == 0 || out->length > CALL_TOKEN_BYTES_MAX ||
        memchr(out->data, '\n', out->length) != NULL) {
        return error_set(error, E_ARGUMENT, "%s: does not hold one line with a token", path);
    }
    return OK;
}

// The next event that answers `call`.
static Status remote_wait(Remote *remote, uint32_t call, ClientEvent *event, Error *error) {
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
        TRY(socket_pump(&remote->socket, remote->client, -1, error));
    }
}

Status remote_call(Remote *remote, Method method, ClientEvent *event, Error *error) {
    Status status = remote_wait(remote, client_call(remote->client, method), event, error);
    return status == OK ? OK : error_prefix(error, status, "%s", remote->address);
}

static Status remote_hello(const Options *options, Remote *remote, Error *error) {
    TRY(socket_connect(remote->address, &remote->socket, error));
    TRY(client_open(&remote->client, error));
    Buffer token = {0};
    Status status = remote_read_token(options, &token, error);
    if (status == OK) {
        ClientEvent event;
        uint32_t call = client_hello(remote->client, (Bytes){token.data, token.length},
                                     "tessera " TESSERA_VERSION);
        status = remote_wait(remote, call, &event, error);
        ClientHello hello;
        if (status == OK) {
            status = client_read_hello(event.result, &hello, error);
        }
        if (status != OK) {
            error_prefix(error, status, "%s", remote->address);
        } else {
            remote->in_flight = hello.in_flight;
            remote->message_bytes = hello.message_bytes;
        }
    }
    buffer_free(&token);
    return status;
}

Status remote_open(const Options *options, Remote *out, Error *error) {
    *out = (Remote){.address = remote_address(options), .socket.fd = -1};
    Status status = remote_hello(options, out, error);
    if (status != OK) {
        remote_close(out);
    }
    return status;
}

// What is decided where the model runs.
static Status remote_check_options(const Options *options, Error *error) {
    static const OptionId local[] = {OPT_MODEL,       OPT_WEIGHTS, OPT_GROUP,  OPT_ACTIVATIONS,
                                     OPT_KV,          OPT_CONTEXT, OPT_MEMORY, OPT_DEVICE,
                                     OPT_STEP_TOKENS, OPT_ISA,     OPT_THREADS};
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++) {
        if (options->values[local[i]].given) {
            return error_set(error, E_ARGUMENT,
                             "--%s says how a model is run here; with --server the server decides",
                             option_rows[local[i]].name);
        }
    }
    return OK;
}

Status remote_open_model(const Options *options, Remote *out, ModelFacts *model, Error *error) {
    ClientEvent event;
    ClientModel there;
    TRY(remote_check_options(options, error));
    TRY(remote_open(options, out, error));
    TRY(remote_call(out, METHOD_MODELS, &event, error));
    TRY(client_read_model(event.result, &there, error));
    *model = model_facts_there(&there);
    return OK;
}

void remote_close(Remote *remote) {
    client_close(remote->client);
    socket_close(&remote->socket);
    *remote = (Remote){.socket.fd = -1};
}
