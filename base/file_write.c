// SPDX-License-Identifier: Apache-2.0
#include "base/file_write.h"

#include "base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { LINKS_MAX = 40, PLACES = 16, NAME_TRIES = 8 }; // 40 links is the kernel's own limit

typedef enum PlaceState { PLACE_FREE, PLACE_FILLED, PLACE_LISTED } PlaceState;

// One open temporary file. A handler may read it at any time: what it reads of a place that is just
// given up names no file any more.
typedef struct Place {
    atomic_int state; // PlaceState
    int folder;
    char name[FILE_TEMPORARY_TEXT];
} Place;
static Place places[PLACES];

static int place_take(int folder, const char *name) {
    for (int i = 0; i < PLACES; i++) {
        int state = PLACE_FREE;
        if (atomic_compare_exchange_strong(&places[i].state, &state, PLACE_FILLED)) {
            places[i].folder = folder;
            memcpy(places[i].name, name, sizeof places[i].name);
            atomic_store(&places[i].state, PLACE_LISTED);
            return i;
        }
    }
    return -1; // written all the same; only a signal would leave it
}

static void place_give(int place) {
    if (place >= 0) {
        atomic_store(&places[place].state, PLACE_FREE);
    }
}

void file_write_remove_temporaries(void) {
    for (int i = 0; i < PLACES; i++) {
        if (atomic_load(&places[i].state) == PLACE_LISTED) {
            unlinkat(places[i].folder, places[i].name, 0);
        }
    }
}

// Where the bytes of a path go.
typedef struct Target {
    bool through; // to what is there, not to a new file
    bool exists;
    struct stat info; // where it exists
    int folder;       // where not through; closed by the caller
    char path[PATH_MAX];
    const char *name; // in `path`
} Target;

static void target_split(Target *target) {
    const char *slash = strrchr(target->path, '/');
    target->name = slash != NULL ? slash + 1 : target->path;
}

static int target_open_folder(Target *target) {
    target_split(target);
    char folder[PATH_MAX];
    size_t length = (size_t)(target->name - target->path);
    memcpy(folder, length > 0 ? target->path : ".", length > 0 ? length : 1);
    folder[length > 0 ? length : 1] = '\0';
    target->folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return target->folder >= 0 ? 0 : errno;
}

// Puts what the link says in the place of the path's last name. ENOENT, EINVAL: there is no link.
static int target_step(Target *target) {
    char link[PATH_MAX];
    ssize_t length = readlinkat(target->folder, target->name, link, sizeof link);
    if (length < 0) {
        return errno;
    }
    size_t kept = link[0] == '/' ? 0 : (size_t)(target->name - target->path);
    if (kept + (size_t)length >= sizeof target->path) {
        return ENAMETOOLONG;
    }
    memcpy(target->path + kept, link, (size_t)length);
    target->path[kept + (size_t)length] = '\0';
    return 0;
}

// Follows links from name to name, of which the last need not exist. What lies in /proc is a
// descriptor and not a name.
static int target_follow(Target *target) {
    for (int links = 0; links < LINKS_MAX; links++) {
        int reason = target_open_folder(target);
        if (reason != 0) {
            return reason;
        }
        struct statfs system;
        if (fstatfs(target->folder, &system) == 0 && system.f_type == PROC_SUPER_MAGIC) {
            target->through = true;
            return 0;
        }
        reason = target_step(target);
        if (reason == ENOENT || reason == EINVAL) {
            return 0;
        }
        close(target->folder);
        target->folder = -1;
        if (reason != 0) {
            return reason;
        }
    }
    return ELOOP;
}

// May a file be made in the folder, and may the one that is there be written?
static int target_permit(const Target *target) {
    if (*target->name == '\0') {
        return ENOENT;
    }
    if (faccessat(target->folder, ".", W_OK | X_OK, AT_EACCESS) != 0 ||
        (target->exists && faccessat(target->folder, target->name, W_OK, AT_EACCESS) != 0)) {
        return errno;
    }
    return 0;
}

static int target_find(const char *path, Target *target) {
    target->folder = -1;
    target->through = strcmp(path, "-") == 0;
    size_t length = strlen(path);
    if (target->through || length >= sizeof target->path) {
        return target->through ? 0 : ENAMETOOLONG;
    }
    memcpy(target->path, path, length + 1);
    target->exists = stat(path, &target->info) == 0;
    if (!target->exists && errno != ENOENT) {
        return errno;
    }
    if (target->exists && S_ISDIR(target->info.st_mode)) {
        return EISDIR;
    }
    if (target->exists && !S_ISREG(target->info.st_mode)) {
        target->through = true;
        return 0;
    }
    int reason = target_follow(target);
    return reason != 0 || target->through ? reason : target_permit(target);
}

static void target_close(Target *target) {
    if (target->folder >= 0) {
        close(target->folder);
    }
}

static Status cannot_write(const char *path, int reason, Error *error) {
    return error_set(error, E_IO, "%s: cannot be written: %s", path, strerror(reason));
}

Status file_write_check(const char *path, Error *error) {
    Target target = {0};
    int reason = target_find(path, &target);
    if (reason == 0 && target.through && target.exists && access(path, W_OK) != 0) {
        reason = errno;
    }
    target_close(&target);
    return reason == 0 ? OK : cannot_write(path, reason, error);
}

