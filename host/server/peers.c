// SPDX-License-Identifier: Apache-2.0
#include "host/server/peers.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    LISTEN_BACKLOG = 1024,
    READ_BYTES = 256 * 1024,
    LINGER_MS = 2000, // for a peer to read a goodbye
    OTHER_DESCRIPTORS =
        1024, // the loop's own, files, a device's, two for each prep thread's decoder
};

//   FREE -> OPEN -> LINGERING (all is written; waits for the peer to close) -> CLOSING -> FREE
//             +--------------------------------------------------------------->
typedef enum PeerState { PEER_FREE, PEER_OPEN, PEER_LINGERING, PEER_CLOSING } PeerState;

typedef struct Peer {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
    };
    Peers *peers;
    struct Peer *next_free;
    uint32_t connection;
    bool known; // to the service
    PeerState state;
    bool reading;  // false: its calls wait for a turn
    bool half_way; // it writes no more, but reads: the answers it waits for still go out
    bool writing;
    size_t write_bytes;
    uint64_t linger_end_ms;
    uv_write_t write;
    uv_shutdown_t shutdown;
} Peer;

struct Peers {
    uv_loop_t *loop;
    Service *service;
    Peer *all; // [connections_max + PEERS_REFUSED]
    Peer *free;
    Peer **by_connection; // [connections_max] by the service's number
    uint32_t connections_max;
    uv_stream_t *listeners[PEERS_LISTENERS];
    bool waiting[PEERS_LISTENERS]; // somebody is there and no peer is free
    LogLimit refusals;             // lines of the log
    char read_buffer[READ_BYTES];
};

static uint64_t peers_now_ms(void) {
    return clock_ns() / 1000000;
}

// ---- One peer -----------------------------------------------------------------------------------

static void peers_on_connection(uv_stream_t *listener, int status);

// libuv continues to listen only when the connection that waits has been accepted.
static void peers_accept_waiting(Peers *peers) {
    for (int i = 0; i < PEERS_LISTENERS; i++) {
        if (peers->waiting[i]) {
            peers->waiting[i] = false;
            peers_on_connection(peers->listeners[i], 0);
        }
    }
}

static void peer_free(Peer *peer) {
    peer->state = PEER_FREE;
    peer->next_free = peer->peers->free;
    peer->peers->free = peer;
}

static void peer_on_closed(uv_handle_t *handle) {
    Peer *peer = handle->data;
    Peers *peers = peer->peers;
    if (peer->known) {
        peers->by_connection[peer->connection] = NULL;
        service_disconnect(peers->service, peer->connection, peers_now_ms());
    }
    peer_free(peer);
    peers_accept_waiting(peers);
}

static void peer_close(Peer *peer) {
    if (peer->state != PEER_CLOSING) {
        peer->state = PEER_CLOSING;
        uv_close(&peer->handle, peer_on_closed);
    }
}

static void peer_on_shutdown(uv_shutdown_t *shutdown, int status) {
    Peer *peer = shutdown->data;
    if (status != 0) {
        peer_close(peer);
    }
}

// All is written: the peer may read it and close. Closing at once would destroy what it has not
// read yet when something of its own is still on the way.
static void peer_linger(Peer *peer) {
    peer->state = PEER_LINGERING;
    peer->linger_end_ms = peers_now_ms() + LINGER_MS;
    peer->shutdown.data = peer;
    if (uv_shutdown(&peer->shutdown, &peer->stream, peer_on_shutdown) != 0) {
        peer_close(peer);
    }
}

static void peer_on_written(uv_write_t *write, int status) {
    Peer *peer = write->data;
    peer->writing = false;
    if (peer->state != PEER_OPEN) {
        return;
    }
    if (status != 0) {
        peer_close(peer);
        return;
    }
    service_written(peer->peers->service, peer->connection, peer->write_bytes, peers_now_ms());
}

static void peer_read(Peer *peer);

static void peer_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
    Peer *peer = handle->data;
    (void)suggested;
    *out = uv_buf_init(peer->peers->read_buffer, READ_BYTES); // used up before the next read
}

