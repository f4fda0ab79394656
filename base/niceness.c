// SPDX-License-Identifier: Apache-2.0
#include "base/niceness.h"

#include <sys/resource.h>
#include <unistd.h>

// On Linux "the process" of these calls is a thread, and 0 the one that calls (setpriority(2),
// under "C library/kernel differences").

int niceness_get(void) {
    return getpriority(PRIO_PROCESS, 0);
}

void niceness_add(int steps) {
#if defined(__linux__)
    if (steps > 0) {
        setpriority(PRIO_PROCESS, 0, niceness_get() + steps); // the kernel stops at the last one
    }
#else
    (void)steps;
#endif
}
