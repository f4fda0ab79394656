// SPDX-License-Identifier: Apache-2.0
#include "host/server/server.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "host/log.h"
#include "host/server/address.h"
#include "host/server/metrics_http.h"
#include "host/server/prep_pool.h"
#include "host/server/step_thread.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LISTEN_BACKLOG = 1024,
    READ_BYTES = 256 * 1024,
    LINGER_MS = 2000,       // for a peer to read a goodbye
    AFTER_DRAIN_MS = 5000,  // for peers that read nothing
    FAILED_DRAIN_MS = 5000, // after an engine failure everything ends anyway
    METRICS_FILE_MS = 5000,
    MESSAGES_AT_ONCE = 64,
};

typedef struct Server Server;

// One accepted socket.
//   OPEN -> LINGERING (all is written; waits for the peer to close) -> CLOSING -> freed
//     +--------------------------------------------------------------->
typedef enum PeerState { PEER_OPEN, PEER_LINGERING, PEER_CLOSING } PeerState;

typedef struct Peer {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
    };
    Server *server;
    uint32_t connection;
    bool known; // to the service
    PeerState state;
    bool reading; // false: its calls wait for a turn
    bool writing;
    size_t write_bytes;
    uint64_t linger_end_ms;
    uv_write_t write;
    uv_shutdown_t shutdown;
} Peer;

struct Server {
    const ServerOptions *options;
    uv_loop_t loop;
    bool loop_open;
    uv_pipe_t pipe;
    uv_tcp_t tcp;
    bool pipe_open, tcp_open;
    uv_async_t wake; // prep threads and the step thread have something
    uv_timer_t tick;
    uv_prepare_t flush; // before the loop sleeps: everything of this wake is written
    uv_signal_t signals[3];
    Service *service;
    Peer **peers; // [connections_max] by the service's number
    Users *users;
    Metrics *metrics;
    MetricsHttp *http;
    PrepPool prep;
    StepThread step;
    uint64_t metrics_file_ms;
    uint64_t force_ms; // peers are closed whatever they do; 0 = not draining
    uint32_t terms;    // signals to end
    bool ending;       // handles are being closed
    Status result;
    char read_buffer[READ_BYTES];
};

static uint64_t server_now_ms(void) {
    return clock_ns() / 1000000;
}

// ---- Peers --------------------------------------------------------------------------------------

static void peer_on_closed(uv_handle_t *handle) {
    Peer *peer = handle->data;
    Server *server = peer->server;
    if (peer->known) {
        server->peers[peer->connection] = NULL;
        service_disconnect(server->service, peer->connection, server_now_ms());
    }
    free(peer);
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
    peer->linger_end_ms = server_now_ms() + LINGER_MS;
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
    service_written(peer->server->service, peer->connection, peer->write_bytes, server_now_ms());
}

static void peer_read(Peer *peer);

static void peer_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
    Peer *peer = handle->data;
    (void)suggested;
    *out = uv_buf_init(peer->server->read_buffer, READ_BYTES); // used up before the next read
}

static void peer_on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
    Peer *peer = stream->data;
    if (count < 0) {
        peer_close(peer);
    } else if (count > 0 && peer->state == PEER_OPEN) {
        const Bytes bytes = {(const uint8_t *)buffer->base, (size_t)count};
        service_receive(peer->server->service, peer->connection, bytes, server_now_ms());
        peer_read(peer);
    }
}

// Reads from the socket while the service takes what comes.
static void peer_read(Peer *peer) {
    bool reads = service_reads(peer->server->service, peer->connection);
    if (peer->reading && !reads) {
        uv_read_stop(&peer->stream);
    } else if (!peer->reading && reads &&
               uv_read_start(&peer->stream, peer_on_alloc, peer_on_read) != 0) {
        peer_close(peer);
        return;
    }
    peer->reading = reads;
}

