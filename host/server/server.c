// SPDX-License-Identifier: Apache-2.0
#include "host/server/server.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "base/standard.h"
#include "base/text.h"
#include "host/request/prep_pool.h"
#include "host/server/address.h"
#include "host/server/metrics_http.h"
#include "host/server/notify.h"
#include "host/server/peers.h"
#include "host/server/signals.h"
#include "host/server/socket_path.h"
#include "host/server/step_thread.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    AFTER_DRAIN_MS = 5000,  // for peers that read nothing
    FAILED_DRAIN_MS = 5000, // after an engine failure everything ends anyway
    METRICS_FILE_MS = 5000,
    MESSAGES_AT_ONCE = 64,
};

struct Server {
    ServerOptions options;
    uv_loop_t loop;
    bool loop_open, handles_open; // the latter: those of every server
    SocketPath place;             // of the pipe
    uv_pipe_t pipe;
    uv_tcp_t tcp;
    bool pipe_open, tcp_open;
    char address[64]; // of the TCP socket
    uv_async_t wake;  // prep threads, the step thread or signals have something
    uv_timer_t tick;
    uv_prepare_t flush; // before the loop sleeps: everything of this wake is written
    Service *service;
    Peers *peers;
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
};

static uint64_t server_now_ms(void) {
    return clock_ns() / 1000000;
}

// ---- Threads ------------------------------------------------------------------------------------

static void server_output(void *context, uint32_t connection) {
    peers_output(((Server *)context)->peers, connection);
}

static void server_wake(void *context) {
    uv_async_send(&((Server *)context)->wake);
}

static void server_work(void *context, PrepWork *work) {
    prep_pool_push(&((Server *)context)->prep, work);
}

static void server_command(void *context, const StepperCommand *command) {
    step_thread_command(&((Server *)context)->step, command);
}

static void server_stop_listening(Server *server) {
    socket_path_give_back(&server->place);
    if (server->peers != NULL) {
        peers_stop_listening(server->peers);
    }
    if (server->pipe_open) {
        uv_close((uv_handle_t *)&server->pipe, NULL);
        server->pipe_open = false;
    }
    if (server->tcp_open) {
        uv_close((uv_handle_t *)&server->tcp, NULL);
        server->tcp_open = false;
    }
}

static void server_drain(Server *server, uint64_t within_ms) {
    uint64_t now_ms = server_now_ms();
    if (server->force_ms == 0) {
        log_event(LOG_INFO, "stop_listening", "within_ms=%" PRIu64, within_ms);
        notify_send("STOPPING=1");
        server_stop_listening(server);
    }
    server->force_ms = now_ms + within_ms + AFTER_DRAIN_MS;
    service_drain(server->service, now_ms, now_ms + within_ms);
}

// ---- Signals ------------------------------------------------------------------------------------

static void server_reload_users(Server *server) {
    Users *users;
    Error error;
    if (server->options.users_path == NULL) {
        return;
    }
    if (users_load(server->options.users_path, server->users, &users, &error) != OK) {
        metrics_add(server->metrics, METRIC_USERS_RELOAD_FAILED, 0, 1);
        log_event(LOG_ERROR, "users", "error=%s note=\"the old ones stay\"", error.text);
        return;
    }
    service_set_users(server->service, users);
    users_free(server->users);
    server->users = users;
    metrics_add(server->metrics, METRIC_USERS_RELOADED, 0, 1);
    log_event(LOG_INFO, "users", "count=%u", users_count(users));
}

static void server_take_signals(Server *server) {
    if (signals_take_reload()) {
        log_event(LOG_INFO, "signal", "number=%d", SIGHUP);
        notify_send("RELOADING=1");
        server_reload_users(server);
        notify_send("READY=1");
    }
    int number;
    while ((number = signals_take_end()) != 0) {
        log_event(LOG_INFO, "signal", "number=%d", number);
        server_drain(server, server->terms++ == 0 ? server->options.drain_ms : 0);
    }
}

// ---- What comes back ----------------------------------------------------------------------------

static void server_on_report(Server *server, const StepReport *report) {
    service_step_report(server->service, report, server_now_ms());
    if (report->failed && server->result == OK) {
        server->result = E_DEVICE;
        server_drain(server, FAILED_DRAIN_MS);
    }
}

