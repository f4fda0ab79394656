// SPDX-License-Identifier: Apache-2.0
// What a decoder may do once it is locked in, and what ends it. A sanitizer's build is not locked
// in, so there is nothing to test there.
#include "media_fixture.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "host/decoder/confine.h"
#include "host/media/child.h"

#ifndef DECODER_UNCONFINED

enum { LIMIT = 64 << 20, NOT_CONFINED = 100 };

static void allocates(void) {
    free(malloc(LIMIT / 2));
}

static void is_refused_memory(void) {
    volatile size_t much = LIMIT * 2;
    void *block = malloc(much);
    if (block != NULL) {
        abort();
    }
}

static void answers(void) {
    if (write(DECODER_SOCKET, "x", 1) != 1) {
        abort();
    }
}

static void writes_elsewhere(void) {
    (void)!write(STDERR_FILENO, "x", 1);
}

static void opens(void) {
    (void)!open("/etc/passwd", O_RDONLY);
}

static void connects(void) {
    (void)!socket(AF_INET, SOCK_STREAM, 0);
}

static void forks(void) {
    (void)!fork();
}

static void executes(void) {
    execl("/bin/true", "true", (char *)NULL);
}

static void kills(void) {
    kill(getppid(), 0);
}

static void maps_code(void) {
    mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void makes_code(void) {
    mprotect(NULL, 4096, PROT_EXEC);
}

static void raises_a_limit(void) {
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_DATA, &all);
}

// How a process ends that is locked in and then does `act`.
static int end_of(void (*act)(void)) {
    int ends[2], status;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    pid_t id = fork();
    if (id == 0) {
        dup2(ends[1], DECODER_SOCKET);
        if (!confine(LIMIT)) {
            _exit(NOT_CONFINED);
        }
        act();
        _exit(0);
    }
    waitpid(id, &status, 0);
    close(ends[0]);
    close(ends[1]);
    return status;
}

Test(confine, leaves_computing_memory_and_the_socket) {
    static void (*const acts[])(void) = {allocates, is_refused_memory, answers};
    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
        int status = end_of(acts[i]);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%zu: %#x", i, (unsigned)status);
    }
}

Test(confine, ends_the_process_at_every_other_call) {
    static void (*const acts[])(void) = {writes_elsewhere, opens, connects,  forks,
                                         executes,         kills, maps_code, makes_code,
                                         raises_a_limit};
    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
        int status = end_of(acts[i]);
        cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%zu: %#x", i,
                  (unsigned)status);
    }
}

// A line of a file of /proc that begins with `name`.
static void assert_says(int process, const char *file, const char *line) {
    char path[64];
    Buffer text = {0};
    snprintf(path, sizeof path, "/proc/%d/%s", process, file);
    cr_assert_eq(file_read(path, 1 << 16, &text, NULL), OK, "%s", path);
    buffer_append(&text, "", 1);
    cr_expect_not_null(strstr((char *)text.data, line), "%s has no %s in\n%s", path, line,
                       (char *)text.data);
    buffer_free(&text);
}

Test(confine, is_what_the_kernel_says_of_the_decoder) {
    Buffer file = fixture_read("files/webp_lossless_rgb.webp");
    MediaLimits limits = media_limits_default();
    Image image = {0};
    MediaScratch *scratch = fixture_scratch();
    cr_assert_eq(media_decode(fixture_bytes(&file), &limits, scratch, &image, NULL), OK);
    int process = child_process(scratch->child);
    cr_assert_gt(process, 0);
    assert_says(process, "status", "\nSeccomp:\t2\n");
    assert_says(process, "status", "\nNoNewPrivs:\t1\n");
    assert_says(process, "limits", "Max open files            2                    2 ");
    assert_says(process, "limits", "Max processes             0                    0 ");
    assert_says(process, "limits", "Max core file size        0                    0 ");
    assert_says(process, "limits", "Max data size             536870912            536870912 ");
    image_free(&image);
    buffer_free(&file);
}

// Answered, not ended: a picture that wants more than its size allows.
Test(confine, a_picture_that_wants_too_much_memory_is_refused) {
    Buffer file = fixture_read("files/webp_lossless_rgb.webp");
    MediaLimits limits = media_limits_default();
    ImageInfo info;
    cr_assert_eq(media_probe(fixture_bytes(&file), &limits, &info, NULL), OK);
    ChildTask task = {
        .call = {.codec = DECODER_WEBP, .width = info.stored_width, .height = info.stored_height},
        .input = fixture_bytes(&file),
        .limits = {.memory_bytes = 1 << 16, .cpu_ns = 1 << 30, .wall_ns = 1ull << 40}};
    MediaChild *child = NULL;
    DecoderAnswer answer;
    const uint8_t *pixels;
    Error error = {0};
    cr_assert_eq(child_decode(&child, &task, &answer, &pixels, &error), OK, "%s", error.text);
    cr_expect_eq(answer.fault, DECODER_NO_MEMORY);
    task.limits = child_limits(1); // it gets another decoder
    cr_assert_eq(child_decode(&child, &task, &answer, &pixels, NULL), OK);
    cr_expect_eq(answer.fault, DECODER_DONE);
    child_free(child);
    buffer_free(&file);
}

#endif
