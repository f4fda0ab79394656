// SPDX-License-Identifier: Apache-2.0
#include "rpc/client/socket.h"

#include "base/check.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    SOCKET_READ_BYTES = 64 * 1024,
    SOCKET_HOST_MAX = 256,
    SOCKET_LOOK_US = 100000, // how soon a connect notices that nobody wants it any more
};

static Status socket_unreachable(const char *address, Error *error) {
    if (errno == ECANCELED) {
        return error_set(error, E_CANCELLED, "%s: connecting was given up", address);
    }
    return error_set(error, E_LOST,
                     "%s: no server answers there (%s); start one with "
                     "`tessera serve`, or name another with --server",
                     address, strerror(errno));
}

// An address taken apart.
typedef struct Address {
    const char *text;             // as it was given
    struct sockaddr_un unix_name; // sun_path is empty for TCP
    char host[SOCKET_HOST_MAX];   // without brackets
    const char *port;             // decimal digits
} Address;

static Status address_unix(const char *path, Address *out, Error *error) {
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof out->unix_name.sun_path) {
        return error_set(error, E_ARGUMENT, "%s: the path of a Unix socket has 1 to %zu bytes",
                         out->text, sizeof out->unix_name.sun_path - 1);
    }
    out->unix_name.sun_family = AF_UNIX;
    memcpy(out->unix_name.sun_path, path, length + 1);
    return OK;
}

static bool address_is_port(const char *text) {
    size_t length = strlen(text);
    return length > 0 && length <= 5 && strspn(text, "0123456789") == length &&
           strtoul(text, NULL, 10) - 1 < UINT16_MAX;
}

// Splits HOST:PORT; the host may stand in brackets.
static Status address_tcp(const char *text, Address *out, Error *error) {
    const char *colon = strrchr(text, ':');
    size_t length = colon != NULL ? (size_t)(colon - text) : 0;
    bool bracketed = length >= 2 && text[0] == '[' && text[length - 1] == ']';
    const char *begin = bracketed ? text + 1 : text;
    length -= bracketed ? 2 : 0;
    if (length == 0 || length >= SOCKET_HOST_MAX || !address_is_port(colon + 1) ||
        (!bracketed && memchr(begin, ':', length) != NULL)) {
        return error_set(error, E_ARGUMENT,
                         "'%s' is no address; it is unix:PATH, HOST:PORT or [IPV6]:PORT with a "
                         "port from 1 to 65535",
                         text);
    }
    memcpy(out->host, begin, length);
    out->host[length] = '\0';
    out->port = colon + 1;
    return OK;
}

static Status address_parse(const char *text, Address *out, Error *error) {
    *out = (Address){.text = text};
    if (strncmp(text, "unix:", 5) == 0) {
        return address_unix(text + 5, out, error);
    }
    return strchr(text, '/') != NULL ? address_unix(text, out, error)
                                     : address_tcp(text, out, error);
}

Status socket_check(const char *address, Error *error) {
    Address parts;
    return address_parse(address, &parts, error);
}

// Over TCP the same connect goes on (EINPROGRESS, then EALREADY), over a Unix socket it is begun
// again (EAGAIN: the queue is full). A signal ends the wait, not the connect.
static bool connect_waits(void) {
    return errno == EINPROGRESS || errno == EALREADY || errno == EAGAIN || errno == EINTR;
}

// A machine that is off answers nothing, and a server that hangs accepts nothing. With a time to
// send, a connect ends then and can be called again.
static int connect_within(int fd, const struct sockaddr *name, socklen_t size,
                          bool (*wanted)(void)) {
    const struct timeval look = {.tv_usec = SOCKET_LOOK_US};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &look, sizeof look);
    uint64_t until_ns = clock_ns() + (uint64_t)SOCKET_CONNECT_S * 1000000000;
    while (connect(fd, name, size) != 0) {
        if (!connect_waits()) {
            return -1;
        }
        if (wanted != NULL && !wanted()) {
            errno = ECANCELED;
            return -1;
        }
        if (clock_ns() >= until_ns) {
            errno = ETIMEDOUT;
            return -1;
        }
    }
    return 0;
}

