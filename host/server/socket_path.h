// SPDX-License-Identifier: Apache-2.0
// The place of a Unix socket in the file system. Whoever takes it holds a lock on PATH.lock beside
// it, so that a second server fails before it takes anything else. Only what is its own is removed:
// the file whose device and inode it made, not whatever has the name by then.
#ifndef HOST_SERVER_SOCKET_PATH_H
#define HOST_SERVER_SOCKET_PATH_H

#include "base/status.h"

#include <sys/stat.h>
#include <sys/un.h>

typedef struct SocketPath {
    const char *path; // borrowed; NULL: nothing is taken
    char lock_path[sizeof((struct sockaddr_un *)0)->sun_path + 8];
    int lock;         // descriptor
    bool bound;       // a socket of ours is there, or was
    struct stat mine; // it
} SocketPath;

// Makes the place free: a socket nobody listens on any more is removed. E_ARGUMENT (too long, or
// something else is there), E_BUSY (a server has it), E_IO (no such folder, no permission). After
// an error nothing is taken.
Status socket_path_take(SocketPath *place, const char *path, Error *error);

// A socket there with these permissions, which does not listen yet; its descriptor is the caller's.
Status socket_path_bind(SocketPath *place, uint32_t mode, int *out, Error *error);

// Nobody can connect to it any more, and others may take the place. A zero SocketPath is fine.
void socket_path_give_back(SocketPath *place);

#endif
