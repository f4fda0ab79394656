// SPDX-License-Identifier: Apache-2.0
// The program `tessera`. Everything is in command.c and the command_*.c files.
#include "base/standard.h"
#include "host/cli/command.h"

#include <signal.h>

// What whoever started the program may have set otherwise. A process of ours keeps its number until
// it is waited for; a file that reaches a limit on its size (ulimit -f) is an error, not the end.
static void begin_signals(void) {
    signal(SIGCHLD, SIG_DFL);
    signal(SIGXFSZ, SIG_IGN);
}

int main(int argc, char **argv) {
    standard_open();
    begin_signals();
    return command_main(argc, argv);
}
