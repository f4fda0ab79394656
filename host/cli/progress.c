// SPDX-License-Identifier: Apache-2.0
#include "host/cli/progress.h"

#include "base/clock.h"
#include "base/num.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAR_EVERY_NS  100000000ull
#define LINE_EVERY_NS 10000000000ull
enum { BAR_CELLS_MAX = 40, COLUMNS_UNKNOWN = 80 };

double progress_seconds(const Progress *progress) {
    return (double)(clock_ns() - progress->begin_ns) * 1e-9;
}

void progress_time_text(double seconds, char out[24]) {
    uint64_t whole = seconds < 0 ? 0 : seconds > 359999999.0 ? 359999999 : (uint64_t)seconds;
    unsigned hours = (unsigned)(whole / 3600), minutes = (unsigned)(whole / 60 % 60);
    if (hours > 0) {
        snprintf(out, 24, "%u:%02u:%02u", hours, minutes, (unsigned)(whole % 60));
    } else {
        snprintf(out, 24, "%u:%02u", minutes, (unsigned)(whole % 60));
    }
}

void progress_begin(Progress *progress, uint64_t total, bool enabled) {
    *progress = (Progress){
        .enabled = enabled,
        .on_terminal = isatty(STDERR_FILENO) == 1,
        .total = total,
        .begin_ns = clock_ns(),
    };
    progress->drawn_ns = progress->begin_ns;
}

// "12/24  1.9 pictures/s  0:06 left  1 error"
static void progress_text(const Progress *progress, char out[160]) {
    uint64_t worked = progress->done - progress->skipped;
    double rate = (double)worked / progress_seconds(progress);
    char left[24] = "-:--";
    if (worked > 0) {
        progress_time_text((double)(progress->total - progress->done) / rate, left);
    }
    int length = snprintf(out, 160, "%llu/%llu  %.*f pictures/s  %s left",
                          (unsigned long long)progress->done, (unsigned long long)progress->total,
                          rate < 10 ? 2 : 0, rate, left);
    if (progress->errors > 0 && length < 120) {
        snprintf(out + length, 160 - (size_t)length, "  %llu error%s",
                 (unsigned long long)progress->errors, progress->errors == 1 ? "" : "s");
    }
}

static void progress_draw_bar(Progress *progress) {
    char text[160];
    progress_text(progress, text);
    struct winsize window;
    size_t columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0
                         ? window.ws_col
                         : COLUMNS_UNKNOWN;
    size_t used = strlen(text) + 3;
    size_t cells = columns > used ? num_min(columns - used, BAR_CELLS_MAX) : 0;
    size_t full = progress->total > 0 ? (size_t)(cells * progress->done / progress->total) : 0;
    char bar[BAR_CELLS_MAX + 1];
    memset(bar, '.', cells);
    memset(bar, '#', full);
    bar[cells] = '\0';
    fprintf(stderr, "\r\033[K%s %.*s", bar, (int)num_min(strlen(text), columns - 1), text);
    fflush(stderr);
    progress->bar_shown = true;
}

void progress_tick(Progress *progress) {
    uint64_t now_ns = clock_ns();
    uint64_t every_ns = progress->on_terminal ? BAR_EVERY_NS : LINE_EVERY_NS;
    if (!progress->enabled || now_ns - progress->drawn_ns < every_ns) {
        return;
    }
    progress->drawn_ns = now_ns;
    if (progress->on_terminal) {
        progress_draw_bar(progress);
    } else {
        char text[160];
        progress_text(progress, text);
        fprintf(stderr, "%s\n", text);
    }
}

void progress_clear(Progress *progress) {
    if (progress->bar_shown) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        progress->bar_shown = false;
    }
}

void progress_end(Progress *progress) {
    progress_clear(progress);
    progress->enabled = false;
}
