// SPDX-License-Identifier: Apache-2.0
// Addresses to listen on.
#ifndef HOST_SERVER_ADDRESS_H
#define HOST_SERVER_ADDRESS_H

#include "base/status.h"

#include <sys/socket.h>
#include <uv.h>

// "HOST:PORT" or "[IPV6]:PORT"; HOST is a number or localhost, port 0 takes a free one. E_ARGUMENT.
Status address_parse(const char *text, struct sockaddr_storage *out, Error *error);
bool address_is_loopback(const struct sockaddr_storage *address);
void address_text(const struct sockaddr_storage *address, char out[64]); // as it is parsed

// Makes the place for a Unix socket free: a socket nobody listens on any more is removed.
// E_ARGUMENT (too long, or something else is there), E_BUSY (a server listens on it), E_IO.
Status address_free_path(const char *path, Error *error);

#endif