// Owner and group first: changing them may take mode bits away. Where the group cannot be kept,
// another group must not get its rights.
static int file_write_keep(int fd, const struct stat *old) {
    mode_t mode = old->st_mode & 0777;
    struct stat now;
    if (fstat(fd, &now) != 0) {
        return errno;
    }
    if (now.st_uid != old->st_uid) {
        int result = fchown(fd, old->st_uid, (gid_t)-1);
        (void)result; // only root can
    }
    if (now.st_gid != old->st_gid && fchown(fd, (uid_t)-1, old->st_gid) != 0) {
        mode &= ~(mode_t)070;
    }
    return fchmod(fd, mode) == 0 ? 0 : errno;
}

// A new file under a new name, listed before it is there.
static int file_write_make(FileWrite *file, int folder, mode_t mode) {
    for (int tries = 0; tries < NAME_TRIES; tries++) {
        uint64_t drawn;
        if (getrandom(&drawn, sizeof drawn, 0) != (ssize_t)sizeof drawn) {
            return EIO;
        }
        snprintf(file->temporary, sizeof file->temporary, ".new-%016llx",
                 (unsigned long long)drawn);
        int place = place_take(folder, file->temporary);
        file->fd = openat(folder, file->temporary,
                          O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (file->fd >= 0) {
            file->place = place;
            return 0;
        }
        int reason = errno;
        place_give(place);
        if (reason != EEXIST) {
            return reason;
        }
    }
    return EEXIST;
}

static int file_write_open(FileWrite *file, Target *target) {
    if (target->through) {
        // O_APPEND: a regular file that is reached through a descriptor keeps what it has.
        file->fd = strcmp(file->path, "-") == 0
                       ? STDOUT_FILENO
                       : open(file->path, O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC);
        return file->fd >= 0 ? 0 : errno;
    }
    size_t length = strlen(target->name);
    if (length > FILE_NAME_MAX) {
        return ENAMETOOLONG;
    }
    memcpy(file->name, target->name, length + 1);
    int reason = file_write_make(file, target->folder, target->exists ? 0600 : 0666);
    if (reason != 0) {
        return reason;
    }
    file->folder = target->folder;
    target->folder = -1;
    return target->exists ? file_write_keep(file->fd, &target->info) : 0;
}

Status file_write_begin(const char *path, FileWrite *out, Error *error) {
    *out = (FileWrite){.path = path, .fd = -1, .folder = -1, .place = -1, .open = true};
    Target target = {0};
    int reason = target_find(path, &target);
    if (reason == 0) {
        reason = file_write_open(out, &target);
    }
    target_close(&target);
    if (reason != 0) {
        file_write_abandon(out);
        return cannot_write(path, reason, error);
    }
    return OK;
}

Status file_write_append(FileWrite *file, Bytes bytes, Error *error) {
    while (bytes.length > 0) {
        ssize_t count = write(file->fd, bytes.data, bytes.length);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            return cannot_write(file->path, count < 0 ? errno : EIO, error);
        }
        bytes.data += count;
        bytes.length -= (size_t)count;
    }
    return OK;
}

static bool file_write_close(FileWrite *file) {
    bool good = file->fd < 0 || file->fd == STDOUT_FILENO || close(file->fd) == 0;
    file->fd = -1;
    return good;
}

Status file_write_end(FileWrite *file, Error *error) {
    bool good = file_write_close(file);
    good = good && (file->folder < 0 ||
                    renameat(file->folder, file->temporary, file->folder, file->name) == 0);
    Status status = good ? OK : cannot_write(file->path, errno, error);
    file_write_abandon(file);
    return status;
}

void file_write_abandon(FileWrite *file) {
    if (!file->open) {
        return;
    }
    file_write_close(file);
    if (file->folder >= 0) {
        unlinkat(file->folder, file->temporary, 0); // the name is gone where it was taken over
        place_give(file->place);
        close(file->folder);
    }
    file->open = false;
}

Status file_write_parts(const char *path, const Bytes *parts, size_t count, Error *error) {
    FileWrite file;
    TRY(file_write_begin(path, &file, error));
    Status status = OK;
    for (size_t i = 0; i < count && status == OK; i++) {
        status = file_write_append(&file, parts[i], error);
    }
    if (status == OK) {
        status = file_write_end(&file, error);
    }
    file_write_abandon(&file);
    return status;
}

Status file_write_whole(const char *path, Bytes bytes, Error *error) {
    return file_write_parts(path, &bytes, 1, error);
}

static int file_write_empty(int fd) {
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return errno;
    }
    if (!S_ISREG(info.st_mode) || info.st_uid != geteuid()) {
        return EPERM;
    }
    return fchmod(fd, 0600) == 0 && ftruncate(fd, 0) == 0 ? 0 : errno;
}

Status file_write_private(const char *path, int *fd, Error *error) {
    *fd = -1;
    if (strcmp(path, "-") == 0) {
        return error_set(error, E_ARGUMENT, "-: it cannot go to standard output; name a file");
    }
    *fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (*fd < 0) {
        return cannot_write(path, errno, error);
    }
    int reason = file_write_empty(*fd);
    if (reason != 0) {
        close(*fd);
        *fd = -1;
        return cannot_write(path, reason, error);
    }
    return OK;
}
