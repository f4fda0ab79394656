// SPDX-License-Identifier: Apache-2.0
#include "host/media/child_start.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "host/decoder/call.h"

#define PROGRAM "/libexec/tessera-decoder"

// Cuts the last part of a path off; false when nothing is left.
static bool to_folder(char *path) {
    char *slash = strrchr(path, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    return slash != NULL;
}

Status child_program(char *path, size_t room, Error *error) {
    char own[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    own[length > 0 ? length : 0] = '\0';
    for (uint32_t level = 0; level < 2 && to_folder(own); level++) {
        int wanted = snprintf(path, room, "%s" PROGRAM, own);
        if (wanted > 0 && (size_t)wanted < room && access(path, X_OK) == 0) {
            return OK;
        }
    }
    return error_set(error, E_IO,
                     "this kind of picture is decoded by libexec/tessera-decoder beside the "
                     "program, and it is not there; install tessera whole, or send a JPEG or PNG");
}

static Status not_started(int reason, Error *error) {
    bool short_of = reason == EAGAIN || reason == ENOMEM || reason == EMFILE || reason == ENFILE;
    return error_set(error, short_of ? E_MEMORY : E_IO,
                     "the decoder of this kind of picture cannot be started (%s); %s",
                     strerror(reason),
                     short_of ? "raise the limits of processes, memory and open files, or try "
                                "again later"
                              : "install tessera whole, or send a JPEG or PNG");
}

static int spawn(int *id, const char *program, int socket, char *const *arguments) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t settings;
    char *const no_environment[] = {NULL};
    sigset_t all;
    sigfillset(&all);
    int reason = posix_spawn_file_actions_init(&actions);
    if (reason != 0) {
        return reason;
    }
    reason = posix_spawnattr_init(&settings);
    if (reason == 0) {
        posix_spawnattr_setflags(&settings, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        posix_spawnattr_setsigmask(&settings, &all);
        posix_spawnattr_setsigdefault(&settings, &all);
        reason = posix_spawn_file_actions_adddup2(&actions, socket, DECODER_SOCKET);
        if (reason == 0) {
            reason = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
        }
        if (reason == 0) {
            reason = posix_spawn(id, program, &actions, &settings, arguments, no_environment);
        }
        posix_spawnattr_destroy(&settings);
    }
    posix_spawn_file_actions_destroy(&actions);
    return reason;
}

Status child_start(ChildProcess *process, const char *program, uint64_t memory_bytes,
                   Error *error) {
    char found[PATH_MAX], memory[24], name[] = "tessera-decoder";
    if (program == NULL) {
        TRY(child_program(found, sizeof found, error));
        program = found;
    }
    snprintf(memory, sizeof memory, "%" PRIu64, memory_bytes);
    char *const arguments[] = {name, memory, NULL};
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return not_started(errno, error);
    }
    int id, reason = spawn(&id, program, ends[1], arguments);
    close(ends[1]);
    if (reason != 0) {
        close(ends[0]);
        return not_started(reason, error);
    }
    *process = (ChildProcess){.id = id, .socket = ends[0]};
    return OK;
}

int child_stop(ChildProcess *process) {
    int status = 0;
    if (process->id == 0) {
        return 0;
    }
    close(process->socket);
    kill(process->id, SIGKILL); // of one that has ended nothing changes until it is waited for
    while (waitpid(process->id, &status, 0) < 0) {
        if (errno != EINTR) {
            status = 0;
            break;
        }
    }
    *process = (ChildProcess){0};
    return status;
}
