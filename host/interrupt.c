// SPDX-License-Identifier: Apache-2.0
#include "host/interrupt.h"

#include "base/file_write.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

// Both are sequentially consistent. The handler first counts and then looks at `guarded`; a writer
// first sets `guarded` and then looks at the count. So of a second signal and a beginning write at
// least one sees the other, and the process never ends inside the write.
static atomic_int interrupt_count;
static atomic_int guarded;

static void interrupt_end(int signal_number) {
    (void)signal_number;
    file_write_remove_temporaries();
    _exit(INTERRUPT_EXIT);
}

static void interrupt_handle(int signal_number) {
    if (atomic_fetch_add(&interrupt_count, 1) >= 1 && atomic_load(&guarded) == 0) {
        interrupt_end(signal_number);
    }
}

// Whoever started the program with a signal ignored wants it so: a shell does it for jobs in the
// background of a script, nohup for a hangup.
static void interrupt_handle_with(void (*handler)(int)) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action, old;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) {
            sigaction(signals[i], &action, NULL);
        }
    }
    // A reader that went away is a failed write, not a reason to die without a word.
    signal(SIGPIPE, SIG_IGN);
}

void interrupt_install(void) {
    interrupt_handle_with(interrupt_handle);
}

void interrupt_install_ending(void) {
    interrupt_handle_with(interrupt_end);
}

bool interrupt_asked(void) {
    return atomic_load(&interrupt_count) > 0;
}

void interrupt_guard_begin(void) {
    atomic_store(&guarded, 1);
    if (atomic_load(&interrupt_count) >= 2) {
        interrupt_end(0);
    }
}

void interrupt_guard_end(void) {
    atomic_store(&guarded, 0);
    if (atomic_load(&interrupt_count) >= 2) {
        interrupt_end(0);
    }
}