// The service's output port.
static void server_output(void *context, uint32_t connection) {
    Server *server = context;
    Peer *peer = server->peers[connection];
    if (peer->state != PEER_OPEN) {
        return;
    }
    ServiceEnd end = service_ends(server->service, connection);
    if (end == SERVICE_CLOSE_NOW) {
        peer_close(peer);
        return;
    }
    peer_read(peer);
    if (peer->writing || peer->state != PEER_OPEN) {
        return; // peer_on_written asks again
    }
    Bytes bytes = service_output(server->service, connection);
    if (bytes.length > 0) {
        uv_buf_t buffer = uv_buf_init((char *)(uintptr_t)bytes.data, (unsigned)bytes.length);
        peer->write.data = peer;
        peer->write_bytes = bytes.length;
        peer->writing = uv_write(&peer->write, &peer->stream, &buffer, 1, peer_on_written) == 0;
        if (!peer->writing) {
            peer_close(peer);
        }
    } else if (end == SERVICE_CLOSE_WHEN_WRITTEN) {
        peer_linger(peer);
    }
}

static void server_on_connection(uv_stream_t *listener, int status) {
    Server *server = listener->data;
    Peer *peer = status == 0 ? calloc(1, sizeof *peer) : NULL;
    if (peer == NULL) {
        log_event(LOG_WARN, "not_accepted", "reason=\"%s\"",
                  status != 0 ? uv_strerror(status) : "no memory");
        return;
    }
    peer->server = server;
    bool is_pipe = listener->type == UV_NAMED_PIPE;
    int made = is_pipe ? uv_pipe_init(&server->loop, &peer->pipe, 0)
                       : uv_tcp_init(&server->loop, &peer->tcp);
    REQUIRE(made == 0);
    peer->handle.data = peer;
    Error error;
    if (uv_accept(listener, &peer->stream) != 0) {
        peer_close(peer);
        return;
    }
    if (service_connect(server->service, server_now_ms(), &peer->connection, &error) != OK) {
        log_event(LOG_WARN, "not_accepted", "reason=\"%s\"", error.text);
        peer_close(peer);
        return;
    }
    peer->known = true;
    server->peers[peer->connection] = peer;
    if (!is_pipe) {
        uv_tcp_nodelay(&peer->tcp, 1);
    }
    peer_read(peer);
}

// ---- Threads ------------------------------------------------------------------------------------

static void server_wake(void *context) {
    uv_async_send(&((Server *)context)->wake);
}

static void server_work(void *context, Work *work) {
    prep_pool_push(&((Server *)context)->prep, work);
}

static void server_command(void *context, const StepperCommand *command) {
    step_thread_command(&((Server *)context)->step, command);
}

static void server_drain(Server *server, uint64_t within_ms) {
    uint64_t now_ms = server_now_ms();
    if (server->force_ms == 0) {
        log_event(LOG_INFO, "stop_listening", "within_ms=%" PRIu64, within_ms);
        if (server->pipe_open) {
            uv_close((uv_handle_t *)&server->pipe, NULL); // libuv removes the path
            server->pipe_open = false;
        }
        if (server->tcp_open) {
            uv_close((uv_handle_t *)&server->tcp, NULL);
            server->tcp_open = false;
        }
    }
    server->force_ms = now_ms + within_ms + AFTER_DRAIN_MS;
    service_drain(server->service, now_ms, now_ms + within_ms);
}

static void server_on_report(Server *server, const StepReport *report) {
    service_step_report(server->service, report, server_now_ms());
    if (report->failed && server->result == OK) {
        server->result = E_DEVICE;
        server_drain(server, FAILED_DRAIN_MS);
    }
}

