// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static Status file_open(const char *path, int *descriptor, size_t *length, Error *error) {
    // Without O_NONBLOCK the opening of a named pipe would wait for a writer.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        int reason = errno;
        Status status = reason == ENOENT || reason == ENOTDIR ? E_NOT_FOUND : E_IO;
        const char *dangling = reason == ENOENT && file_exists(path) ? ", what it links to" : "";
        return error_set(error, status, "%s%s: cannot be opened: %s", path, dangling,
                         strerror(reason));
    }
    struct stat info;
    if (fstat(fd, &info) != 0) {
        close(fd);
        return error_set(error, E_IO, "%s: cannot be examined: %s", path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        close(fd);
        return error_set(error, E_IO, "%s: is not a regular file", path);
    }
    *descriptor = fd;
    *length = (size_t)info.st_size;
    return OK;
}

Status file_map_open(const char *path, FileMap *map, Error *error) {
    *map = (FileMap){0};
    int fd = -1;
    size_t length = 0;
    Status status = file_open(path, &fd, &length, error);
    if (status != OK) {
        return status;
    }
    if (length > 0) {
        void *base = mmap(NULL, length, PROT_READ, MAP_PRIVATE, fd, 0);
        if (base == MAP_FAILED) {
            status = error_set(error, E_IO, "%s: cannot be mapped: %s", path, strerror(errno));
        } else {
            map->base = base;
            map->base_length = length;
            map->bytes = (Bytes){base, length};
        }
    }
    close(fd);
    return status;
}

void file_map_close(FileMap *map) {
    if (map->base != NULL) {
        munmap(map->base, map->base_length);
    }
    *map = (FileMap){0};
}

Status file_read(const char *path, size_t bytes_max, Buffer *out, Error *error) {
    int fd = -1;
    size_t length = 0;
    Status status = file_open(path, &fd, &length, error);
    if (status != OK) {
        return status;
    }
    if (length > bytes_max) {
        close(fd);
        return error_set(error, E_LIMIT, "%s: has %zu bytes; at most %zu are allowed", path, length,
                         bytes_max);
    }
    uint8_t chunk[65536];
    size_t total = 0;
    for (;;) {
        ssize_t count = read(fd, chunk, sizeof chunk);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            status = error_set(error, E_IO, "%s: cannot be read: %s", path, strerror(errno));
            break;
        }
        if (count == 0 && total < length) {
            status = error_set(error, E_IO, "%s: shrank from %zu to %zu bytes while being read",
                               path, length, total);
        }
        if (count == 0) {
            break;
        }
        total += (size_t)count;
        if (total > bytes_max) {
            status = error_set(error, E_LIMIT, "%s: grew beyond %zu bytes while being read", path,
                               bytes_max);
            break;
        }
        buffer_append(out, chunk, (size_t)count);
        if (out->failed) {
            status = error_set(error, E_MEMORY, "%s: no memory for its %zu bytes", path, length);
            break;
        }
    }
    close(fd);
    return status;
}

bool file_exists(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0;
}

bool file_is_lfs_pointer(Bytes bytes) {
    static const char begin[] = "version https://git-lfs.github.com/spec/";
    return bytes.length >= sizeof begin - 1 && memcmp(bytes.data, begin, sizeof begin - 1) == 0;
}

Status file_refuse_lfs_pointer(const char *path, Status status, Error *error) {
    return error_set(error, status, "%s: is a Git LFS pointer, fetch the file with `git lfs pull`",
                     path);
}

bool file_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool file_is_regular(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool file_is_same(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}
