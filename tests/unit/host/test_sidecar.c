// SPDX-License-Identifier: Apache-2.0
// What stands in a sidecar's place decides: one table of everything that may stand there.
#include "host/jobs/sidecar.h"

#include "scratch.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char png[] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\x02\0\0\0\x90wS\xde";

static Scratch scratch;

static void make(void) {
    scratch_make(&scratch);
}

static void finish(void) {
    scratch_remove(&scratch);
}

TestSuite(sidecar, .init = make, .fini = finish);

static Status write_beside(Sidecars *sidecars, const char *picture, Error *error) {
    char path[4096];
    snprintf(path, sizeof path, "%s", scratch_path(&scratch, picture));
    return sidecar_write(sidecars, path, bytes_of_text("a fish"), error);
}

static void expect(const char *name, const char *text) {
    char *found = scratch_read(&scratch, name);
    cr_expect_str_eq(found, text, "%s: %s", name, found);
    free(found);
}

Test(sidecar, what_is_missing_is_written_and_what_is_equal_is_done) {
    scratch_write_bytes(&scratch, "a.png", png, sizeof png - 1);
    scratch_write(&scratch, "b.txt", "a fish\n");
    chmod(scratch_path(&scratch, "b.txt"), 0444);
    Sidecars sidecars = {.wanted = true};
    Error error;
    cr_expect_eq(write_beside(&sidecars, "a.png", &error), OK, "%s", error.text);
    cr_expect_eq(write_beside(&sidecars, "b.jpg", &error), OK, "%s", error.text);
    cr_expect_eq(write_beside(&sidecars, "no-extension", &error), OK, "%s", error.text);
    cr_expect_eq(write_beside(&sidecars, ".jpg", &error), OK, "%s", error.text);
    cr_expect_eq(sidecars.left, 0);
    expect("a.txt", "a fish\n");
    expect("b.txt", "a fish\n");
    expect("no-extension.txt", "a fish\n");
    expect(".jpg.txt", "a fish\n");
}

Test(sidecar, other_text_is_overwritten_only_when_asked) {
    static const char *const texts[] = {"", "a fish", "a fish\n\n", "A fish\n", "mine, and longer"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        for (int existing = SIDECAR_UNSAID; existing <= SIDECAR_OVERWRITE; existing++) {
            scratch_write(&scratch, "a.txt", texts[i]);
            Sidecars sidecars = {.wanted = true, .existing = (SidecarExisting)existing};
            Error error;
            cr_expect_eq(write_beside(&sidecars, "a.png", &error), OK, "%s", error.text);
            bool left = existing != SIDECAR_OVERWRITE;
            cr_expect_eq(sidecars.left, left);
            expect("a.txt", left ? texts[i] : "a fish\n");
        }
    }
}

Test(sidecar, a_picture_is_never_overwritten) {
    scratch_write_bytes(&scratch, "self.txt", png, sizeof png - 1);
    scratch_write_bytes(&scratch, "other.txt", png, sizeof png - 1);
    scratch_write(&scratch, "broken.png", "named twice");
    cr_assert_eq(symlink("broken.png", scratch_path(&scratch, "broken.txt")), 0);
    static const char *const pictures[] = {"self.txt", "other.jpg", "broken.png"};
    for (int existing = SIDECAR_UNSAID; existing <= SIDECAR_OVERWRITE; existing++) {
        Sidecars sidecars = {.wanted = true, .existing = (SidecarExisting)existing};
        for (int i = 0; i < 3; i++) {
            Error error;
            cr_expect_eq(write_beside(&sidecars, pictures[i], &error), E_ARGUMENT, "%s",
                         pictures[i]);
            cr_expect_not_null(strstr(error.text, ".txt: a picture or the journal is"), "%s",
                               error.text);
        }
        cr_expect_eq(sidecars.left, 0);
    }
    struct stat info;
    cr_expect_eq(stat(scratch_path(&scratch, "self.txt"), &info), 0);
    cr_expect_eq(info.st_size, sizeof png - 1);
    expect("broken.png", "named twice");
}

Test(sidecar, the_journal_is_never_overwritten) {
    scratch_write(&scratch, "captions.txt", "records");
    char journal[4096];
    snprintf(journal, sizeof journal, "%s", scratch_path(&scratch, "captions.txt"));
    Sidecars sidecars = {.wanted = true, .existing = SIDECAR_OVERWRITE, .journal = journal};
    Error error;
    cr_expect_eq(write_beside(&sidecars, "captions.jpg", &error), E_ARGUMENT);
    expect("captions.txt", "records");
}

Test(sidecar, what_is_no_file_is_an_error_and_a_link_to_nowhere_is_followed) {
    scratch_folder(&scratch, "a.txt");
    cr_assert_eq(mkfifo(scratch_path(&scratch, "pipe.txt"), 0600), 0);
    cr_assert_eq(symlink("later", scratch_path(&scratch, "link.txt")), 0);
    Sidecars sidecars = {.wanted = true, .existing = SIDECAR_OVERWRITE};
    Error error;
    cr_expect_eq(write_beside(&sidecars, "a.png", &error), E_IO);
    cr_expect_eq(write_beside(&sidecars, "pipe.png", &error), E_IO);
    cr_expect_eq(write_beside(&sidecars, "no-folder/b.png", &error), E_IO);
    cr_expect_not_null(strstr(error.text, "no-folder/b.txt"), "%s", error.text);
    cr_expect_eq(write_beside(&sidecars, "link.png", &error), OK, "%s", error.text);
    expect("later", "a fish\n");
}

Test(sidecar, every_picture_name_that_may_have_a_sidecar_gets_it) {
    for (size_t length = 5; length <= 255; length++) {
        char name[256];
        memset(name, 'x', length);
        memcpy(name + length - 4, ".jpg", 5);
        Sidecars sidecars = {.wanted = true};
        Error error;
        cr_expect_eq(write_beside(&sidecars, name, &error), OK, "%zu: %s", length, error.text);
        memcpy(name + length - 4, ".txt", 5);
        expect(name, "a fish\n");
    }
}
