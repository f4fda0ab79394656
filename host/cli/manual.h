// SPDX-License-Identifier: Apache-2.0
// Everything a person reads about the commands, made from the tables (options.def, command.c):
// --help, docs/cli.md, docs/man/tessera.1 and docs/completion/tessera.bash. The last three are
// committed; tests/unit/host/test_manual.c fails when they are stale and says how to make them.
#ifndef HOST_CLI_MANUAL_H
#define HOST_CLI_MANUAL_H

#include "base/bytes.h"
#include "host/cli/command.h"

void manual_overview(Buffer *out);
void manual_help(const Command *command, Buffer *out);
void manual_markdown(Buffer *out);
void manual_man(Buffer *out);
void manual_completion(Buffer *out);

#endif
