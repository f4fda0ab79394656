// SPDX-License-Identifier: Apache-2.0
// The program `tessera`. Everything is in command.c and the command_*.c files.
#include "base/standard.h"
#include "host/cli/command.h"

int main(int argc, char **argv) {
    standard_open();
    return command_main(argc, argv);
}
