// SPDX-License-Identifier: Apache-2.0
// How a command that cannot go on says so, and what it ends with. Apart from the table of commands,
// which calls each of them.
#include "host/cli/command.h"

#include "host/cli/say.h"

Exit command_fail(const char *name, const Error *error, Exit status) {
    say("tessera%s%s: %s", name != NULL ? " " : "", name != NULL ? name : "", error->text);
    return status;
}

Exit command_start_exit(Status status) {
    return status == E_ARGUMENT ? EXIT_USAGE : EXIT_START;
}
