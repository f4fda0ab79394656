// SPDX-License-Identifier: Apache-2.0
#include "host/server/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Status address_refuse(const char *text, Error *error) {
    return error_set(error, E_ARGUMENT,
                     "--listen: '%s' is not HOST:PORT with HOST a number such as 127.0.0.1 or "
                     "[::1], or localhost, and PORT from 0 to 65535",
                     text);
}

Status address_parse(const char *text, struct sockaddr_storage *out, Error *error) {
    char host[64];
    const char *colon = strrchr(text, ':');
    size_t length = colon != NULL ? (size_t)(colon - text) : 0;
    if (length == 0 || length >= sizeof host || colon[1] < '0' || colon[1] > '9') {
        return address_refuse(text, error);
    }
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (*end != '\0' || port > 65535) {
        return address_refuse(text, error);
    }
    memcpy(host, text, length);
    host[length] = '\0';
    *out = (struct sockaddr_storage){0};
    int result;
    if (host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0';
        result = uv_ip6_addr(host + 1, (int)port, (struct sockaddr_in6 *)out);
    } else {
        const char *number = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
        result = uv_ip4_addr(number, (int)port, (struct sockaddr_in *)out);
    }
    return result == 0 ? OK : address_refuse(text, error);
}

bool address_is_loopback(const struct sockaddr_storage *address) {
    if (address->ss_family == AF_INET6) {
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
    }
    return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
}

void address_text(const struct sockaddr_storage *address, char out[64]) {
    char host[46];
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        snprintf(out, 64, "[%s]:%u", host, ntohs(six->sin6_port));
    } else {
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        snprintf(out, 64, "%s:%u", host, ntohs(four->sin_port));
    }
}