static void server_on_wake(uv_async_t *async) {
    Server *server = async->data;
    PrepWork *work;
    server_take_signals(server);
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

// ---- Time ---------------------------------------------------------------------------------------

static void server_on_flush(uv_prepare_t *prepare) {
    Server *server = prepare->data;
    service_turn(server->service, server_now_ms());
    service_flush(server->service);
    if (service_has_more(server->service)) {
        server_wake(server); // the next turn comes when the others were heard
    }
}

static void server_tick_metrics(Server *server, uint64_t now_ms) {
    Error error;
    if (server->options.metrics_file == NULL || now_ms < server->metrics_file_ms) {
        return;
    }
    server->metrics_file_ms = now_ms + METRICS_FILE_MS;
    if (metrics_write_file(server->metrics, server->options.metrics_file, &error) != OK) {
        log_event(LOG_WARN, "metrics_file", "error=%s", error.text);
    }
}

// The threads first, which have nothing to do any more: they wake the loop until they are gone.
static void server_end(Server *server) {
    server->ending = true;
    signals_end();
    prep_pool_close(&server->prep);
    step_thread_close(&server->step);
    metrics_http_close(server->http);
    uv_close((uv_handle_t *)&server->tick, NULL);
    uv_close((uv_handle_t *)&server->flush, NULL);
    uv_close((uv_handle_t *)&server->wake, NULL);
}

static void server_on_tick(uv_timer_t *timer) {
    Server *server = timer->data;
    uint64_t now_ms = server_now_ms();
    service_tick(server->service, now_ms);
    peers_tick(server->peers, server->force_ms != 0 && now_ms >= server->force_ms, now_ms);
    server_tick_metrics(server, now_ms);
    if (server->force_ms != 0 && service_drained(server->service)) {
        server_end(server);
    }
}

// ---- Opening ------------------------------------------------------------------------------------

static Status server_uv(int result, const char *what, Error *error) {
    return result == 0 ? OK : error_set(error, E_IO, "%s: %s", what, uv_strerror(result));
}

static Status server_open_loop(Server *server, Error *error) {
    TRY(server_uv(uv_loop_init(&server->loop), "the event loop", error));
    server->loop_open = true;
    TRY(server_uv(uv_async_init(&server->loop, &server->wake, server_on_wake), "the event loop",
                  error));
    uv_timer_init(&server->loop, &server->tick);
    uv_prepare_init(&server->loop, &server->flush);
    server->wake.data = server->tick.data = server->flush.data = server;
    server->handles_open = true;
    return peers_open(&server->loop, server->options.connections_max, &server->peers, error);
}

static Status server_open_users(Server *server, Error *error) {
    const char *path = server->options.users_path;
    return path != NULL ? users_load(path, NULL, &server->users, error)
                        : users_open_to_all(&server->users, error);
}

static void server_page_metrics(void *context, Buffer *out) {
    metrics_text(((Server *)context)->metrics, out);
}

static bool server_page_health(void *context, Buffer *out) {
    Health health = service_health(((Server *)context)->service);
    buffer_printf(out, "%s\n", health_name(health));
    return health == HEALTH_OK;
}

// The file is written once, which shows that it can be.
static Status server_open_metrics(Server *server, Error *error) {
    const ServerOptions *options = &server->options;
    TRY(metrics_open(USERS_MAX, &server->metrics, error));
    if (options->metrics_file != NULL) {
        TRY(metrics_write_file(server->metrics, options->metrics_file, error));
    }
    const MetricsPages pages = {server, server_page_metrics, server_page_health};
    return options->metrics ? metrics_http_open(&server->loop, options->metrics_port, &pages,
                                                &server->http, error)
                            : OK;
}

// An address that is taken shows when the name of the bound socket is asked for.
static Status server_bind_tcp(Server *server, Error *error) {
    const char *listen = server->options.listen;
    struct sockaddr_storage address;
    TRY(address_parse(listen, &address, error));
    if (!address_is_loopback(&address) && server->options.users_path == NULL) {
        return error_set(error, E_ARGUMENT,
                         "--listen: %s can be reached from other machines and there is no users "
                         "file; give --users FILE (see `tessera token`), or listen on 127.0.0.1",
                         listen);
    }
    uv_tcp_init(&server->loop, &server->tcp);
    server->tcp_open = true;
    TRY(server_uv(uv_tcp_bind(&server->tcp, (struct sockaddr *)&address, 0), listen, error));
    int length = sizeof address;
    TRY(server_uv(uv_tcp_getsockname(&server->tcp, (struct sockaddr *)&address, &length), listen,
                  error));
    address_text(&address, server->address);
    return OK;
}

static Status server_open_parts(Server *server, Error *error) {
    TRY(server_open_users(server, error));
    TRY(server_open_loop(server, error));
    if (server->options.socket_path != NULL) {
        TRY(socket_path_take(&server->place, server->options.socket_path, error));
    }
    if (server->options.listen != NULL) {
        TRY(server_bind_tcp(server, error));
    }
    return server_open_metrics(server, error);
}

Status server_open(const ServerOptions *options, Server **out, Error *error) {
    Server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        return error_set(error, E_MEMORY, "no memory for the server");
    }
    server->options = *options;
    Status status = server_open_parts(server, error);
    if (status != OK) {
        server_close(server);
        return status;
    }
    *out = server;
    return OK;
}

// ---- Serving ------------------------------------------------------------------------------------

