// SPDX-License-Identifier: Apache-2.0
// Addresses to listen on over TCP.
#ifndef HOST_SERVER_ADDRESS_H
#define HOST_SERVER_ADDRESS_H

#include "base/status.h"

#include <sys/socket.h>
#include <uv.h>

// "HOST:PORT" or "[IPV6]:PORT"; HOST is a number or localhost, port 0 takes a free one. E_ARGUMENT.
Status address_parse(const char *text, struct sockaddr_storage *out, Error *error);
bool address_is_loopback(const struct sockaddr_storage *address);
void address_text(const struct sockaddr_storage *address, char out[64]); // as it is parsed

#endif
