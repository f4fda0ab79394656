// SPDX-License-Identifier: Apache-2.0
// tessera top: what a running server does, once as text or again and again over the terminal.
#include "base/check.h"
#include "base/clock.h"
#include "base/standard.h"
#include "host/cli/command.h"
#include "host/cli/model_options.h"
#include "host/cli/top.h"
#include "host/interrupt.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

// Control sequences of ECMA-48 and of xterm's alternate screen.
#define SCREEN_ENTER "\x1b[?1049h\x1b[?25l"
#define SCREEN_LEAVE "\x1b[?25h\x1b[?1049l"

typedef struct Top {
    Remote remote;
    TopSnapshot snapshots[2];
    uint32_t taken; // snapshots so far
} Top;

static Status top_take(Top *top, Error *error) {
    ClientEvent event;
    TRY(remote_call(&top->remote, METHOD_STATS, &event, error));
    TopSnapshot *snapshot = &top->snapshots[top->taken % 2];
    TRY(client_read_stats(event.result, &snapshot->server, snapshot->users, TOP_USERS_MAX,
                          &snapshot->user_count, error));
    top_keep_names(snapshot);
    top->taken++;
    return OK;
}

static void top_render_last(const Top *top, uint32_t columns, uint32_t rows, Buffer *out) {
    const TopSnapshot *now = &top->snapshots[(top->taken - 1) % 2];
    const TopSnapshot *before = top->taken > 1 ? &top->snapshots[top->taken % 2] : NULL;
    top_render(now, before, top->remote.address, columns, rows, out);
}

// The picture from the top left corner, every line's and the screen's rest wiped; no line end after
// the last line, or the terminal would scroll. False: nobody sees it any more.
static bool top_draw(const Top *top) {
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) {
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    }
    Buffer text = {0}, frame = {0};
    top_render_last(top, size.ws_col, size.ws_row, &text);
    buffer_append_text(&frame, "\x1b[H");
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] != '\n') {
            buffer_append_byte(&frame, text.data[i]);
        } else {
            buffer_append_text(&frame, i + 1 < text.length ? "\x1b[K\r\n" : "\x1b[K");
        }
    }
    buffer_append_text(&frame, "\x1b[J");
    bool shown = standard_print(frame.data, frame.length);
    buffer_free(&text);
    buffer_free(&frame);
    return shown;
}

// Waits, with an ear for the server, until it is time again or the user has had enough.
static Status top_wait(Top *top, uint64_t wait_ms, Error *error) {
    uint64_t end_ms = clock_ns() / 1000000 + wait_ms;
    for (;;) {
        uint64_t now_ms = clock_ns() / 1000000;
        if (now_ms >= end_ms || interrupt_asked()) {
            return OK;
        }
        TRY(socket_pump(&top->remote.socket, top->remote.client, (int)(end_ms - now_ms), error));
    }
}

static Status top_watch(Top *top, uint64_t every_ms, Error *error) {
    while (!interrupt_asked()) {
        Status status = top_take(top, error);
        if (status != OK) {
            return interrupt_asked() ? OK : status;
        }
        if (!top_draw(top)) {
            return OK;
        }
        TRY(top_wait(top, every_ms, error));
    }
    return OK;
}

static Status top_once(Top *top, Error *error) {
    TRY(top_take(top, error));
    Buffer text = {0};
    top_render_last(top, UINT32_MAX, UINT32_MAX, &text);
    standard_print(text.data, text.length);
    buffer_free(&text);
    return OK;
}

Exit command_top(const Options *options) {
    Error error = {0};
    if (options->operand_count != 0) {
        error_set(&error, E_ARGUMENT, "'%s': top takes options only", options->operands[0]);
        return command_fail("top", &error, EXIT_USAGE);
    }
    interrupt_install_ending();
    Top *top = calloc(1, sizeof *top);
    RemoteTarget server;
    Status status = top != NULL ? model_options_server(options, &server, &error)
                                : error_set(&error, E_MEMORY, "no memory");
    if (status == OK) {
        status = remote_open(&server, &top->remote, &error);
    }
    if (status != OK) {
        free(top);
        return command_fail("top", &error, command_start_exit(status));
    }
    if (options->values[OPT_ONCE].given || !isatty(STDOUT_FILENO)) {
        status = top_once(top, &error);
    } else {
        interrupt_install();
        fputs(SCREEN_ENTER, stdout);
        status = top_watch(top, (uint64_t)(options->values[OPT_EVERY].real * 1000), &error);
        fputs(SCREEN_LEAVE, stdout);
        fflush(stdout);
    }
    remote_close(&top->remote);
    free(top);
    return status == OK ? EXIT_GOOD : command_fail("top", &error, EXIT_START);
}
