// SPDX-License-Identifier: Apache-2.0
// The way of the program's words to people. Names, captions, answers and what a server says may
// hold anything, a terminal's commands among it; here all of it becomes text (base/text.h). Nothing
// else in host/ writes to standard error, but the log (log.h) and what draws (progress.h).
#ifndef HOST_CLI_SAY_H
#define HOST_CLI_SAY_H

#include "base/text.h"

#include <stdio.h>

// One line to standard error.
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

// A text of any length to a stream: its very bytes, but made printable where it is a terminal.
// False: it could not be written.
bool say_text(FILE *to, Bytes text);

// A line of a table to standard output, NAME <tab> TEXT: the name so that it can be read back, the
// text with spaces for its own line ends and tabs. False: it could not be written.
bool say_row(const char *name, Bytes text);

#endif
