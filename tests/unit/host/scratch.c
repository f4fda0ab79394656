// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/host/scratch.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void scratch_make(Scratch *scratch) {
    snprintf(scratch->folder, sizeof scratch->folder, "/tmp/tessera-test-XXXXXX");
    cr_assert_not_null(mkdtemp(scratch->folder));
}

static int scratch_remove_one(const char *path, const struct stat *info, int type,
                              struct FTW *place) {
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

void scratch_remove(Scratch *scratch) {
    nftw(scratch->folder, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *scratch_path(Scratch *scratch, const char *name) {
    snprintf(scratch->path, sizeof scratch->path, "%s/%s", scratch->folder, name);
    return scratch->path;
}

void scratch_folder(Scratch *scratch, const char *name) {
    cr_assert_eq(mkdir(scratch_path(scratch, name), 0777), 0);
}

void scratch_write_bytes(Scratch *scratch, const char *name, const void *bytes, size_t length) {
    FILE *file = fopen(scratch_path(scratch, name), "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, length, file), length);
    fclose(file);
}

void scratch_write(Scratch *scratch, const char *name, const char *text) {
    scratch_write_bytes(scratch, name, text, strlen(text));
}

static void scratch_read_all(int fd, Buffer *out) {
    char chunk[4096];
    ssize_t count;
    while ((count = read(fd, chunk, sizeof chunk)) > 0) {
        buffer_append(out, chunk, (size_t)count);
    }
}

char *scratch_read(Scratch *scratch, const char *name) {
    Buffer text = {0};
    int fd = open(scratch_path(scratch, name), O_RDONLY);
    if (fd >= 0) {
        scratch_read_all(fd, &text);
        close(fd);
    }
    buffer_append_text(&text, "");
    return (char *)text.data;
}

int scratch_run(const char *const *arguments, const char *input, Buffer *out, Buffer *err) {
    // Files instead of pipes: nothing can block, whatever the program does first.
    FILE *files[3] = {tmpfile(), tmpfile(), tmpfile()};
    for (int i = 0; i < 3; i++) {
        cr_assert_not_null(files[i]);
    }
    if (input != NULL) {
        fputs(input, files[0]);
        fflush(files[0]);
        rewind(files[0]);
    }
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        for (int i = 0; i < 3; i++) {
            dup2(fileno(files[i]), i);
        }
        execv(arguments[0], (char *const *)arguments);
        _exit(127);
    }
    int state;
    cr_assert_eq(waitpid(child, &state, 0), child);
    Buffer *texts[3] = {NULL, out, err};
    for (int i = 0; i < 3; i++) {
        if (texts[i] != NULL) {
            buffer_clear(texts[i]);
            lseek(fileno(files[i]), 0, SEEK_SET);
            scratch_read_all(fileno(files[i]), texts[i]);
            buffer_append_text(texts[i], "");
        }
        fclose(files[i]);
    }
    return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}
