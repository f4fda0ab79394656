// SPDX-License-Identifier: Apache-2.0
// The C client against a server that says anything: calls 1 to 4 are open, so that results of every
// kind can come, and what comes is read as the commands read it.
#include "base/check.h"
#include "rpc/client/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_result(const ClientEvent *event) {
    ClientHello hello;
    ClientModel model;
    if (event->kind == CLIENT_RESULT && event->method == METHOD_HELLO) {
        (void)client_read_hello(event->result, &hello, NULL);
    }
    if (event->kind == CLIENT_RESULT && event->method == METHOD_MODELS) {
        (void)client_read_model(event->result, &model, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Client *client;
    Error error;
    if (client_open(&client, &error) != OK) {
        return 0;
    }
    CallMessage messages[2];
    CallPart parts[2];
    const GenerateCall call =
        generate_question((Bytes){0}, bytes_of_text("hi"), NULL, 0, messages, parts);
    client_hello(client, (Bytes){0}, "fuzz");
    client_generate(client, &call);
    client_call(client, METHOD_MODELS);
    client_call(client, METHOD_STATS);
    client_written(client, client_output(client).length);
    Status status = OK;
    for (size_t at = 0; at < size && status == OK;) {
        size_t count = data[at] % 16 + 1u;
        count = count < size - at ? count : size - at;
        status = client_receive(client, (Bytes){data + at, count}, &error);
        at += count;
        ClientEvent event;
        while (status == OK && client_next(client, &event, &status, &error)) {
            read_result(&event);
        }
    }
    REQUIRE(status == OK || status == E_MESSAGE || status == E_MESSAGE_LIMIT);
    client_close(client);
    return 0;
}
