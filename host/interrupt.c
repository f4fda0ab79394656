// SPDX-License-Identifier: Apache-2.0
#include "host/interrupt.h"

#include "host/command.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

// Both are sequentially consistent. The handler first counts and then looks at `guarded`; a writer
// first sets `guarded` and then looks at the count. So of a second signal and a beginning write at
// least one sees the other, and the process never ends inside the write.
static atomic_int interrupt_count;
static atomic_int guarded;

static void interrupt_handle(int signal_number) {
    (void)signal_number;
    if (atomic_fetch_add(&interrupt_count, 1) >= 1 && atomic_load(&guarded) == 0) {
        _exit(EXIT_INTERRUPTED);
    }
}

void interrupt_install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = interrupt_handle;
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    // A reader that went away is a failed write, not a reason to die without a word.
    signal(SIGPIPE, SIG_IGN);
}

bool interrupt_asked(void) {
    return atomic_load(&interrupt_count) > 0;
}

void interrupt_guard_begin(void) {
    atomic_store(&guarded, 1);
    if (atomic_load(&interrupt_count) >= 2) {
        _exit(EXIT_INTERRUPTED);
    }
}

void interrupt_guard_end(void) {
    atomic_store(&guarded, 0);
    if (atomic_load(&interrupt_count) >= 2) {
        _exit(EXIT_INTERRUPTED);
    }
}
