// SPDX-License-Identifier: Apache-2.0
// A file appears whole or not at all, whatever stands under its name. The folder of each test is
// looked at from outside: no name but the expected ones may be in it.
#include "base/file_write.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static char folder[] = "/tmp/tessera-write-XXXXXX";

static void enter_folder(void) {
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
}

static void root_again(void) {
    if (getuid() == 0) {
        cr_assert_eq(seteuid(0), 0);
        cr_assert_eq(setegid(0), 0);
    }
}

static void leave_folder(void) {
    root_again();
    char command[128];
    snprintf(command, sizeof command, "chmod -R u+w %s; rm -rf %s", folder, folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(file_write, .init = enter_folder, .fini = leave_folder);

static void put(const char *path, const char *text, mode_t mode) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert_geq(fd, 0, "%s", path);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    cr_assert_eq(fchmod(fd, mode), 0);
    close(fd);
}

static void expect_text(const char *path, const char *text) {
    Buffer out = {0};
    Error error;
    cr_assert_eq(file_read(path, 1 << 20, &out, &error), OK, "%s", error.text);
    cr_assert(bytes_equal((Bytes){out.data, out.length}, bytes_of_text(text)), "%s: %s", path,
              out.length > 0 ? (const char *)out.data : "");
    buffer_free(&out);
}

static void expect_names(int count) {
    DIR *dir = opendir(".");
    int found = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        found += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    closedir(dir);
    cr_assert_eq(found, count, "%d names in the folder, not %d", found, count);
}

static struct stat look(const char *path) {
    struct stat info;
    cr_assert_eq(lstat(path, &info), 0, "%s", path);
    return info;
}

static Status write_text(const char *path, const char *text, Error *error) {
    return file_write_whole(path, bytes_of_text(text), error);
}

static void write_good(const char *path, const char *text) {
    Error error;
    cr_assert_eq(write_text(path, text, &error), OK, "%s", error.text);
}

static void write_bad(const char *path, const char *reason) {
    Error error;
    cr_assert_eq(write_text(path, "new", &error), E_IO, "%s", path);
    cr_assert(strstr(error.text, path) && strstr(error.text, reason), "%s", error.text);
    cr_assert_eq(file_write_check(path, &error), E_IO, "%s", path);
    cr_assert(strstr(error.text, reason), "%s", error.text);
}

Test(file_write, a_new_file_has_the_mode_that_the_umask_leaves) {
    umask(027);
    write_good("new", "text");
    expect_text("new", "text");
    cr_assert_eq(look("new").st_mode, S_IFREG | 0640);
    expect_names(1);
}

Test(file_write, a_replaced_file_keeps_mode_owner_and_group) {
    put("old", "old", 0604);
    bool root = geteuid() == 0;
    if (root) {
        cr_assert_eq(chown("old", 1234, 2345), 0);
        cr_assert_eq(chmod("old", 0604), 0);
    }
    ino_t before = look("old").st_ino;
    write_good("old", "new");
    expect_text("old", "new");
    struct stat info = look("old");
    cr_assert_neq(info.st_ino, before, "replaced, not written into");
    cr_assert_eq(info.st_mode, S_IFREG | 0604);
    if (root) {
        cr_assert_eq(info.st_uid, 1234);
        cr_assert_eq(info.st_gid, 2345);
    }
    expect_names(1);
}

Test(file_write, links_stay_and_the_file_behind_them_is_replaced) {
    cr_assert_eq(mkdir("elsewhere", 0755), 0);
    put("elsewhere/file", "old", 0640);
    cr_assert_eq(symlink("elsewhere/middle", "link"), 0);
    cr_assert_eq(symlink("file", "elsewhere/middle"), 0);
    write_good("link", "new");
    cr_assert(S_ISLNK(look("link").st_mode) && S_ISLNK(look("elsewhere/middle").st_mode));
    expect_text("elsewhere/file", "new");
    cr_assert_eq(look("elsewhere/file").st_mode, S_IFREG | 0640);
    cr_assert_eq(symlink("elsewhere/later", "dangling"), 0);
    write_good("dangling", "first");
    cr_assert(S_ISLNK(look("dangling").st_mode));
    expect_text("elsewhere/later", "first");
    cr_assert_eq(symlink("round", "round"), 0);
    write_bad("round", strerror(ELOOP));
}

Test(file_write, a_pipe_gets_the_bytes_and_stays) {
    cr_assert_eq(mkfifo("pipe", 0600), 0);
    int fd = open("pipe", O_RDONLY | O_NONBLOCK);
    write_good("pipe", "through");
    char text[16] = {0};
    cr_assert_eq(read(fd, text, sizeof text), 7);
    cr_assert_str_eq(text, "through");
    cr_assert(S_ISFIFO(look("pipe").st_mode));
    close(fd);
    expect_names(1);
}

Test(file_write, a_device_gets_the_bytes_and_stays) {
    write_good("/dev/null", "through");
    cr_assert(S_ISCHR(look("/dev/null").st_mode));
    Error error;
    cr_assert_eq(write_text("/dev/full", "through", &error), E_IO);
    cr_assert_not_null(strstr(error.text, strerror(ENOSPC)), "%s", error.text);
    cr_assert_eq(file_write_check("/dev/null", NULL), OK);
    if (geteuid() == 0 && mknod("null", S_IFCHR | 0666, makedev(1, 3)) == 0) {
        write_good("null", "through"); // where root could replace it
        cr_assert(S_ISCHR(look("null").st_mode));
    }
}

// Descriptor 3 of a file that has text: as `>> log` with -o /dev/fd/3.
Test(file_write, a_descriptor_is_no_name_to_replace) {
    put("log", "kept ", 0644);
    int fd = open("log", O_WRONLY | O_APPEND);
    char name[32];
    snprintf(name, sizeof name, "/dev/fd/%d", fd);
    ino_t before = look("log").st_ino;
    write_good(name, "added");
    close(fd);
    expect_text("log", "kept added");
    cr_assert_eq(look("log").st_ino, before);
    expect_names(1);
}

Test(file_write, a_minus_is_standard_output) {
    int saved = dup(STDOUT_FILENO);
    int fd = open("out", O_WRONLY | O_CREAT, 0600);
    dup2(fd, STDOUT_FILENO);
    close(fd);
    Error error;
    Status status = write_text("-", "text", &error);
    bool open_still = fcntl(STDOUT_FILENO, F_GETFD) >= 0;
    dup2(saved, STDOUT_FILENO);
    close(saved);
    cr_assert_eq(status, OK, "%s", error.text);
    cr_assert(open_still);
    expect_text("out", "text");
    expect_names(1);
    write_good("./-", "a file of that name");
    expect_names(2);
}

Test(file_write, every_name_that_the_folder_allows_can_be_written) {
    char name[FILE_NAME_MAX + 2];
    for (size_t length = 1; length <= FILE_NAME_MAX; length++) {
        memset(name, 'x', length);
        name[length] = '\0';
        write_good(name, "text");
        expect_names(1);
        unlink(name);
    }
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    write_bad(name, strerror(ENAMETOOLONG));
}

Test(file_write, what_cannot_be_written_says_why_and_changes_nothing) {
    cr_assert_eq(mkdir("folder", 0755), 0);
    write_bad("folder", strerror(EISDIR));
    write_bad("folder/", strerror(EISDIR));
    write_bad("missing/", strerror(ENOENT));
    write_bad("missing/file", strerror(ENOENT));
    write_bad("", strerror(ENOENT));
    put("file", "old", 0444);
    write_bad("file/inside", strerror(ENOTDIR));
    expect_names(2);
}

// As an ordinary user: root may write everywhere.
static void ordinary_user(void) {
    if (geteuid() == 0) {
        cr_assert_eq(chmod(folder, 0777), 0);
        cr_assert_eq(setgroups(0, NULL), 0);
        cr_assert_eq(setegid(65534), 0);
        cr_assert_eq(seteuid(65534), 0);
    }
}

Test(file_write, permissions_are_respected) {
    ordinary_user();
    put("protected", "old", 0444);
    write_bad("protected", strerror(EACCES));
    expect_text("protected", "old");
    cr_assert_eq(mkdir("closed", 0555), 0);
    write_bad("closed/file", strerror(EACCES));
    write_good("/dev/null", "an ordinary user may");
    cr_assert(S_ISCHR(look("/dev/null").st_mode));
    expect_names(2);
}

// A file whose group its new owner cannot give: the group's rights are not another group's.
Test(file_write, a_group_that_cannot_be_kept_gives_its_rights_to_nobody) {
    if (geteuid() != 0) {
        cr_skip("only root can make such a file");
    }
    put("shared", "old", 0666);
    cr_assert_eq(chown("shared", 65534, 2345), 0);
    cr_assert_eq(chmod("shared", 0664), 0);
    ordinary_user();
    write_good("shared", "new");
    cr_assert_eq(look("shared").st_mode, S_IFREG | 0604);
}

Test(file_write, what_is_abandoned_was_never_there) {
    put("file", "old", 0600);
    FileWrite file, fresh;
    cr_assert_eq(file_write_begin("file", &file, NULL), OK);
    cr_assert_eq(file_write_begin("fresh", &fresh, NULL), OK);
    cr_assert_eq(file_write_append(&file, bytes_of_text("half"), NULL), OK);
    expect_names(3);
    expect_text("file", "old");
    file_write_abandon(&file);
    file_write_abandon(&file);
    file_write_abandon(&fresh);
    expect_text("file", "old");
    expect_names(1);
}

Test(file_write, temporary_names_are_new_and_cannot_be_guessed) {
    char names[100][FILE_TEMPORARY_TEXT];
    for (int i = 0; i < 100; i++) {
        FileWrite file;
        cr_assert_eq(file_write_begin("file", &file, NULL), OK);
        memcpy(names[i], file.temporary, sizeof names[i]);
        file_write_abandon(&file);
        for (int k = 0; k < i; k++) {
            cr_assert_str_neq(names[i], names[k]);
        }
        cr_assert_eq(names[i][0], '.', "hidden from whoever walks the folder");
    }
}

// More than the list has places for are written all the same.
Test(file_write, a_handler_removes_what_is_open) {
    enum { FILES = 20 };
    FileWrite files[FILES];
    char name[16];
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "file%d", i);
        cr_assert_eq(file_write_begin(name, &files[i], NULL), OK);
    }
    expect_names(FILES);
    for (int i = 10; i < FILES; i++) {
        cr_assert_eq(file_write_end(&files[i], NULL), OK);
    }
    file_write_remove_temporaries();
    expect_names(FILES - 10);
    for (int i = 10; i < FILES; i++) {
        snprintf(name, sizeof name, "file%d", i);
        expect_text(name, "");
    }
    for (int i = 0; i < 10; i++) {
        file_write_abandon(&files[i]);
    }
}