static Status server_open_service(Server *server, Runtime *runtime, const ServiceOptions *asked,
                                  Error *error) {
    const ServerOptions *options = &server->options;
    ServiceOptions service = *asked;
    service.connections_max = options->connections_max;
    service.running_max = runtime->sizes.batch;
    service.work_max = 2 * options->prep_threads; // one at work, one ready for every thread
    service.ports = (ServicePorts){server, server_work, server_command, server_output};
    const StepThreadOptions step = {
        .runtime = runtime,
        .tags_max = service.samples_max,
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
    TRY(step_thread_open(&server->step, &step, error));
    TRY(prep_pool_open(&server->prep, &prep, error));
    return service_open(&service, server->users, server->metrics, server_now_ms(), &server->service,
                        error);
}

static Status server_listen_pipe(Server *server, Error *error) {
    int bound;
    TRY(socket_path_bind(&server->place, server->options.socket_mode, &bound, error));
    uv_pipe_init(&server->loop, &server->pipe, 0);
    server->pipe_open = true;
    int opened = uv_pipe_open(&server->pipe, bound);
    if (opened != 0) {
        close(bound);
        return server_uv(opened, server->place.path, error);
    }
    return server_uv(peers_listen(server->peers, server->service, (uv_stream_t *)&server->pipe),
                     server->place.path, error);
}

static Status server_listen(Server *server, Error *error) {
    if (server->tcp_open) {
        TRY(server_uv(peers_listen(server->peers, server->service, (uv_stream_t *)&server->tcp),
                      server->options.listen, error));
    }
    return server->options.socket_path != NULL ? server_listen_pipe(server, error) : OK;
}

static Status server_say_ready(const Server *server, Error *error) {
    Buffer line = {0};
    buffer_append_text(&line, "tessera serve: ready");
    if (server->options.socket_path != NULL) {
        buffer_append_text(&line, " unix:");
        text_escape(&line, bytes_of_text(server->options.socket_path), TEXT_LINE);
    }
    if (server->tcp_open) {
        buffer_printf(&line, " tcp:%s", server->address);
    }
    if (server->http != NULL) {
        buffer_printf(&line, " metrics:http://127.0.0.1:%u/metrics",
                      metrics_http_port(server->http));
    }
    buffer_append_byte(&line, '\n');
    if (line.failed) {
        buffer_free(&line);
        return error_set(error, E_MEMORY, "no memory for the first line");
    }
    standard_print(line.data, line.length);
    buffer_free(&line);
    notify_send("READY=1");
    return OK;
}

// Listening comes last: who can connect is served. From signals_serve on a signal ends in order, so
// that the name of the socket, which comes after it, is taken away again.
static Status server_start(Server *server, Runtime *runtime, const ServiceOptions *service,
                           Error *error) {
    TRY(server_open_service(server, runtime, service, error));
    signals_serve(server_wake, server);
    TRY(server_listen(server, error));
    uv_timer_start(&server->tick, server_on_tick, SERVICE_TICK_MS, SERVICE_TICK_MS);
    uv_prepare_start(&server->flush, server_on_flush);
    return server_say_ready(server, error);
}

// What was done, left out and failed, as the commands' summaries have it.
static void server_say_stopped(const Server *server, Status status) {
    ServerStats stats;
    service_stats(server->service, server_now_ms(), &stats);
    log_event(LOG_INFO, "stopped",
              "status=%s accepted=%" PRIu64 " finished=%" PRIu64 " failed=%" PRIu64
              " cancelled=%" PRIu64 " refused=%" PRIu64 " pictures=%" PRIu64 " up_ms=%" PRIu64,
              status_name(status), stats.requests_accepted, stats.requests_finished,
              stats.requests_failed, stats.requests_cancelled, stats.requests_refused,
              stats.pictures_finished, stats.uptime_ms);
}

Status server_run(Server *server, Runtime *runtime, const ServiceOptions *service, Error *error) {
    TRY(server_start(server, runtime, service, error));
    uv_run(&server->loop, UV_RUN_DEFAULT);
    Status status = server->result;
    if (status != OK) {
        error_set(error, status, "the engine failed; the log has its error");
    }
    server_say_stopped(server, status);
    return status;
}

// Ends what was started, in reverse. The loop runs once more so that its handles are really closed.
void server_close(Server *server) {
    if (server == NULL) {
        return;
    }
    server_stop_listening(server);
    if (server->handles_open && !server->ending) {
        server_end(server);
    }
    if (server->loop_open) {
        uv_run(&server->loop, UV_RUN_DEFAULT);
    }
    service_close(server->service);
    if (server->loop_open) {
        int left = uv_loop_close(&server->loop);
        REQUIRE_MESSAGE(left == 0, "a handle is still open: %s", uv_strerror(left));
    }
    metrics_close(server->metrics);
    users_free(server->users);
    peers_free(server->peers);
    free(server);
}
