// SPDX-License-Identifier: Apache-2.0
// The program `tessera`. Everything is in command.c and the command_*.c files.
#include "host/command.h"

int main(int argc, char **argv) {
    return command_main(argc, argv);
}
