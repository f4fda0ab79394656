// SPDX-License-Identifier: Apache-2.0
// A client's connection: a Unix or TCP socket that carries a Client's bytes both ways. The only
// file of rpc/ with a socket. Addresses: "unix:PATH" or anything with a '/' is a Unix socket;
// "HOST:PORT" and "[IPV6]:PORT" are TCP.
#ifndef RPC_CLIENT_SOCKET_H
#define RPC_CLIENT_SOCKET_H

#include "rpc/client/client.h"

enum { SOCKET_CONNECT_S = 10 };

typedef struct Socket {
    int fd; // -1 = none
} Socket;

// Whether the address is written rightly; asks nobody. E_ARGUMENT.
Status socket_check(const char *address, Error *error);

// E_ARGUMENT (the address), E_LOST (nobody listens there, or no connection was made within
// SOCKET_CONNECT_S).
Status socket_connect(const char *address, Socket *out, Error *error);
// The same. Asks again and again whether the connection is still wanted; E_CANCELLED when not.
Status socket_connect_while(const char *address, bool (*wanted)(void), Socket *out, Error *error);
void socket_close(Socket *socket);

// Writes and reads what can be at once; waits up to `wait_ms` (-1: for ever) when neither can.
// E_LOST when the server has gone, client_receive's errors. An interrupted wait is no error.
Status socket_pump(Socket *socket, Client *client, int wait_ms, Error *error);

#endif
