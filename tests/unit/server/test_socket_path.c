// SPDX-License-Identifier: Apache-2.0
// Whose socket a path may take over, and that nobody removes what is not his own.
#include "host/server/socket_path.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char folder[] = "/tmp/tessera-socket-XXXXXX", path[64], lock_path[64];

static void make_folder(void) {
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s", folder);
    snprintf(lock_path, sizeof lock_path, "%s/s.lock", folder);
}

// Fails when anything was left.
static void remove_folder(void) {
    cr_expect_eq(rmdir(folder), 0, "%s is not empty", folder);
}

TestSuite(socket_path, .init = make_folder, .fini = remove_folder);

static bool is_there(const char *name) {
    struct stat there;
    return lstat(name, &there) == 0;
}

// A socket of a program without our lock.
static int bound(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(fd, 1), 0);
    return fd;
}

static Status take(SocketPath *place) {
    *place = (SocketPath){0};
    Error error;
    return socket_path_take(place, path, &error);
}

static int take_and_listen(SocketPath *place) {
    int fd;
    Error error = {0};
    cr_assert_eq(take(place), OK);
    cr_assert_eq(socket_path_bind(place, 0660, &fd, &error), OK, "%s", error.text);
    cr_assert_eq(listen(fd, 1), 0);
    return fd;
}

Test(socket_path, only_a_dead_socket_is_replaced) {
    SocketPath place;
    close(bound()); // its process has died
    cr_expect_eq(take(&place), OK);
    cr_expect(!is_there(path));
    socket_path_give_back(&place);
    int alive = bound();
    cr_expect_eq(take(&place), E_BUSY);
    cr_expect(is_there(path));
    close(alive);
    unlink(path);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    cr_expect_eq(take(&place), E_ARGUMENT, "a file is nobody's socket");
    cr_expect(is_there(path));
    unlink(path);
}

Test(socket_path, a_place_has_one_server_from_before_it_listens_until_it_gives_it_back) {
    SocketPath first, second;
    cr_assert_eq(take(&first), OK);
    cr_expect_eq(take(&second), E_BUSY, "the first is about to listen");
    cr_expect(is_there(lock_path), "the second has not removed the lock of the first");
    int fd;
    Error error;
    cr_assert_eq(socket_path_bind(&first, 0660, &fd, &error), OK);
    struct stat there;
    cr_assert_eq(lstat(path, &there), 0);
    cr_expect_eq(there.st_mode & 0777, 0660);
    cr_expect_eq(take(&second), E_BUSY);
    close(fd);
    socket_path_give_back(&first);
    cr_expect(!is_there(path) && !is_there(lock_path));
    cr_expect_eq(take(&second), OK);
    socket_path_give_back(&second);
}

// What cleans /tmp takes away the socket and the lock of a server that runs, a second server comes,
// and the first one ends.
Test(socket_path, a_socket_that_another_server_made_there_stays) {
    SocketPath first, second;
    int fd = take_and_listen(&first);
    unlink(path);
    unlink(lock_path);
    int fd_2 = take_and_listen(&second);
    socket_path_give_back(&first);
    close(fd);
    cr_expect(is_there(path) && is_there(lock_path));
    SocketPath third;
    cr_expect_eq(take(&third), E_BUSY, "the second is found");
    socket_path_give_back(&second);
    close(fd_2);
    cr_expect(!is_there(path) && !is_there(lock_path));
}

Test(socket_path, a_lock_that_nobody_holds_is_taken) {
    close(open(lock_path, O_CREAT | O_WRONLY, 0600));
    SocketPath place;
    cr_expect_eq(take(&place), OK);
    socket_path_give_back(&place);
}

Test(socket_path, a_folder_that_is_not_there_is_called_so) {
    SocketPath place = {0};
    Error error;
    cr_expect_eq(socket_path_take(&place, "/nonexistent/tessera/x.sock", &error), E_IO);
    cr_expect(strstr(error.text, "there is no folder /nonexistent/tessera;") != NULL, "%s",
              error.text);
    cr_expect_eq(socket_path_take(&place, "nowhere/x.sock", &error), E_IO);
    cr_expect(strstr(error.text, "there is no folder nowhere;") != NULL, "%s", error.text);
    char longest[200] = {0};
    memset(longest, 'x', sizeof longest - 1);
    cr_expect_eq(socket_path_take(&place, longest, &error), E_ARGUMENT);
    cr_expect_null(place.path);
    socket_path_give_back(&place);
}