static void server_on_wake(uv_async_t *async) {
    Server *server = async->data;
    Work *work;
    while ((work = prep_pool_take(&server->prep)) != NULL) {
        service_worked(server->service, work, server_now_ms());
    }
    StepMessage messages[MESSAGES_AT_ONCE];
    uint32_t count;
    while ((count = step_thread_take(&server->step, messages, MESSAGES_AT_ONCE)) > 0) {
        for (uint32_t i = 0; i < count; i++) {
            if (messages[i].is_report) {
                server_on_report(server, &messages[i].report);
            } else {
                service_step_event(server->service, &messages[i].event, server_now_ms());
            }
        }
    }
}

// ---- Time and signals ---------------------------------------------------------------------------

static void server_on_flush(uv_prepare_t *prepare) {
    Server *server = prepare->data;
    service_turn(server->service, server_now_ms());
    service_flush(server->service);
    if (service_has_more(server->service)) {
        server_wake(server); // the next turn comes when the others were heard
    }
}

static void server_tick_peers(Server *server, uint64_t now_ms) {
    bool forced = server->force_ms != 0 && now_ms >= server->force_ms;
    for (uint32_t i = 0; i < server->options->service.connections_max; i++) {
        Peer *peer = server->peers[i];
        if (peer != NULL &&
            (forced || (peer->state == PEER_LINGERING && now_ms >= peer->linger_end_ms))) {
            peer_close(peer);
        }
    }
}

static void server_tick_metrics(Server *server, uint64_t now_ms) {
    Error error;
    if (server->options->metrics_file == NULL || now_ms < server->metrics_file_ms) {
        return;
    }
    server->metrics_file_ms = now_ms + METRICS_FILE_MS;
    if (metrics_write_file(server->metrics, server->options->metrics_file, &error) != OK) {
        log_event(LOG_WARN, "metrics_file", "error=\"%s\"", error.text);
    }
}

// The threads first, which have nothing to do any more: they wake the loop until they are gone.
static void server_end(Server *server) {
    server->ending = true;
    prep_pool_close(&server->prep);
    step_thread_close(&server->step);
    metrics_http_close(server->http);
    uv_close((uv_handle_t *)&server->tick, NULL);
    uv_close((uv_handle_t *)&server->flush, NULL);
    uv_close((uv_handle_t *)&server->wake, NULL);
    for (size_t i = 0; i < sizeof server->signals / sizeof server->signals[0]; i++) {
        uv_close((uv_handle_t *)&server->signals[i], NULL);
    }
}

static void server_on_tick(uv_timer_t *timer) {
    Server *server = timer->data;
    uint64_t now_ms = server_now_ms();
    service_tick(server->service, now_ms);
    server_tick_peers(server, now_ms);
    server_tick_metrics(server, now_ms);
    if (server->force_ms != 0 && service_drained(server->service)) {
        server_end(server);
    }
}

static void server_reload_users(Server *server) {
    Users *users;
    Error error;
    if (server->options->users_path == NULL) {
        return;
    }
    if (users_load(server->options->users_path, server->users, &users, &error) != OK) {
        metrics_add(server->metrics, METRIC_USERS_RELOAD_FAILED, 0, 1);
        log_event(LOG_ERROR, "users", "error=\"%s\" note=\"the old ones stay\"", error.text);
        return;
    }
    service_set_users(server->service, users);
    users_free(server->users);
    server->users = users;
    metrics_add(server->metrics, METRIC_USERS_RELOADED, 0, 1);
    log_event(LOG_INFO, "users", "count=%u", users_count(users));
}

static void server_on_signal(uv_signal_t *signal, int number) {
    Server *server = signal->data;
    log_event(LOG_INFO, "signal", "number=%d", number);
    if (number == SIGHUP) {
        server_reload_users(server);
    } else {
        server_drain(server, server->terms++ == 0 ? server->options->drain_ms : 0);
    }
}

// ---- Starting -----------------------------------------------------------------------------------

static Status server_uv(int result, const char *what, Error *error) {
    return result == 0 ? OK : error_set(error, E_IO, "%s: %s", what, uv_strerror(result));
}

