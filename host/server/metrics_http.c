// SPDX-License-Identifier: Apache-2.0
#include "host/server/metrics_http.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

// FREE -> READING -> ANSWERED (what still comes is thrown away until the peer closes, so that
// closing does not destroy an answer under way) -> CLOSING -> FREE.
typedef enum PeerState { PEER_FREE, PEER_READING, PEER_ANSWERED, PEER_CLOSING } PeerState;

typedef struct Peer {
    MetricsHttp *http;
    PeerState state;
    uint32_t handles; // not yet closed
    uv_tcp_t socket;
    uv_timer_t timer;
    uv_write_t write;
    uv_shutdown_t shutdown;
    Buffer answer;
    size_t length;
    char request[METRICS_HTTP_REQUEST];
} Peer;

struct MetricsHttp {
    MetricsPages pages;
    uv_tcp_t listener;
    uint16_t port;
    bool closing;
    bool waiting;  // a connection is there and no place for it
    uint32_t open; // peers not FREE, and 1 for the listener
    Peer peers[METRICS_HTTP_CONNECTIONS];
};

static void http_release(MetricsHttp *http) {
    if (--http->open == 0) {
        free(http);
    }
}

static void http_on_connection(uv_stream_t *listener, int status);

static void peer_on_closed(uv_handle_t *handle) {
    Peer *peer = handle->data;
    MetricsHttp *http = peer->http;
    if (--peer->handles > 0) {
        return;
    }
    buffer_free(&peer->answer);
    peer->state = PEER_FREE;
    if (http->waiting && !http->closing) {
        http_on_connection((uv_stream_t *)&http->listener, 0);
    }
    http_release(http);
}

static void peer_close(Peer *peer) {
    if (peer->state != PEER_CLOSING) {
        peer->state = PEER_CLOSING;
        uv_close((uv_handle_t *)&peer->socket, peer_on_closed);
        uv_close((uv_handle_t *)&peer->timer, peer_on_closed);
    }
}

static void peer_on_timeout(uv_timer_t *timer) {
    peer_close(timer->data);
}

static void peer_on_shutdown(uv_shutdown_t *request, int status) {
    if (status < 0) {
        peer_close(request->data);
    }
}

static void peer_on_written(uv_write_t *request, int status) {
    Peer *peer = request->data;
    if (peer->state != PEER_ANSWERED) {
        return;
    }
    peer->shutdown.data = peer;
    if (status < 0 ||
        uv_shutdown(&peer->shutdown, (uv_stream_t *)&peer->socket, peer_on_shutdown) < 0) {
        peer_close(peer);
    }
}

static void peer_answer(Peer *peer, const char *status, const char *type, const Buffer *body,
                        bool with_body) {
    Buffer *answer = &peer->answer;
    buffer_printf(answer,
                  "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                  "Allow: GET, HEAD\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
                  status, type, body->length);
    if (with_body) {
        buffer_append(answer, body->data, body->length);
    }
    peer->state = PEER_ANSWERED;
    if (answer->failed || body->failed) {
        peer_close(peer);
        return;
    }
    uv_buf_t bytes = {.base = (char *)answer->data, .len = answer->length};
    peer->write.data = peer;
    if (uv_write(&peer->write, (uv_stream_t *)&peer->socket, &bytes, 1, peer_on_written) < 0) {
        peer_close(peer);
    }
}

static void peer_refuse(Peer *peer, const char *status) {
    Buffer body = {0};
    buffer_printf(&body, "%s\n", status);
    peer_answer(peer, status, "text/plain; charset=utf-8", &body, true);
    buffer_free(&body);
}

static void peer_serve(Peer *peer, const char *path, bool with_body) {
    const MetricsPages *pages = &peer->http->pages;
    Buffer body = {0};
    if (strcmp(path, "/metrics") == 0) {
        pages->metrics(pages->context, &body);
        peer_answer(peer, "200 OK", "text/plain; version=0.0.4; charset=utf-8", &body, with_body);
    } else if (strcmp(path, "/health") == 0) {
        bool healthy = pages->health(pages->context, &body);
        peer_answer(peer, healthy ? "200 OK" : "503 Service Unavailable",
                    "text/plain; charset=utf-8", &body, with_body);
    } else {
        peer_refuse(peer, "404 Not Found");
    }
    buffer_free(&body);
}

