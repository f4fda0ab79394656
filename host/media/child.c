// SPDX-License-Identifier: Apache-2.0
// One conversation at a time over a socket of messages. The memory is a sealed file in memory that
// only grows by being replaced; all its pages are taken at once, so that no access to it can fail
// later.
#include "host/media/child.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "host/media/child_start.h"
#include "host/media/read.h"

enum {
    LOOK_MS = 5, // between two looks at `unwanted`, which is a flag that wakes nobody
    MEMORY_STEP = 2 << 20,
};

struct MediaChild {
    ChildProcess process;
    bool is_locked_in;     // it has said so
    uint64_t memory_limit; // it was started with
    uint8_t *data;         // the shared memory
    size_t capacity;
    int memory_fd;
    bool has_memory; // the process was sent the descriptor
};

// Far more than an honest picture needs: libwebp allocates 4 bytes a pixel and its tables of codes,
// and takes some 30 ns a pixel for a lossless photograph.
ChildLimits child_limits(uint64_t pixels) {
    enum { MEMORY_UNIT = 256 << 20 };
    return (ChildLimits){
        .memory_bytes = (2 + pixels * 8 / MEMORY_UNIT) * MEMORY_UNIT,
        .cpu_ns = 5000000000u + pixels * 1000,
        .wall_ns = 60000000000u + pixels * 20000,
    };
}

// ---- The shared memory --------------------------------------------------------------------------

static void memory_free(MediaChild *child) {
    if (child->data != NULL) {
        munmap(child->data, child->capacity);
        close(child->memory_fd);
    }
    child->data = NULL;
    child->capacity = 0;
    child->has_memory = false;
}

static bool memory_take(int fd, size_t bytes) {
    int result;
    do {
        result = fallocate(fd, 0, 0, (off_t)bytes);
    } while (result != 0 && errno == EINTR);
    return result == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
}

static bool memory_make(MediaChild *child, size_t bytes) {
    int fd = memfd_create("tessera-picture", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return false;
    }
    void *data = memory_take(fd, bytes)
                     ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                     : MAP_FAILED;
    if (data == MAP_FAILED) {
        int reason = errno;
        close(fd);
        errno = reason;
        return false;
    }
    child->data = data;
    child->capacity = bytes;
    child->memory_fd = fd;
    return true;
}

static Status memory_reserve(MediaChild *child, uint64_t bytes, Error *error) {
    if (child->data != NULL && bytes <= child->capacity) {
        return OK;
    }
    memory_free(child);
    errno = ENOMEM;
    if (bytes > INT64_MAX - MEMORY_STEP || !memory_make(child, num_round_up(bytes, MEMORY_STEP))) {
        return error_set(error, E_MEMORY,
                         "a picture needs %" PRIu64 " bytes of working memory and gets none (%s); "
                         "send a smaller one or lower the number of threads",
                         bytes, strerror(errno));
    }
    return OK;
}

// ---- The process --------------------------------------------------------------------------------

static int child_end(MediaChild *child) {
    child->has_memory = false;
    return child_stop(&child->process);
}

static Status child_ready(MediaChild *child, const ChildTask *task, Error *error) {
    if (child->process.id != 0 && child->memory_limit >= task->limits.memory_bytes) {
        return OK;
    }
    child_end(child);
    TRY(child_start(&child->process, task->program, task->limits.memory_bytes, error));
    child->memory_limit = task->limits.memory_bytes;
    child->is_locked_in = false;
    return OK;
}

static Status child_made_fail(Error *error) {
    return error_set(error, E_IMAGE_DAMAGED,
                     "the picture makes its decoder fail; save it again or fetch it anew");
}

// It ended before it looked at anything.
static Status child_not_locked_in(int status, Error *error) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == DECODER_ENDS_UNCONFINED) {
        return error_set(error, E_IO,
                         "this kind of picture is decoded in a process that locks itself in, and "
                         "this system does not let it; allow seccomp filters, or send a JPEG or "
                         "PNG");
    }
    return error_set(error, E_IO,
                     "the decoder of this kind of picture ends while it starts, with %s %d; "
                     "install tessera whole, allow it prctl and seccomp filters, or send a JPEG "
                     "or PNG",
                     WIFSIGNALED(status) ? "signal" : "status",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

// It ended by itself while it had the picture.
static Status child_failed(MediaChild *child, Error *error) {
    int status = child_end(child);
    if (!child->is_locked_in) {
        return child_not_locked_in(status, error);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == DECODER_ENDS_OTHER_FORM) {
        return error_set(error, E_IO,
                         "the decoder of this kind of picture is not of the program's version; "
                         "install both again and restart");
    }
    if (WIFEXITED(status)) {
        return error_set(error, E_IO,
                         "the decoder of this kind of picture ends by itself, with status %d; "
                         "install tessera whole, or send a JPEG or PNG",
                         WEXITSTATUS(status));
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
        return error_set(error, E_MEMORY,
                         "the decoder of this picture was killed, perhaps because memory ran out; "
                         "try again later or send a smaller picture");
    }
    return child_made_fail(error);
}

// ---- The conversation ---------------------------------------------------------------------------

static bool child_send(MediaChild *child, DecoderCall *call) {
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = call, .iov_len = sizeof *call};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (!child->has_memory) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        control.head = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.head), &child->memory_fd, sizeof(int));
    }
    child->has_memory =
        sendmsg(child->process.socket, &message, MSG_NOSIGNAL) == (ssize_t)sizeof *call;
    return child->has_memory;
}

