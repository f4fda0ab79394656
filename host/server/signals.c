// SPDX-License-Identifier: Apache-2.0
#include "host/server/signals.h"

#include "base/file_write.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

typedef enum SignalsState { SIGNALS_STARTING, SIGNALS_SERVING, SIGNALS_ENDED } SignalsState;

// The handler may run on any thread, while another runs it or this file's functions.
static atomic_int signals_state;
static atomic_bool signals_reload;
static atomic_int signals_terms, signals_ints; // not yet taken
static void (*signals_wake)(void *context);    // set before SERVING, then constant
static void *signals_context;

static void signals_end_now(void) {
    static const char text[] = "tessera serve: ended by a signal before it was ready\n";
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written;
    file_write_remove_temporaries();
    _exit(0);
}

static void signals_handle(int number) {
    int before = errno;
    if (number != SIGHUP && atomic_load(&signals_state) == SIGNALS_STARTING) {
        signals_end_now();
    }
    if (number == SIGHUP) {
        atomic_store(&signals_reload, true);
    } else {
        atomic_fetch_add(number == SIGTERM ? &signals_terms : &signals_ints, 1);
    }
    // Looked at after it is remembered: either this sees SERVING or signals_serve wakes later.
    if (atomic_load(&signals_state) == SIGNALS_SERVING) {
        signals_wake(signals_context);
    }
    errno = before;
}

void signals_begin(void) {
    static const int numbers[] = {SIGHUP, SIGTERM, SIGINT};
    struct sigaction action, old;
    // A reader that went away is a failed write, not a reason to die without a word.
    signal(SIGPIPE, SIG_IGN);
    memset(&action, 0, sizeof action);
    action.sa_handler = signals_handle;
    action.sa_flags = SA_RESTART;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        sigaction(numbers[i], NULL, &old);
        if (numbers[i] != SIGINT || old.sa_handler != SIG_IGN) {
            sigaction(numbers[i], &action, NULL);
        }
    }
}

void signals_serve(void (*wake)(void *context), void *context) {
    signals_wake = wake;
    signals_context = context;
    atomic_store(&signals_state, SIGNALS_SERVING);
    wake(context);
}

bool signals_take_reload(void) {
    return atomic_exchange(&signals_reload, false);
}

static bool signals_take(atomic_int *count) {
    int left = atomic_load(count);
    while (left > 0 && !atomic_compare_exchange_weak(count, &left, left - 1)) {
    }
    return left > 0;
}

int signals_take_end(void) {
    if (signals_take(&signals_terms)) {
        return SIGTERM;
    }
    return signals_take(&signals_ints) ? SIGINT : 0;
}

void signals_end(void) {
    atomic_store(&signals_state, SIGNALS_ENDED);
}