static Status connect_unix(const Address *address, bool (*wanted)(void), Socket *out,
                           Error *error) {
    const struct sockaddr_un *name = &address->unix_name;
    out->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (out->fd < 0 ||
        connect_within(out->fd, (const struct sockaddr *)name, sizeof *name, wanted) != 0) {
        return socket_unreachable(address->text, error);
    }
    return OK;
}

static Status connect_tcp(const Address *address, bool (*wanted)(void), Socket *out, Error *error) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int fault = getaddrinfo(address->host, address->port, &hints, &list);
    if (fault != 0) {
        return error_set(error, E_LOST, "%s: %s", address->text, gai_strerror(fault));
    }
    errno = 0;
    for (const struct addrinfo *at = list; at != NULL && out->fd < 0 && errno != ECANCELED;
         at = at->ai_next) {
        out->fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
        if (out->fd >= 0 && connect_within(out->fd, at->ai_addr, at->ai_addrlen, wanted) != 0) {
            int why = errno;
            socket_close(out);
            errno = why;
        }
    }
    freeaddrinfo(list);
    if (out->fd < 0) {
        return socket_unreachable(address->text, error);
    }
    int on = 1;
    setsockopt(out->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return OK;
}

Status socket_connect(const char *address, Socket *out, Error *error) {
    return socket_connect_while(address, NULL, out, error);
}

Status socket_connect_while(const char *address, bool (*wanted)(void), Socket *out, Error *error) {
    out->fd = -1;
    Address parts;
    TRY(address_parse(address, &parts, error));
    Status status = parts.unix_name.sun_path[0] != '\0' ? connect_unix(&parts, wanted, out, error)
                                                        : connect_tcp(&parts, wanted, out, error);
    if (status == OK) {
        fcntl(out->fd, F_SETFL, fcntl(out->fd, F_GETFL) | O_NONBLOCK);
    } else {
        socket_close(out);
    }
    return status;
}

void socket_close(Socket *socket) {
    if (socket->fd >= 0) {
        close(socket->fd);
    }
    socket->fd = -1;
}

static Status socket_lost(Error *error) {
    return error_set(error, E_LOST, "the connection to the server was lost");
}

static bool is_transient(void) {
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static Status pump_write(const Socket *socket, Client *client, Error *error) {
    Bytes out = client_output(client);
    if (out.length == 0) {
        return OK;
    }
    ssize_t count = send(socket->fd, out.data, out.length, MSG_NOSIGNAL);
    if (count < 0 && !is_transient()) {
        return socket_lost(error);
    }
    client_written(client, count > 0 ? (size_t)count : 0);
    return OK;
}

static Status pump_read(const Socket *socket, Client *client, Error *error) {
    uint8_t bytes[SOCKET_READ_BYTES];
    ssize_t count = recv(socket->fd, bytes, sizeof bytes, 0);
    if (count > 0) {
        return client_receive(client, (Bytes){bytes, (size_t)count}, error);
    }
    return count < 0 && is_transient() ? OK : socket_lost(error);
}

Status socket_pump(Socket *socket, Client *client, int wait_ms, Error *error) {
    bool writes = client_output(client).length > 0;
    struct pollfd wanted = {.fd = socket->fd, .events = (short)(POLLIN | (writes ? POLLOUT : 0))};
    if (poll(&wanted, 1, wait_ms) <= 0) {
        return OK;
    }
    // Reading first: what the server said before it went away is not lost to a failing write.
    if (wanted.revents & (POLLIN | POLLHUP | POLLERR)) {
        TRY(pump_read(socket, client, error));
    }
    return wanted.revents & POLLOUT ? pump_write(socket, client, error) : OK;
}