Test(file_write, a_private_file_is_private_whatever_was_there) {
    Error error;
    int fd;
    umask(0);
    cr_assert_eq(file_write_private("new", &fd, &error), OK, "%s", error.text);
    close(fd);
    cr_assert_eq(look("new").st_mode, S_IFREG | 0600);
    put("old", "open to all", 0666);
    cr_assert_eq(file_write_private("old", &fd, &error), OK, "%s", error.text);
    cr_assert_eq(write(fd, "x", 1), 1);
    close(fd);
    cr_assert_eq(look("old").st_mode, S_IFREG | 0600);
    expect_text("old", "x");
    cr_assert_eq(symlink("old", "link"), 0);
    cr_assert_eq(file_write_private("link", &fd, &error), E_IO);
    expect_text("old", "x");
    cr_assert_eq(mkfifo("pipe", 0600), 0);
    cr_assert_eq(file_write_private("pipe", &fd, &error), E_IO);
    cr_assert_eq(file_write_private("-", &fd, &error), E_ARGUMENT);
    if (geteuid() == 0) {
        put("theirs", "theirs", 0666);
        cr_assert_eq(chown("theirs", 1234, 1234), 0);
        cr_assert_eq(file_write_private("theirs", &fd, &error), E_IO);
        expect_text("theirs", "theirs");
    }
}