// Is it gone, and not only done with writing? Of TCP nobody can say before something is written to
// it, so there the end of what it writes is its end.
static bool peer_is_gone(const Peer *peer) {
    struct pollfd asked = {.events = 0};
    bool is_pipe = peer->handle.type == UV_NAMED_PIPE;
    return !is_pipe || uv_fileno(&peer->handle, &asked.fd) != 0 || poll(&asked, 1, 0) != 0;
}

static void peer_on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
    Peer *peer = stream->data;
    if (count == UV_EOF && peer->state == PEER_OPEN && !peer_is_gone(peer)) {
        peer->half_way = true;
        peer_read(peer);
        peers_output(peer->peers, peer->connection);
    } else if (count < 0) {
        peer_close(peer);
    } else if (count > 0 && peer->state == PEER_OPEN) {
        const Bytes bytes = {(const uint8_t *)buffer->base, (size_t)count};
        service_receive(peer->peers->service, peer->connection, bytes, peers_now_ms());
        peer_read(peer);
    }
}

// Reads from the socket while the service takes what comes.
static void peer_read(Peer *peer) {
    bool reads = !peer->half_way && service_reads(peer->peers->service, peer->connection);
    if (peer->reading && !reads) {
        uv_read_stop(&peer->stream);
    } else if (!peer->reading && reads &&
               uv_read_start(&peer->stream, peer_on_alloc, peer_on_read) != 0) {
        peer_close(peer);
        return;
    }
    peer->reading = reads;
}

void peers_output(void *context, uint32_t connection) {
    Peers *peers = context;
    Peer *peer = peers->by_connection[connection];
    if (peer->state != PEER_OPEN) {
        return;
    }
    ConnectionEnd end = service_connection_end(peers->service, connection);
    if (end == CONNECTION_CLOSE_NOW) {
        peer_close(peer);
        return;
    }
    peer_read(peer);
    if (peer->writing || peer->state != PEER_OPEN) {
        return; // peer_on_written asks again
    }
    Bytes bytes = service_output(peers->service, connection);
    if (bytes.length > 0) {
        uv_buf_t buffer = uv_buf_init((char *)(uintptr_t)bytes.data, (unsigned)bytes.length);
        peer->write.data = peer;
        peer->write_bytes = bytes.length;
        peer->writing = uv_write(&peer->write, &peer->stream, &buffer, 1, peer_on_written) == 0;
        if (!peer->writing) {
            peer_close(peer);
        }
    } else if (end == CONNECTION_CLOSE_WHEN_WRITTEN) {
        peer_linger(peer);
    } else if (peer->half_way && service_is_idle(peers->service, connection)) {
        peer_close(peer);
    }
}

// ---- Coming -------------------------------------------------------------------------------------

static Peer *peers_take(Peers *peers, bool is_pipe) {
    Peer *peer = peers->free;
    if (peer == NULL) {
        return NULL;
    }
    peers->free = peer->next_free;
    *peer = (Peer){.peers = peers, .state = PEER_OPEN};
    int made =
        is_pipe ? uv_pipe_init(peers->loop, &peer->pipe, 0) : uv_tcp_init(peers->loop, &peer->tcp);
    REQUIRE(made == 0);
    peer->handle.data = peer;
    return peer;
}

static void peers_wait(Peers *peers, const uv_stream_t *listener) {
    for (int i = 0; i < PEERS_LISTENERS; i++) {
        peers->waiting[i] = peers->waiting[i] || peers->listeners[i] == listener;
    }
}

// Anybody can cause this line: so many a second, and the next one tells how many were not written.
static void peers_log_refusal(Peers *peers, const Error *error) {
    uint64_t now_ms = peers_now_ms();
    uint32_t left_out = log_limit_left_out(&peers->refusals, now_ms);
    if (log_limit(&peers->refusals, now_ms)) {
        log_event(LOG_WARN, "not_accepted", "reason=%s lines_left_out=%u", error->text, left_out);
    }
}

static void peers_on_connection(uv_stream_t *listener, int status) {
    Peers *peers = listener->data;
    if (status != 0) {
        log_event(LOG_WARN, "not_accepted", "reason=%s", uv_strerror(status));
        return;
    }
    bool is_pipe = listener->type == UV_NAMED_PIPE;
    Peer *peer = peers_take(peers, is_pipe);
    if (peer == NULL) {
        peers_wait(peers, listener);
        return;
    }
    Error error;
    if (uv_accept(listener, &peer->stream) != 0) {
        peer_close(peer);
        return;
    }
    if (service_connect(peers->service, peers_now_ms(), &peer->connection, &error) != OK) {
        peers_log_refusal(peers, &error);
        peer_close(peer);
        return;
    }
    peer->known = true;
    peers->by_connection[peer->connection] = peer;
    if (!is_pipe) {
        uv_tcp_nodelay(&peer->tcp, 1);
    }
    peer_read(peer);
}

