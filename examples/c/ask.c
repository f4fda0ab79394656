// SPDX-License-Identifier: Apache-2.0
// Asks a running `tessera serve` one question, about a picture if there is one, and prints the
// answer as it comes. With the library installed (`cmake --install build/release`):
//
//     cc -std=c17 ask.c -o ask $(pkg-config --cflags --libs tessera-client)
//     ./ask unix:/run/tessera/tessera.sock "What is this?" picture.jpg
#include "base/check.h"
#include "base/file.h"
#include "rpc/client/socket.h"

#include <stdio.h>
#include <stdlib.h>

// Reads events until the answer is whole. OK also for an answer that ended early, for its reason.
static Status listen_to(Socket *socket, Client *client, Error *error) {
    Status status = OK;
    ClientEvent event;
    for (;;) {
        while (client_next(client, &event, &status, error)) {
            if (event.kind == CLIENT_TOKEN) {
                fwrite(event.piece.text.data, 1, event.piece.text.length, stdout);
            } else if (event.kind != CLIENT_RESULT) { // done, refused or goodbye
                putchar('\n');
                *error = event.error;
                return event.error.status;
            }
        }
        TRY(status);
        TRY(socket_pump(socket, client, -1, error));
    }
}

static Status ask(char **arguments, Bytes picture, Error *error) {
    Socket socket;
    Client *client;
    TRY(socket_connect(arguments[1], &socket, error));
    Status status = client_open(&client, error);
    if (status == OK) {
        const char *token = getenv("TESSERA_TOKEN");
        client_hello(client, bytes_of_text(token != NULL ? token : ""), "ask.c");
        CallMessage messages[2];
        CallPart parts[3];
        GenerateCall call = generate_question((Bytes){0}, bytes_of_text(arguments[2]), &picture,
                                              picture.length > 0, messages, parts);
        call.max_tokens = 200;
        call.stream = true;
        client_generate(client, &call);
        status = listen_to(&socket, client, error);
        client_close(client);
    }
    socket_close(&socket);
    return status;
}

int main(int count, char **arguments) {
    enum { PICTURE_BYTES_MAX = 30 << 20 };
    Error error = {0};
    Buffer picture = {0};
    if (count != 3 && count != 4) {
        fprintf(stderr, "usage: %s ADDRESS QUESTION [PICTURE]\n", arguments[0]);
        return 2;
    }
    Status status = count == 4 ? file_read(arguments[3], PICTURE_BYTES_MAX, &picture, &error) : OK;
    if (status == OK) {
        status = ask(arguments, (Bytes){picture.data, picture.length}, &error);
    }
    buffer_free(&picture);
    if (status != OK) {
        fprintf(stderr, "%s: %s\n", status_name(status), error.text);
    }
    return status == OK ? 0 : 1;
}