static Status server_listen_pipe(Server *server, Error *error) {
    const char *path = server->options->socket_path;
    TRY(address_free_path(path, error));
    uv_pipe_init(&server->loop, &server->pipe, 0);
    server->pipe.data = server;
    server->pipe_open = true;
    // Nobody may connect in the moment between bind and chmod.
    mode_t before = umask(0177);
    int result = uv_pipe_bind(&server->pipe, path);
    umask(before);
    TRY(server_uv(result, path, error));
    if (chmod(path, (mode_t)server->options->socket_mode) != 0) {
        return error_set(error, E_IO, "%s: its permissions cannot be set", path);
    }
    return server_uv(uv_listen((uv_stream_t *)&server->pipe, LISTEN_BACKLOG, server_on_connection),
                     path, error);
}

static Status server_listen_tcp(Server *server, char text[64], Error *error) {
    struct sockaddr_storage address;
    TRY(address_parse(server->options->listen, &address, error));
    if (!address_is_loopback(&address) && server->options->users_path == NULL) {
        return error_set(error, E_ARGUMENT,
                         "--listen: %s can be reached from other machines and there is no users "
                         "file; give --users FILE (see `tessera token`), or listen on 127.0.0.1",
                         server->options->listen);
    }
    uv_tcp_init(&server->loop, &server->tcp);
    server->tcp.data = server;
    server->tcp_open = true;
    TRY(server_uv(uv_tcp_bind(&server->tcp, (struct sockaddr *)&address, 0),
                  server->options->listen, error));
    TRY(server_uv(uv_listen((uv_stream_t *)&server->tcp, LISTEN_BACKLOG, server_on_connection),
                  server->options->listen, error));
    int length = sizeof address;
    uv_tcp_getsockname(&server->tcp, (struct sockaddr *)&address, &length);
    address_text(&address, text);
    return OK;
}

static void server_page_metrics(void *context, Buffer *out) {
    metrics_text(((Server *)context)->metrics, out);
}

static bool server_page_health(void *context, Buffer *out) {
    Health health = service_health(((Server *)context)->service);
    buffer_printf(out, "%s\n", health_name(health));
    return health == HEALTH_OK;
}

// A descriptor for every connection, if the system lets us have them.
static void server_raise_descriptors(uint32_t connections_max) {
    enum { OTHER_DESCRIPTORS = 64 };
    struct rlimit limit;
    rlim_t wanted = (rlim_t)connections_max + OTHER_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) {
        return;
    }
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
        log_event(LOG_WARN, "descriptors",
                  "limit=%" PRIu64 " connections=%u note=\"raise ulimit -n, or LimitNOFILE\"",
                  (uint64_t)limit.rlim_cur, connections_max);
    }
}

static Status server_open_loop(Server *server, Error *error) {
    TRY(server_uv(uv_loop_init(&server->loop), "the event loop", error));
    server->loop_open = true;
    uv_async_init(&server->loop, &server->wake, server_on_wake);
    uv_timer_init(&server->loop, &server->tick);
    uv_prepare_init(&server->loop, &server->flush);
    server->wake.data = server->tick.data = server->flush.data = server;
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        uv_signal_init(&server->loop, &server->signals[i]);
        server->signals[i].data = server;
        uv_signal_start(&server->signals[i], server_on_signal, numbers[i]);
    }
    return OK;
}

static Status server_open_users(Server *server, Error *error) {
    const char *path = server->options->users_path;
    TRY(path != NULL ? users_load(path, NULL, &server->users, error)
                     : users_open_to_all(&server->users, error));
    return metrics_open(USERS_MAX, &server->metrics, error);
}

