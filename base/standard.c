// SPDX-License-Identifier: Apache-2.0
#include "base/standard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void standard_open(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        // The lowest free number is given, and those below are open by now.
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) {
            abort(); // without /dev/null nothing can be told to anybody
        }
    }
}

static int print_reason; // why standard_print failed; of the thread that prints

bool standard_print(const void *text, size_t length) {
    bool good = fwrite(text, 1, length, stdout) == length && fflush(stdout) == 0;
    if (!good) {
        print_reason = errno;
    }
    return good && !ferror(stdout);
}

Status standard_close(Error *error) {
    bool lost = ferror(stdout) != 0;
    if (fclose(stdout) != 0) {
        print_reason = errno;
    } else if (!lost) {
        return OK;
    }
    return error_set(error, E_IO, "standard output could not be written whole%s%s",
                     print_reason != 0 ? ": " : "",
                     print_reason != 0 ? strerror(print_reason) : "");
}