// A process that was ended from outside while it waited is replaced.
static Status child_ask(MediaChild *child, ChildTask *task, Error *error) {
    TRY(child_ready(child, task, error));
    if (child_send(child, &task->call)) {
        return OK;
    }
    child_end(child);
    TRY(child_ready(child, task, error));
    return child_send(child, &task->call) ? OK : child_failed(child, error);
}

static Status child_hear(MediaChild *child, DecoderAnswer *answer, Error *error) {
    ssize_t length = recv(child->process.socket, answer, sizeof *answer, 0);
    if (length <= 0) {
        return child_failed(child, error);
    }
    if (length != (ssize_t)sizeof *answer || answer->fault >= DECODER_FAULTS) {
        child_end(child);
        return child_made_fail(error);
    }
    return OK;
}

static Status child_too_long(MediaChild *child, uint64_t ns, const char *of, Error *error) {
    child_end(child);
    return error_set(error, E_IMAGE_TOO_LARGE,
                     "the picture takes its decoder more than %" PRIu64 " seconds%s; save it "
                     "again or send a smaller one",
                     ns / 1000000000, of);
}

// Of a new process, before its first answer.
static Status child_hear_first(MediaChild *child, Error *error) {
    char byte;
    child->is_locked_in = recv(child->process.socket, &byte, 1, 0) == 1;
    return child->is_locked_in ? OK : child_failed(child, error);
}

static Status child_wait(MediaChild *child, const ChildTask *task, DecoderAnswer *answer,
                         Error *error) {
    const ChildLimits *limits = &task->limits;
    uint64_t begin = clock_ns(), cpu_begin = 0;
    clock_process_ns(child->process.id, &cpu_begin);
    uint64_t cpu_now = cpu_begin;
    for (;;) {
        struct pollfd ready = {.fd = child->process.socket, .events = POLLIN};
        bool spoke = poll(&ready, 1, LOOK_MS) > 0;
        if (spoke && child->is_locked_in) {
            return child_hear(child, answer, error);
        }
        if (spoke) {
            TRY(child_hear_first(child, error));
        }
        if (task->unwanted != NULL && atomic_load_explicit(task->unwanted, memory_order_relaxed)) {
            child_end(child);
            return read_cancelled(error);
        }
        clock_process_ns(child->process.id, &cpu_now);
        if (cpu_now - cpu_begin > limits->cpu_ns) {
            return child_too_long(child, limits->cpu_ns, " of a processor", error);
        }
        if (clock_ns() - begin > limits->wall_ns) {
            return child_too_long(child, limits->wall_ns, "", error);
        }
    }
}

Status child_decode(MediaChild **child, ChildTask *task, DecoderAnswer *answer,
                    const uint8_t **pixels, Error *error) {
    uint64_t input_at, bytes;
    MediaChild *here = *child != NULL ? *child : calloc(1, sizeof *here);
    *child = here;
    task->call.form = DECODER_FORM;
    task->call.input_length = task->input.length;
    if (here == NULL || !decoder_layout(&task->call, &input_at, &bytes)) {
        return error_set(error, E_MEMORY, "no memory is left to decode the picture");
    }
    TRY(memory_reserve(here, bytes, error));
    task->call.memory_bytes = here->capacity;
    memcpy(here->data + input_at, task->input.data, task->input.length);
    TRY(child_ask(here, task, error));
    *pixels = here->data;
    return child_wait(here, task, answer, error);
}

int child_process(const MediaChild *child) {
    return child != NULL ? child->process.id : 0;
}

void child_free(MediaChild *child) {
    if (child != NULL) {
        child_end(child);
        memory_free(child);
        free(child);
    }
}
