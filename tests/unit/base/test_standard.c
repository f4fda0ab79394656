// SPDX-License-Identifier: Apache-2.0
// Programs that begin with closed descriptors, and programs whose reader does not take it. Each is
// a child process, because what it does to its descriptors would be done to the test's.
#include "base/standard.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int in_child(int (*program)(unsigned), unsigned argument) {
    pid_t child = fork();
    if (child == 0) {
        _exit(program(argument));
    }
    int state = 0;
    cr_assert_eq(waitpid(child, &state, 0), child);
    cr_assert(WIFEXITED(state), "state %d", state);
    return WEXITSTATUS(state);
}

static int opened(unsigned closed) {
    for (int fd = 0; fd < 3; fd++) {
        if (closed >> fd & 1) {
            close(fd);
        }
    }
    standard_open();
    char byte = 'x';
    for (int fd = 0; fd < 3; fd++) {
        if (closed >> fd & 1 && (read(fd, &byte, 1) != 0 || write(fd, &byte, 1) != 1)) {
            return 1; // not /dev/null
        }
    }
    return open("/dev/null", O_RDONLY) > 2 ? 0 : 2;
}

Test(standard, a_file_of_ours_never_gets_a_standard_descriptor) {
    for (unsigned closed = 0; closed < 8; closed++) {
        cr_expect_eq(in_child(opened, closed), 0, "closed: %u", closed);
    }
}

static int printed(unsigned bytes) {
    if (freopen("/dev/full", "w", stdout) == NULL) {
        return 9;
    }
    Error error = {0};
    for (unsigned i = 0; i < bytes; i++) {
        putchar('x');
    }
    Status status = standard_close(&error);
    return status == E_IO && strstr(error.text, "standard output") != NULL ? 1
           : status == OK                                                  ? 0
                                                                           : 2;
}

Test(standard, what_did_not_arrive_is_noticed_whatever_its_length) {
    cr_expect_eq(in_child(printed, 0), 0);
    cr_expect_eq(in_child(printed, 1), 1);
    cr_expect_eq(in_child(printed, 100000), 1, "the write failed before the end");
}

static int print_on(unsigned bytes) {
    (void)bytes;
    if (freopen("/dev/full", "w", stdout) == NULL) {
        return 9;
    }
    bool first = standard_print("x", 1);
    bool later = standard_print("", 0);
    return first || later;
}

Test(standard, printing_says_at_once_that_nobody_takes_it) {
    cr_expect_eq(in_child(print_on, 0), 0);
}
