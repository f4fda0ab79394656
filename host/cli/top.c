// SPDX-License-Identifier: Apache-2.0
#include "host/cli/top.h"

#include "base/num.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 512, BAR_CELLS = 24, HEAD_ROWS = 10 };

typedef struct Screen {
    Buffer *out;
    uint32_t columns, rows_left;
} Screen;

// What one user got between two snapshots.
typedef struct Turn {
    const UserRow *user;
    uint64_t tokens; // prompt and output
    double service;
} Turn;

void top_keep_names(TopSnapshot *snapshot) {
    for (uint32_t i = 0; i < snapshot->user_count; i++) {
        UserRow *user = &snapshot->users[i];
        size_t length = num_min(user->name.length, TOP_NAME_MAX);
        memcpy(snapshot->names[i], user->name.data, length);
        user->name = (Bytes){(const uint8_t *)snapshot->names[i], length};
    }
}

__attribute__((format(printf, 2, 3))) static void top_line(Screen *screen, const char *format,
                                                           ...) {
    char line[LINE_MAX_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (screen->rows_left == 0) {
        return;
    }
    screen->rows_left--;
    size_t length = num_min(strlen(line), screen->columns);
    while (length > 0 && line[length - 1] == ' ') {
        length--;
    }
    for (size_t i = 0; i < length; i++) { // a name from the server must not drive the terminal
        if (line[i] < ' ' || line[i] > '~') {
            line[i] = '?';
        }
    }
    buffer_append(screen->out, line, length);
    buffer_append_byte(screen->out, '\n');
}

// "1234", "12.3 k", "4.56 M": at most 8 characters up to a million million.
static const char *top_number(double value, char out[24]) {
    static const char *const units[] = {"", " k", " M", " G", " T"};
    int unit = 0;
    while (value >= 9999.5 && unit < 4) {
        value /= 1000;
        unit++;
    }
    int digits = unit == 0 || value >= 999.5 ? 0 : value >= 99.5 ? 1 : 2;
    snprintf(out, 24, "%.*f%s", digits, value, units[unit]);
    return out;
}

// "350 ms", "2.5 s", "12 m 05 s", "3 h 07 m", "2 d 04 h".
static const char *top_duration(uint64_t ms, char out[24]) {
    uint64_t s = ms / 1000, m = s / 60, h = m / 60;
    if (ms < 1000) {
        snprintf(out, 24, "%" PRIu64 " ms", ms);
    } else if (s < 60) {
        snprintf(out, 24, "%.1f s", (double)ms / 1000);
    } else if (m < 60) {
        snprintf(out, 24, "%" PRIu64 " m %02" PRIu64 " s", m, s % 60);
    } else if (h < 24) {
        snprintf(out, 24, "%" PRIu64 " h %02" PRIu64 " m", h, m % 60);
    } else {
        snprintf(out, 24, "%" PRIu64 " d %02" PRIu64 " h", h / 24, h % 24);
    }
    return out;
}

static uint32_t top_cells(uint64_t part, uint64_t total) {
    double share = total > 0 ? (double)part / (double)total : 0;
    return (uint32_t)((share > 1 ? 1 : share) * BAR_CELLS + 0.5);
}

// "[#####:::......]": used, kept for reuse, free.
static const char *top_bar(uint64_t used, uint64_t kept, uint64_t total, char out[BAR_CELLS + 3]) {
    uint32_t full = top_cells(used, total), half = top_cells(used + kept, total);
    out[0] = '[';
    for (uint32_t i = 0; i < BAR_CELLS; i++) {
        out[i + 1] = i < full ? '#' : i < half ? ':' : '.';
    }
    memcpy(out + BAR_CELLS + 1, "]", 2);
    return out;
}

static void top_server(const ServerStats *s, const char *address, Screen *screen) {
    char a[24], b[24], c[24], bar[BAR_CELLS + 3];
    top_line(screen, "tessera  %s  up %s, connections %" PRIu64, address,
             top_duration(s->uptime_ms, a), s->connections);
    top_line(screen, "speed     %s tokens/s, %s prompt tokens/s, %.1f captions/s",
             top_number(s->tokens_per_second, a), top_number(s->prompt_tokens_per_second, b),
             s->pictures_per_second);
    top_line(screen,
             "queue     %" PRIu64 " waiting with %s tokens, %" PRIu64 " in preparation, oldest %s",
             s->waiting, top_number((double)s->queued_tokens, a), s->preparing,
             top_duration(s->oldest_ms, b));
    top_line(screen, "batch     %s %" PRIu64 " of %" PRIu64,
             top_bar(s->running, 0, s->running_max, bar), s->running, s->running_max);
    top_line(screen, "sliding   %s %" PRIu64 " used, %" PRIu64 " cached, of %" PRIu64 " pages",
             top_bar(s->pages_sliding_used, s->pages_sliding_cached, s->pages_sliding_total, bar),
             s->pages_sliding_used, s->pages_sliding_cached, s->pages_sliding_total);
    top_line(screen, "full      %s %" PRIu64 " used, %" PRIu64 " cached, of %" PRIu64 " pages",
             top_bar(s->pages_full_used, s->pages_full_cached, s->pages_full_total, bar),
             s->pages_full_used, s->pages_full_cached, s->pages_full_total);
    double hit = s->prefix_asked_tokens > 0
                     ? 100 * (double)s->prefix_hit_tokens / (double)s->prefix_asked_tokens
                     : 0;
    top_line(screen,
             "prefix    %.0f %% of %s tokens found, %" PRIu64 " preemptions, %" PRIu64 " blobs",
             hit, top_number((double)s->prefix_asked_tokens, a), s->preemptions, s->blobs);
    top_line(
        screen,
        "requests  %s accepted, %s refused, %" PRIu64 " failed, %" PRIu64 " cancelled; %s captions",
        top_number((double)s->requests_accepted, a), top_number((double)s->requests_refused, b),
        s->requests_failed, s->requests_cancelled, top_number((double)s->pictures_finished, c));
    top_line(screen, "%s", "");
}

static const UserRow *top_find(const TopSnapshot *in, Bytes name) {
    for (uint32_t i = 0; in != NULL && i < in->user_count; i++) {
        if (bytes_equal(in->users[i].name, name)) {
            return &in->users[i];
        }
    }
    return NULL;
}

// Most tokens in between first, then most in flight, then most in all.
static int top_compare(const void *left, const void *right) {
    const Turn *a = left, *b = right;
    uint64_t all_a = a->user->prompt_tokens + a->user->output_tokens;
    uint64_t all_b = b->user->prompt_tokens + b->user->output_tokens;
    const uint64_t keys[][2] = {
        {a->tokens, b->tokens}, {a->user->in_flight, b->user->in_flight}, {all_a, all_b}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (keys[i][0] != keys[i][1]) {
            return keys[i][0] > keys[i][1] ? -1 : 1;
        }
    }
    return 0;
}

static void top_user(const Turn *turn, double seconds, double all_service, Screen *screen) {
    const UserRow *user = turn->user;
    char rate[24] = "-", share[24] = "-", requests[24], refused[24], prompt[24], output[24];
    if (seconds > 0) {
        top_number((double)turn->tokens / seconds, rate);
    }
    if (all_service > 0) {
        snprintf(share, sizeof share, "%.0f %%", 100 * turn->service / all_service);
    }
    top_line(screen, "%-16.*s %9" PRIu64 " %9s %8s %8s %8s %8s %6s",
             (int)num_min(user->name.length, 16), (const char *)user->name.data, user->in_flight,
             rate, share, top_number((double)user->prompt_tokens, prompt),
             top_number((double)user->output_tokens, output),
             top_number((double)user->requests, requests),
             top_number((double)user->refused, refused));
}

static void top_users(const TopSnapshot *now, const TopSnapshot *before, Screen *screen) {
    static Turn turns[TOP_USERS_MAX];
    bool later = before != NULL && now->server.uptime_ms > before->server.uptime_ms;
    double seconds = later ? (double)(now->server.uptime_ms - before->server.uptime_ms) / 1000 : 0;
    double all_service = 0;
    for (uint32_t i = 0; i < now->user_count; i++) {
        const UserRow *user = &now->users[i], *old = later ? top_find(before, user->name) : NULL;
        turns[i] = (Turn){.user = user};
        if (old != NULL && user->service >= old->service) {
            turns[i].tokens =
                user->prompt_tokens + user->output_tokens - old->prompt_tokens - old->output_tokens;
            turns[i].service = user->service - old->service;
            all_service += turns[i].service;
        }
    }
    qsort(turns, now->user_count, sizeof turns[0], top_compare);
    top_line(screen, "%-16s %9s %9s %8s %8s %8s %8s %6s", "USER", "IN FLIGHT", "TOKENS/S", "SHARE",
             "PROMPT", "OUTPUT", "REQUESTS", "REFUSED");
    uint32_t shown = now->user_count;
    if (shown > screen->rows_left) {
        shown = screen->rows_left > 0 ? screen->rows_left - 1 : 0; // one line for the rest
    }
    for (uint32_t i = 0; i < shown; i++) {
        top_user(&turns[i], seconds, all_service, screen);
    }
    if (shown < now->user_count) {
        top_line(screen, "and %u more", now->user_count - shown);
    }
}

void top_render(const TopSnapshot *now, const TopSnapshot *before, const char *address,
                uint32_t columns, uint32_t rows, Buffer *out) {
    Screen screen = {.out = out, .columns = columns, .rows_left = rows};
    top_server(&now->server, address, &screen);
    top_users(now, before, &screen);
}
