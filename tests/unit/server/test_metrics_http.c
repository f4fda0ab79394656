// SPDX-License-Identifier: Apache-2.0
// The local HTTP port against a plain socket: what it answers, that it never waits for a peer for
// ever, and that closing leaves no handle behind.
#include "host/server/metrics_http.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uv_loop_t loop;
static MetricsHttp *http;
static Error error;
static bool healthy;

static void page(void *context, Buffer *out) {
    (void)context;
    buffer_append_text(out, "tessera_steps_total 3\n");
}

static bool health(void *context, Buffer *out) {
    (void)context;
    buffer_append_text(out, healthy ? "ok\n" : "draining\n");
    return healthy;
}

static const MetricsPages pages = {.metrics = page, .health = health};

static void listen_on_any_port(void) {
    healthy = true;
    uv_loop_init(&loop);
    cr_assert_eq(metrics_http_open(&loop, 0, &pages, &http, &error), OK, "%s", error.text);
}

static void stop(void) {
    metrics_http_close(http);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0, "a handle was left open");
}

static int dial(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(metrics_http_port(http))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void on_readable(uv_poll_t *poll, int status, int events) {
    (void)poll;
    (void)status;
    (void)events;
}

// Runs the loop until the server closes its side; what came, as text.
static void hear(int fd, char answer[8192]) {
    size_t length = 0;
    ssize_t count;
    uv_poll_t poll; // our side of the socket wakes the loop too
    uv_poll_init(&loop, &poll, fd);
    uv_poll_start(&poll, UV_READABLE, on_readable);
    while ((count = recv(fd, answer + length, 8191 - length, MSG_DONTWAIT)) != 0) {
        length += count > 0 ? (size_t)count : 0;
        uv_run(&loop, UV_RUN_ONCE);
    }
    answer[length] = '\0';
    uv_close((uv_handle_t *)&poll, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    close(fd);
}

static const char *ask(const char *request) {
    static char answer[8192];
    int fd = dial();
    cr_assert_eq(send(fd, request, strlen(request), 0), (ssize_t)strlen(request));
    hear(fd, answer);
    return answer;
}

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

Test(metrics_http, a_collector_gets_the_page, .init = listen_on_any_port, .fini = stop) {
    const char *answer = ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    cr_expect(begins(answer, "HTTP/1.1 200 OK\r\n"), "%s", answer);
    cr_expect_not_null(strstr(answer, "Content-Type: text/plain; version=0.0.4"));
    cr_expect_not_null(strstr(answer, "\r\nContent-Length: 22\r\n"));
    cr_expect_not_null(strstr(answer, "\r\n\r\ntessera_steps_total 3\n"));
    answer = ask("GET /metrics?format=text HTTP/1.0\n\n");
    cr_expect_not_null(strstr(answer, "\r\n\r\ntessera_steps_total 3\n"));
}

Test(metrics_http, head_is_get_without_the_body, .init = listen_on_any_port, .fini = stop) {
    const char *answer = ask("HEAD /metrics HTTP/1.1\r\n\r\n");
    cr_expect_not_null(strstr(answer, "\r\nContent-Length: 22\r\n"));
    cr_expect_str_eq(answer + strlen(answer) - 4, "\r\n\r\n");
}

Test(metrics_http, health_is_a_status, .init = listen_on_any_port, .fini = stop) {
    cr_expect(begins(ask("GET /health HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK\r\n"));
    healthy = false;
    const char *answer = ask("GET /health HTTP/1.1\r\n\r\n");
    cr_expect(begins(answer, "HTTP/1.1 503 Service Unavailable\r\n"));
    cr_expect_not_null(strstr(answer, "\r\n\r\ndraining\n"));
}

Test(metrics_http, what_it_does_not_serve_has_a_status, .init = listen_on_any_port, .fini = stop) {
    const char *const refused[][2] = {
        {"GET / HTTP/1.1\r\n\r\n", "404"},
        {"GET /metricsx HTTP/1.1\r\n\r\n", "404"},
        {"GET /../etc/passwd HTTP/1.1\r\n\r\n", "404"},
        {"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405"},
        {"GET http://localhost/metrics HTTP/1.1\r\n\r\n", "400"},
        {"GET /metrics\r\n\r\n", "400"},
        {"GET /metrics HTTP/2\r\n\r\n", "400"},
        {"\r\n\r\n", "400"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const char *answer = ask(refused[i][0]);
        cr_expect(begins(answer, "HTTP/1.1 ") && begins(answer + 9, refused[i][1]), "%s -> %s",
                  refused[i][0], answer);
    }
    char zero[] = "GET /metrics\0 HTTP/1.1\r\n\r\n";
    int fd = dial();
    send(fd, zero, sizeof zero - 1, 0);
    char answer[8192];
    hear(fd, answer);
    cr_expect(begins(answer, "HTTP/1.1 400"), "%s", answer);
}

Test(metrics_http, a_head_without_end_is_refused, .init = listen_on_any_port, .fini = stop) {
    // More than it will read: the answer still arrives, what is too much is thrown away.
    static char request[20 * METRICS_HTTP_REQUEST + 1];
    memset(request, 'a', sizeof request - 1);
    memcpy(request, "GET /", 5);
    cr_expect(begins(ask(request), "HTTP/1.1 431"));
}

Test(metrics_http, a_peer_that_says_nothing_is_left, .init = listen_on_any_port, .fini = stop) {
    int fd = dial();
    uint64_t start = clock_ns();
    char answer[8192];
    hear(fd, answer);
    cr_expect_geq((clock_ns() - start) / 1000000 + 1, METRICS_HTTP_MS, "not before its time");
    cr_expect_str_empty(answer);
}

Test(metrics_http, with_every_place_taken_the_next_waits_its_turn, .init = listen_on_any_port,
     .fini = stop) {
    int silent[METRICS_HTTP_CONNECTIONS];
    for (int i = 0; i < METRICS_HTTP_CONNECTIONS; i++) {
        silent[i] = dial();
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    int fd = dial();
    const char request[] = "GET /health HTTP/1.1\r\n\r\n";
    send(fd, request, sizeof request - 1, 0);
    for (int i = 0; i < 20; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    char answer[8192];
    cr_expect_eq(recv(fd, answer, sizeof answer, MSG_DONTWAIT), -1, "no place yet");
    for (int i = 0; i < METRICS_HTTP_CONNECTIONS; i++) {
        close(silent[i]);
    }
    hear(fd, answer);
    cr_expect(begins(answer, "HTTP/1.1 200"), "%s", answer);
}

Test(metrics_http, closing_ends_connections_that_are_open, .init = listen_on_any_port) {
    int fd = dial();
    uv_run(&loop, UV_RUN_NOWAIT);
    stop();
    char byte;
    cr_expect_eq(recv(fd, &byte, 1, 0), 0);
    close(fd);
}

Test(metrics_http, a_port_that_is_taken_is_an_error_with_its_number, .init = listen_on_any_port,
     .fini = stop) {
    MetricsHttp *second;
    uint16_t port = metrics_http_port(http);
    cr_expect_eq(metrics_http_open(&loop, port, &pages, &second, &error), E_IO);
    char expected[32];
    snprintf(expected, sizeof expected, "127.0.0.1:%u ", port);
    cr_expect_not_null(strstr(error.text, expected), "%s", error.text);
}
