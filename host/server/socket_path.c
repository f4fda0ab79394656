// SPDX-License-Identifier: Apache-2.0
#include "host/server/socket_path.h"

#include "base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_un socket_path_address(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    return address;
}

static bool socket_path_same(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

// Removes `path` if it is still this file.
static void socket_path_remove(const char *path, const struct stat *mine) {
    struct stat there;
    if (lstat(path, &there) == 0 && socket_path_same(&there, mine)) {
        unlink(path);
    }
}

static Status socket_path_fail(const char *path, Error *error) {
    const char *slash = strrchr(path, '/');
    int folder = slash != NULL && slash != path ? (int)(slash - path) : 1;
    if (errno == ENOENT) {
        return error_set(error, E_IO,
                         "--socket: %s: there is no folder %.*s; make it, or name another place",
                         path, folder, path);
    }
    return error_set(error, E_IO, "--socket: %s: %s", path, strerror(errno));
}

// ---- The lock -----------------------------------------------------------------------------------

static Status socket_path_busy(const char *path, Error *error) {
    return error_set(error, E_BUSY, "--socket: %s: a server already listens there, or is about to",
                     path);
}

// The file may be removed between its opening and the lock: then the lock is on nothing.
static bool socket_path_lock_is_there(const SocketPath *place) {
    struct stat locked, there;
    return fstat(place->lock, &locked) == 0 && lstat(place->lock_path, &there) == 0 &&
           socket_path_same(&locked, &there);
}

static Status socket_path_lock(SocketPath *place, Error *error) {
    for (;;) {
        place->lock = open(place->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (place->lock < 0) {
            return socket_path_fail(place->path, error);
        }
        if (flock(place->lock, LOCK_EX | LOCK_NB) != 0) {
            Status status = errno == EWOULDBLOCK ? socket_path_busy(place->path, error)
                                                 : socket_path_fail(place->path, error);
            close(place->lock);
            return status;
        }
        if (socket_path_lock_is_there(place)) {
            return OK;
        }
        close(place->lock);
    }
}

static void socket_path_unlock(SocketPath *place) {
    struct stat locked;
    if (fstat(place->lock, &locked) == 0) {
        socket_path_remove(place->lock_path, &locked);
    }
    close(place->lock);
}

// ---- The socket ---------------------------------------------------------------------------------

// A server of a time before the lock, or another program, may listen there without it.
static Status socket_path_clear(const char *path, Error *error) {
    struct stat there;
    if (lstat(path, &there) != 0) {
        return errno == ENOENT ? OK : socket_path_fail(path, error);
    }
    if (!S_ISSOCK(there.st_mode)) {
        return error_set(error, E_ARGUMENT, "--socket: %s is there and is no socket", path);
    }
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) {
        return socket_path_fail(path, error);
    }
    const struct sockaddr_un address = socket_path_address(path);
    bool alive = connect(probe, (const struct sockaddr *)&address, sizeof address) == 0;
    int failure = alive ? 0 : errno;
    close(probe);
    if (alive) {
        return socket_path_busy(path, error);
    }
    errno = failure;
    return failure == ECONNREFUSED && unlink(path) == 0 ? OK : socket_path_fail(path, error);
}

Status socket_path_take(SocketPath *place, const char *path, Error *error) {
    SocketPath taken = {.path = path};
    size_t longest = sizeof(struct sockaddr_un) - offsetof(struct sockaddr_un, sun_path) - 1;
    if (strlen(path) > longest) {
        return error_set(error, E_ARGUMENT, "--socket: %s is longer than %zu bytes", path, longest);
    }
    snprintf(taken.lock_path, sizeof taken.lock_path, "%s.lock", path);
    TRY(socket_path_lock(&taken, error));
    Status status = socket_path_clear(path, error);
    if (status == OK) {
        *place = taken;
    } else {
        socket_path_unlock(&taken);
    }
    return status;
}

// Nobody may connect in the moment between bind and chmod.
static Status socket_path_name(SocketPath *place, int to, uint32_t mode, Error *error) {
    const struct sockaddr_un address = socket_path_address(place->path);
    mode_t before = umask(0177);
    int result = bind(to, (const struct sockaddr *)&address, sizeof address);
    umask(before);
    if (result != 0) {
        return socket_path_fail(place->path, error);
    }
    place->bound = lstat(place->path, &place->mine) == 0;
    if (!place->bound || chmod(place->path, (mode_t)mode) != 0) {
        return error_set(error, E_IO, "--socket: %s: its permissions cannot be set: %s",
                         place->path, strerror(errno));
    }
    return OK;
}

Status socket_path_bind(SocketPath *place, uint32_t mode, int *out, Error *error) {
    int made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (made < 0) {
        return socket_path_fail(place->path, error);
    }
    Status status = socket_path_name(place, made, mode, error);
    if (status != OK) {
        close(made);
        return status;
    }
    *out = made;
    return OK;
}

void socket_path_give_back(SocketPath *place) {
    if (place->path == NULL) {
        return;
    }
    if (place->bound) {
        socket_path_remove(place->path, &place->mine);
    }
    socket_path_unlock(place);
    *place = (SocketPath){0};
}
