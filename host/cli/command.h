// SPDX-License-Identifier: Apache-2.0
// The subcommands as a table: what each is called, does and shows as examples. One file
// command_NAME.c holds each run function. Exit statuses mean the same everywhere (enum Exit).
#ifndef HOST_CLI_COMMAND_H
#define HOST_CLI_COMMAND_H

#include "host/cli/options.h"
#include "host/interrupt.h"

#include <stdio.h>

typedef enum Exit {
    EXIT_GOOD = 0,
    EXIT_ITEMS = 1, // finished, but some items failed
    EXIT_USAGE = 2, // the command line is wrong
    EXIT_START = 3, // could not start, or could not go on
    EXIT_INTERRUPTED = INTERRUPT_EXIT,
} Exit;

typedef struct Command {
    CommandSet set; // its bit
    const char *name;
    const char *operands; // for the usage line
    const char *summary;  // one line
    const char *text;     // what it does, for the help and the manual
    const char *examples; // lines "command\n  what it does\n"
    bool hidden;
    Exit (*run)(const Options *options);
} Command;

extern const Command commands[];
extern const size_t command_count;

Exit command_caption(const Options *options);
Exit command_ask(const Options *options);
Exit command_logits(const Options *options);
Exit command_info(const Options *options);
Exit command_quantize(const Options *options);
Exit command_top(const Options *options);
Exit command_token(const Options *options);
Exit command_serve(const Options *options);
Exit command_help(const Options *options);

// The whole program: picks the command, reads its options, runs it, and looks whether all of its
// standard output has arrived (EXIT_START when not), for every command alike.
Exit command_main(int argc, char **argv);

// ---- command_fail.c -----------------------------------------------------------------------------

// Prints "tessera NAME: TEXT" to stderr and returns `status`. `name` may be NULL.
Exit command_fail(const char *name, const Error *error, Exit status);

// EXIT_USAGE for what the command line said wrongly, else EXIT_START.
Exit command_start_exit(Status status);

#endif