static Status server_open_service(Server *server, Runtime *runtime, Error *error) {
    const ServerOptions *options = server->options;
    ServiceOptions service = options->service;
    service.running_max = runtime->sizes.batch;
    service.work_max = 2 * options->prep_threads; // one at work, one ready for every thread
    service.ports = (ServicePorts){server, server_work, server_command, server_output};
    const StepThreadOptions step = {
        .runtime = runtime,
        .tags_max = service.requests_max,
        .users_max = USERS_MAX,
        // The thread that drives a GPU computes nothing itself: a GPU must not wait for it.
        .niceness = runtime->options.device.choice == DEVICE_CPU ? SERVER_NICENESS : 0,
        .wake = server_wake,
        .wake_context = server,
    };
    const PrepPoolOptions prep = {
        .rules = {.maker = service.maker, .limits = service.media},
        .threads = options->prep_threads,
        .work_max = service.work_max,
        .niceness = SERVER_NICENESS,
        .wake = server_wake,
        .wake_context = server,
    };
    server->peers = calloc(service.connections_max, sizeof(Peer *));
    if (server->peers == NULL) {
        return error_set(error, E_MEMORY, "no memory for %u connections", service.connections_max);
    }
    TRY(step_thread_open(&server->step, &step, error));
    TRY(prep_pool_open(&server->prep, &prep, error));
    return service_open(&service, server->users, server->metrics, server_now_ms(), &server->service,
                        error);
}

// Listening comes last: who can connect is served.
static Status server_start(Server *server, Runtime *runtime, Error *error) {
    const ServerOptions *options = server->options;
    char address[64] = "";
    server_raise_descriptors(options->service.connections_max);
    TRY(server_open_loop(server, error));
    TRY(server_open_users(server, error));
    TRY(server_open_service(server, runtime, error));
    if (options->metrics) {
        const MetricsPages pages = {server, server_page_metrics, server_page_health};
        TRY(metrics_http_open(&server->loop, options->metrics_port, &pages, &server->http, error));
    }
    if (options->listen != NULL) {
        TRY(server_listen_tcp(server, address, error));
    }
    if (options->socket_path != NULL) {
        TRY(server_listen_pipe(server, error));
    }
    uv_timer_start(&server->tick, server_on_tick, SERVICE_TICK_MS, SERVICE_TICK_MS);
    uv_prepare_start(&server->flush, server_on_flush);
    printf("tessera serve: ready");
    if (options->socket_path != NULL) {
        printf(" unix:%s", options->socket_path);
    }
    if (options->listen != NULL) {
        printf(" tcp:%s", address);
    }
    if (server->http != NULL) {
        printf(" metrics:http://127.0.0.1:%u/metrics", metrics_http_port(server->http));
    }
    putchar('\n');
    fflush(stdout);
    return OK;
}

// Ends what was started, in reverse. The loop runs once more so that its handles are really closed.
static void server_close(Server *server) {
    if (server->loop_open && !server->ending) {
        if (server->pipe_open) {
            uv_close((uv_handle_t *)&server->pipe, NULL);
        }
        if (server->tcp_open) {
            uv_close((uv_handle_t *)&server->tcp, NULL);
        }
        server_end(server);
        uv_run(&server->loop, UV_RUN_DEFAULT);
    }
    service_close(server->service);
    if (server->loop_open) {
        int left = uv_loop_close(&server->loop);
        REQUIRE_MESSAGE(left == 0, "a handle is still open: %s", uv_strerror(left));
    }
    metrics_close(server->metrics);
    users_free(server->users);
    free(server->peers);
}

Status server_run(Runtime *runtime, const ServerOptions *options, Error *error) {
    Server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        return error_set(error, E_MEMORY, "no memory for the server");
    }
    server->options = options;
    signal(SIGPIPE, SIG_IGN);
    Status status = server_start(server, runtime, error);
    if (status == OK) {
        uv_run(&server->loop, UV_RUN_DEFAULT);
        status = server->result;
        if (status != OK) {
            error_set(error, status, "the engine failed; the log has its error");
        }
        log_event(LOG_INFO, "stopped", "status=%s", status_name(status));
    }
    server_close(server);
    free(server);
    return status;
}