// Reads "METHOD /path?query HTTP/1.x" from a request whose head is whole (RFC 9112, section 3).
static void peer_dispatch(Peer *peer) {
    char *line = peer->request;
    line[strcspn(line, "\r\n")] = '\0';
    char *path = strchr(line, ' ');
    char *version = path != NULL ? strchr(path + 1, ' ') : NULL;
    if (version == NULL || path[1] != '/' || strncmp(version, " HTTP/1.", 8) != 0) {
        peer_refuse(peer, "400 Bad Request");
        return;
    }
    *path++ = '\0';
    *version = '\0';
    path[strcspn(path, "?")] = '\0';
    bool head = strcmp(line, "HEAD") == 0;
    if (!head && strcmp(line, "GET") != 0) {
        peer_refuse(peer, "405 Method Not Allowed");
        return;
    }
    peer_serve(peer, path, !head);
}

static void peer_on_space(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
    (void)suggested;
    Peer *peer = handle->data;
    if (peer->state == PEER_ANSWERED) {
        peer->length = 0; // thrown away
    }
    *out = uv_buf_init(peer->request + peer->length,
                       (unsigned)(sizeof peer->request - 1 - peer->length));
}

static void peer_on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
    (void)buffer;
    Peer *peer = stream->data;
    if (count < 0) {
        peer_close(peer);
        return;
    }
    if (peer->state != PEER_READING) {
        return;
    }
    peer->length += (size_t)count;
    peer->request[peer->length] = '\0';
    if (memchr(peer->request, '\0', peer->length) != NULL) {
        peer_refuse(peer, "400 Bad Request");
    } else if (strstr(peer->request, "\r\n\r\n") != NULL || strstr(peer->request, "\n\n") != NULL) {
        peer_dispatch(peer);
    } else if (peer->length == sizeof peer->request - 1) {
        peer_refuse(peer, "431 Request Header Fields Too Large");
    }
}

static void http_on_connection(uv_stream_t *listener, int status) {
    MetricsHttp *http = listener->data;
    Peer *peer = http->peers;
    while (peer < http->peers + METRICS_HTTP_CONNECTIONS && peer->state != PEER_FREE) {
        peer++;
    }
    // libuv listens on only after this one is accepted: it waits until a place is free.
    http->waiting = status == 0 && peer == http->peers + METRICS_HTTP_CONNECTIONS;
    if (status < 0 || http->waiting) {
        return;
    }
    *peer = (Peer){.http = http, .state = PEER_READING, .handles = 2};
    http->open++;
    uv_tcp_init(listener->loop, &peer->socket);
    uv_timer_init(listener->loop, &peer->timer);
    peer->socket.data = peer;
    peer->timer.data = peer;
    uv_timer_start(&peer->timer, peer_on_timeout, METRICS_HTTP_MS, 0);
    if (uv_accept(listener, (uv_stream_t *)&peer->socket) < 0 ||
        uv_read_start((uv_stream_t *)&peer->socket, peer_on_space, peer_on_read) < 0) {
        peer_close(peer);
    }
}

static void http_on_closed(uv_handle_t *handle) {
    http_release(handle->data);
}

static int http_listen(MetricsHttp *http, uint16_t port) {
    struct sockaddr_in address;
    int failure = uv_ip4_addr("127.0.0.1", port, &address);
    if (failure == 0) {
        failure = uv_tcp_bind(&http->listener, (const struct sockaddr *)&address, 0);
    }
    if (failure == 0) {
        failure =
            uv_listen((uv_stream_t *)&http->listener, METRICS_HTTP_CONNECTIONS, http_on_connection);
    }
    int length = sizeof address;
    if (failure == 0) {
        failure = uv_tcp_getsockname(&http->listener, (struct sockaddr *)&address, &length);
    }
    http->port = ntohs(address.sin_port);
    return failure;
}

Status metrics_http_open(uv_loop_t *loop, uint16_t port, const MetricsPages *pages,
                         MetricsHttp **out, Error *error) {
    MetricsHttp *http = calloc(1, sizeof *http);
    if (http == NULL) {
        return error_set(error, E_MEMORY, "no memory for the metrics port");
    }
    http->pages = *pages;
    http->open = 1;
    int failure = uv_tcp_init(loop, &http->listener);
    REQUIRE(failure == 0);
    http->listener.data = http;
    failure = http_listen(http, port);
    if (failure != 0) {
        metrics_http_close(http);
        return error_set(error, E_IO,
                         "--metrics-port: 127.0.0.1:%u cannot be listened on: %s; choose another",
                         port, uv_strerror(failure));
    }
    *out = http;
    return OK;
}

uint16_t metrics_http_port(const MetricsHttp *http) {
    return http->port;
}

void metrics_http_close(MetricsHttp *http) {
    if (http == NULL || http->closing) {
        return;
    }
    http->closing = true;
    for (int i = 0; i < METRICS_HTTP_CONNECTIONS; i++) {
        if (http->peers[i].state != PEER_FREE) {
            peer_close(&http->peers[i]);
        }
    }
    uv_close((uv_handle_t *)&http->listener, http_on_closed);
}
