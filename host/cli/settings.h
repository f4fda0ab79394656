// SPDX-License-Identifier: Apache-2.0
// Options from a file and from the environment, for the commands that take --config. The rows of
// options.def are the only list of names:
//
//     argument --socket-mode 0660  >  TESSERA_SOCKET_MODE=0660  >  a line  socket-mode = 0660
//
// File: one NAME = VALUE a line, blanks around both are dropped, # begins a comment, a line is at
// most as long as the file (SETTINGS_BYTES_MAX). A name twice in a file is an error.
#ifndef HOST_CLI_SETTINGS_H
#define HOST_CLI_SETTINGS_H

#include "base/bytes.h"
#include "host/cli/options.h"

enum { SETTINGS_BYTES_MAX = 1024 * 1024 };

// Adds what the arguments did not give. Does nothing for a command without --config. E_ARGUMENT
// ("FILE:LINE: ..." or "TESSERA_NAME: ..."), E_NOT_FOUND, E_IO, E_LIMIT, E_MEMORY.
Status settings_add(CommandSet command, Options *options, Error *error);

// The text of a file. `source` is for errors. Options already given stay.
Status settings_parse(CommandSet command, Bytes text, const char *source, Options *options,
                      Error *error);

#endif
