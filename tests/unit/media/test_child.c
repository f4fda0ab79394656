// SPDX-License-Identifier: Apache-2.0
// A decoder in a process of its own: whatever it does to itself, the picture gets an error and
// nothing else notices; what it decodes is what libwebp decodes here.
#include "media_fixture.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/prng.h"
#include "host/decoder/webp.h"
#include "host/media/child.h"
#include "tests/live/fake_decoder.h"

// A flat lossless picture: 28 bytes at any size.
static Buffer flat_webp(uint32_t width, uint32_t height) {
    uint8_t file[28] = "RIFF\x14\0\0\0WEBPVP8L\x08\0\0\0\x2f";
    uint64_t bits = (uint64_t)(height - 1) << 14 | (width - 1);
    // After the sizes no transparency and version 0; no transform, no cache, one group of five
    // codes with the one symbol 0 each.
    for (uint32_t code = 0; code < 5; code++) {
        bits |= 1ull << (35 + 4 * code);
    }
    for (uint32_t i = 0; i < 7; i++) {
        file[21 + i] = (uint8_t)(bits >> 8 * i);
    }
    Buffer out = {0};
    buffer_append(&out, file, sizeof file);
    return out;
}

static ChildTask task_of(uint32_t codec, Bytes input) {
    return (ChildTask){.program = codec == DECODER_WEBP ? NULL : FAKE_DECODER,
                       .call = {.codec = codec, .width = 8, .height = 8},
                       .input = input,
                       .limits = child_limits(64)};
}

// A picture after which all must be well.
static void assert_decodes(MediaChild **child) {
    Buffer file = flat_webp(8, 8);
    ChildTask task = task_of(DECODER_WEBP, fixture_bytes(&file));
    DecoderAnswer answer;
    const uint8_t *pixels;
    Error error = {0};
    cr_assert_eq(child_decode(child, &task, &answer, &pixels, &error), OK, "%s", error.text);
    cr_expect_eq(answer.fault, DECODER_DONE);
    cr_expect(answer.width == 8 && answer.height == 8);
    buffer_free(&file);
}

static uint32_t descriptors(void) {
    DIR *folder = opendir("/proc/self/fd");
    uint32_t count = 0;
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

static void assert_nothing_left(uint32_t descriptors_before) {
    cr_expect_eq(descriptors(), descriptors_before);
    cr_expect(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "a process is left");
}

Test(child, a_decoder_that_fails_ends_its_picture_only) {
    static const struct {
        uint32_t codec;
        Status status;
        const char *words;
    } cases[] = {
        {FAKE_CRASHES, E_IMAGE_DAMAGED, "makes its decoder fail"},
        {FAKE_ANSWERS_SHORT, E_IMAGE_DAMAGED, "makes its decoder fail"},
        {FAKE_ANSWERS_NONSENSE, E_IMAGE_DAMAGED, "makes its decoder fail"},
        {FAKE_IS_KILLED, E_MEMORY, "perhaps because memory ran out"},
        {FAKE_ENDS, E_IO, "status 0"},
        {FAKE_ENDS + 127, E_IO, "status 127"},
        {FAKE_ENDS + DECODER_ENDS_OTHER_FORM, E_IO, "not of the program's version"},
    };
    uint32_t before = descriptors();
    MediaChild *child = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ChildTask task = task_of(cases[i].codec, bytes_of_text("x"));
        DecoderAnswer answer;
        const uint8_t *pixels;
        Error error = {0};
        cr_expect_eq(child_decode(&child, &task, &answer, &pixels, &error), cases[i].status,
                     "%zu: %s", i, error.text);
        cr_expect_not_null(strstr(error.text, cases[i].words), "%s", error.text);
        cr_expect_eq(child_process(child), 0, "it is gone");
        assert_decodes(&child);
        child_free(child); // the next one is a fake again
        child = NULL;
    }
    assert_nothing_left(before);
}

