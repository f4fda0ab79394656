// SPDX-License-Identifier: Apache-2.0
// tessera token: a new token for a user, and the line that lets the server know it.
#include "host/cli/command.h"
#include "host/cli/say.h"
#include "host/server/users.h"

Exit command_token(const Options *options) {
    char token[USER_TOKEN_TEXT], line[USER_LINE_TEXT];
    Error error = {0};
    if (options->operand_count != 1) {
        error_set(&error, E_ARGUMENT, "give one NAME: tessera token NAME");
        return command_fail("token", &error, EXIT_USAGE);
    }
    if (users_make_token(options->operands[0], token, line, &error) != OK) {
        return command_fail("token", &error, command_start_exit(error.status));
    }
    say("The token of %s, shown only now:", options->operands[0]);
    say("%s", token);
    say("Its line for the users file:");
    say_text(stdout, bytes_of_text(line));
    say_text(stdout, bytes_of_text("\n"));
    return EXIT_GOOD;
}