int peers_listen(Peers *peers, Service *service, uv_stream_t *listener) {
    int at = peers->listeners[0] == NULL ? 0 : 1;
    REQUIRE(peers->listeners[at] == NULL);
    peers->service = service;
    peers->listeners[at] = listener;
    listener->data = peers;
    return uv_listen(listener, LISTEN_BACKLOG, peers_on_connection);
}

void peers_stop_listening(Peers *peers) {
    for (int i = 0; i < PEERS_LISTENERS; i++) {
        peers->listeners[i] = NULL;
        peers->waiting[i] = false;
    }
}

void peers_tick(Peers *peers, bool all, uint64_t now_ms) {
    for (uint32_t i = 0; i < peers->connections_max; i++) {
        Peer *peer = peers->by_connection[i];
        if (peer != NULL &&
            (all || (peer->state == PEER_LINGERING && now_ms >= peer->linger_end_ms) ||
             (peer->state == PEER_OPEN && peer->half_way && peer_is_gone(peer)))) {
            peer_close(peer);
        }
    }
}

// ---- Opening ------------------------------------------------------------------------------------

// A descriptor for every socket, if the system lets us have them; returns the highest there can be.
static int peers_raise_descriptors(uint32_t connections_max) {
    struct rlimit limit;
    rlim_t wanted = (rlim_t)connections_max + PEERS_REFUSED + OTHER_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return (int)wanted;
    }
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
            log_event(LOG_WARN, "descriptors",
                      "limit=%" PRIu64 " connections=%u note=\"raise ulimit -n, or LimitNOFILE\"",
                      (uint64_t)limit.rlim_cur, connections_max);
        }
    }
    return (int)num_min(wanted, limit.rlim_cur) - 1;
}

static void peers_on_watched(uv_poll_t *poll, int status, int events) {
    (void)poll, (void)status, (void)events;
}

// libuv's table of descriptors has as many rows as the highest that was ever watched.
static Status peers_grow_table(uv_loop_t *loop, int highest, Error *error) {
    uv_poll_t poll;
    int event = eventfd(0, EFD_CLOEXEC);
    int copy = event >= 0 ? fcntl(event, F_DUPFD_CLOEXEC, highest) : -1;
    int made = copy < 0 ? uv_translate_sys_error(errno) : uv_poll_init(loop, &poll, copy);
    if (made == 0) {
        made = uv_poll_start(&poll, UV_READABLE, peers_on_watched);
        uv_close((uv_handle_t *)&poll, NULL);
        uv_run(loop, UV_RUN_NOWAIT);
    }
    close(event);
    close(copy);
    return made == 0 ? OK
                     : error_set(error, E_IO, "descriptor %d cannot be watched: %s", highest,
                                 uv_strerror(made));
}

Status peers_open(uv_loop_t *loop, uint32_t connections_max, Peers **out, Error *error) {
    uint32_t count = connections_max + PEERS_REFUSED;
    Peers *peers = calloc(1, sizeof *peers);
    if (peers != NULL) {
        peers->loop = loop;
        peers->connections_max = connections_max;
        peers->all = calloc(count, sizeof *peers->all);
        peers->by_connection = calloc(connections_max, sizeof(Peer *));
    }
    *out = peers;
    if (peers == NULL || peers->all == NULL || peers->by_connection == NULL) {
        return error_set(error, E_MEMORY, "no memory for %u connections", connections_max);
    }
    for (uint32_t i = count; i-- > 0;) {
        peers->all[i].peers = peers;
        peer_free(&peers->all[i]);
    }
    return peers_grow_table(loop, peers_raise_descriptors(connections_max), error);
}

void peers_free(Peers *peers) {
    if (peers != NULL) {
        free(peers->by_connection);
        free(peers->all);
        free(peers);
    }
}