Test(child, a_decoder_that_cannot_start_is_said_with_the_remedy) {
    static const struct {
        uint64_t memory;
        const char *words;
    } cases[] = {
        {DECODER_ENDS_UNCONFINED, "this system does not let it; allow seccomp filters"},
        {127, "with status 127; install tessera whole"}, // the loader misses a library
        {FAKE_MEMORY_TRAPS, "with signal"},
    };
    uint32_t before = descriptors();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        MediaChild *child = NULL;
        ChildTask task = task_of(FAKE_ANSWERS, bytes_of_text("x"));
        task.limits.memory_bytes = cases[i].memory;
        DecoderAnswer answer;
        const uint8_t *pixels;
        Error error = {0};
        cr_expect_eq(child_decode(&child, &task, &answer, &pixels, &error), E_IO);
        cr_expect_not_null(strstr(error.text, cases[i].words), "%s", error.text);
        assert_decodes(&child);
        child_free(child);
    }
    assert_nothing_left(before);
}

Test(child, a_decoder_that_takes_too_long_is_killed) {
    static const struct {
        uint32_t codec;
        uint64_t cpu_ns, wall_ns;
        const char *words;
    } cases[] = {
        {DECODER_WEBP, 20000000, UINT64_MAX, "seconds of a processor"}, // the fake spins
        {FAKE_SLEEPS, UINT64_MAX, 50000000, "more than 0 seconds;"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ChildTask task = task_of(cases[i].codec, bytes_of_text("x"));
        task.program = FAKE_DECODER;
        task.limits.cpu_ns = cases[i].cpu_ns;
        task.limits.wall_ns = cases[i].wall_ns;
        MediaChild *child = NULL;
        DecoderAnswer answer;
        const uint8_t *pixels;
        Error error = {0};
        cr_expect_eq(child_decode(&child, &task, &answer, &pixels, &error), E_IMAGE_TOO_LARGE);
        cr_expect_not_null(strstr(error.text, cases[i].words), "%s", error.text);
        cr_expect_eq(child_process(child), 0);
        child_free(child);
    }
}

Test(child, a_picture_that_becomes_unwanted_ends_at_once) {
    const atomic_bool unwanted = true;
    uint32_t before = descriptors();
    MediaChild *child = NULL;
    ChildTask task = task_of(DECODER_WEBP, bytes_of_text("x"));
    task.program = FAKE_DECODER;
    task.unwanted = &unwanted;
    DecoderAnswer answer;
    const uint8_t *pixels;
    Error error = {0};
    cr_expect_eq(child_decode(&child, &task, &answer, &pixels, &error), E_CANCELLED);
    cr_expect_eq(child_process(child), 0);
    assert_decodes(&child);
    child_free(child);
    assert_nothing_left(before);
}

Test(child, one_that_was_ended_while_it_waited_is_replaced) {
    MediaChild *child = NULL;
    assert_decodes(&child);
    for (uint32_t i = 0; i < 20; i++) {
        int first = child_process(child);
        cr_assert_gt(first, 0);
        kill(first, SIGKILL);
        siginfo_t info;
        waitid(P_PID, (id_t)first, &info, WEXITED | WNOWAIT);
        assert_decodes(&child);
        cr_expect_neq(child_process(child), first);
    }
    child_free(child);
}

Test(child, one_decoder_serves_many_pictures) {
    uint32_t before = descriptors();
    MediaChild *child = NULL;
    assert_decodes(&child);
    int first = child_process(child);
    for (uint32_t i = 0; i < 100; i++) {
        assert_decodes(&child);
    }
    cr_expect_eq(child_process(child), first);
    child_free(child);
    assert_nothing_left(before);
}

Test(child, a_program_that_is_not_there_is_said_with_the_remedy) {
    MediaChild *child = NULL;
    ChildTask task = task_of(FAKE_ANSWERS, bytes_of_text("x"));
    task.program = "/nowhere/tessera-decoder";
    DecoderAnswer answer;
    const uint8_t *pixels;
    Error error = {0};
    cr_expect_eq(child_decode(&child, &task, &answer, &pixels, &error), E_IO);
    cr_expect_not_null(strstr(error.text, "install tessera whole"), "%s", error.text);
    cr_expect_null(strstr(error.text, "/nowhere"), "clients learn no path");
    assert_decodes(&child);
    child_free(child);
}

// Memory grows with a picture and is there for the next one; a canvas that no memory can hold is
// refused.
Test(child, memory_is_as_large_as_the_largest_picture) {
    static const uint32_t sides[] = {8, 3000, 100, 2000};
    MediaChild *child = NULL;
    DecoderAnswer answer;
    const uint8_t *pixels;
    Error error = {0};
    for (size_t i = 0; i < sizeof sides / sizeof sides[0]; i++) {
        Buffer file = flat_webp(sides[i], sides[i]);
        ChildTask task = task_of(DECODER_WEBP, fixture_bytes(&file));
        task.call.width = task.call.height = sides[i];
        cr_assert_eq(child_decode(&child, &task, &answer, &pixels, &error), OK, "%s", error.text);
        cr_expect_eq(answer.fault, DECODER_DONE);
        buffer_free(&file);
    }
    ChildTask task = task_of(DECODER_WEBP, bytes_of_text("x"));
    task.call.width = task.call.height = UINT32_MAX;
    cr_expect_eq(child_decode(&child, &task, &answer, &pixels, &error), E_MEMORY);
    assert_decodes(&child);
    child_free(child);
}

// ---- What it decodes ----------------------------------------------------------------------------

typedef struct Comparison {
    MediaChild *child;
    uint8_t *pixels;
    uint32_t done, refused;
} Comparison;

// The child and libwebp in this process make the same of it, at the canvas of the unbroken file.
static void compare(Comparison *all, const char *name, const ImageInfo *info, Bytes file) {
    ChildTask task = task_of(DECODER_WEBP, file);
    task.call.width = info->stored_width;
    task.call.height = info->stored_height;
    DecoderAnswer answer;
    const uint8_t *pixels;
    Error error = {0};
    cr_assert_eq(child_decode(&all->child, &task, &answer, &pixels, &error), OK, "%s: %s", name,
                 error.text);
    size_t bytes = (size_t)info->stored_width * info->stored_height * 3;
    memset(all->pixels, 0, bytes);
    DecoderAnswer wanted = webp_decode(&task.call, file, all->pixels);
    cr_assert(memcmp(&answer, &wanted, sizeof answer) == 0, "%s: %u, not %u", name, answer.fault,
              wanted.fault);
    if (wanted.fault == DECODER_DONE) {
        cr_assert(memcmp(pixels, all->pixels, bytes) == 0, "%s: other pixels", name);
    }
    all->done += wanted.fault == DECODER_DONE;
    all->refused += wanted.fault != DECODER_DONE;
}

static void compare_broken(Comparison *all, const char *name, uint64_t seed) {
    char path[300];
    snprintf(path, sizeof path, "files/%s", name);
    Buffer file = fixture_read(path);
    const MediaLimits limits = media_limits_default();
    ImageInfo info;
    if (media_probe(fixture_bytes(&file), &limits, &info, NULL) == OK) {
        all->pixels = malloc((size_t)info.stored_width * info.stored_height * 3);
        compare(all, name, &info, fixture_bytes(&file));
        for (uint64_t round = 0; round < 400; round++) {
            Buffer broken = {0};
            buffer_append(&broken, file.data, file.length);
            for (uint64_t change = 0; change <= round % 4; change++) {
                size_t range = round % 2 == 0 || file.length < 100 ? file.length : 100;
                broken.data[prng_u64(seed, round, 2 * change) % range] =
                    (uint8_t)prng_u64(seed, round, 2 * change + 1);
            }
            compare(all, name, &info, fixture_bytes(&broken));
            buffer_free(&broken);
        }
        free(all->pixels);
    }
    buffer_free(&file);
}

Test(child, thousands_of_broken_files_are_to_it_what_they_are_to_libwebp_here) {
    DIR *folder = opendir(MEDIA_GOLDEN "/files");
    cr_assert_not_null(folder);
    Comparison all = {0};
    struct dirent *entry;
    for (uint64_t seed = 1; (entry = readdir(folder)) != NULL;) {
        if (strstr(entry->d_name, ".webp") != NULL) {
            compare_broken(&all, entry->d_name, seed++);
        }
    }
    closedir(folder);
    cr_expect_gt(all.done, 500);
    cr_expect_gt(all.refused, 500);
    cr_expect_gt(all.done + all.refused, 3000);
    child_free(all.child);
}
