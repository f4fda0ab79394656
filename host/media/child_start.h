// SPDX-License-Identifier: Apache-2.0
// Starting and stopping the process of a MediaChild. Internal to the room.
#ifndef HOST_MEDIA_CHILD_START_H
#define HOST_MEDIA_CHILD_START_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct ChildProcess {
    int id; // 0: none
    int socket;
} ChildProcess;

// libexec/tessera-decoder in the folder of the running program (a build) or in the one above (where
// it is installed, and the tests of a build). E_IO.
Status child_program(char *path, size_t room, Error *error);

// It gets a socket and no other descriptor that it keeps, no environment, and no signal but those
// that cannot be blocked: what a terminal or a service manager sends to all processes of a group is
// the program's affair. program: NULL for child_program's. E_IO, E_MEMORY.
Status child_start(ChildProcess *process, const char *program, uint64_t memory_bytes, Error *error);

// Kills it unless it has ended, and returns how it ended (of waitpid; 0 when nobody knows). One
// that was never started is fine.
int child_stop(ChildProcess *process);

#endif
