// SPDX-License-Identifier: Apache-2.0
// tessera token: a new token for a user, and the line that lets the server know it.
#include "host/command.h"
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
    fprintf(stderr, "The token of %s, shown only now:\n%s\nIts line for the users file:\n",
            options->operands[0], token);
    puts(line);
    return EXIT_GOOD;
}
