// SPDX-License-Identifier: Apache-2.0
// Addresses to listen on: what is one, what can be reached from other machines, whose socket a path
// may take over.
#include "host/server/address.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

Test(address, texts_of_addresses) {
    const struct {
        const char *text, *printed; // NULL = refused
        bool loopback;
    } cases[] = {
        {"127.0.0.1:7177", "127.0.0.1:7177", true},
        {"localhost:0", "127.0.0.1:0", true},
        {"127.9.9.9:1", "127.9.9.9:1", true},
        {"0.0.0.0:65535", "0.0.0.0:65535", false},
        {"192.168.1.2:80", "192.168.1.2:80", false},
        {"[::1]:7177", "[::1]:7177", true},
        {"[::]:7177", "[::]:7177", false},
        {"[2001:db8::7]:1", "[2001:db8::7]:1", false},
        {"[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:1", false}, // asks for a users file, at worst
        {"127.0.0.1", NULL, false},
        {"127.0.0.1:", NULL, false},
        {"127.0.0.1:65536", NULL, false},
        {"127.0.0.1:-1", NULL, false},
        {"127.0.0.1:8x", NULL, false},
        {"::1:80", NULL, false},
        {"gpu1:80", NULL, false}, // names are not looked up
        {":80", NULL, false},
        {"", NULL, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sockaddr_storage address;
        char text[64];
        Status status = address_parse(cases[i].text, &address, NULL);
        cr_expect_eq(status, cases[i].printed != NULL ? OK : E_ARGUMENT, "%s", cases[i].text);
        if (status == OK) {
            address_text(&address, text);
            cr_expect_str_eq(text, cases[i].printed);
            cr_expect_eq(address_is_loopback(&address), cases[i].loopback, "%s", cases[i].text);
        }
    }
}

static int bound(const char *path, bool listening) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert(!listening || listen(fd, 1) == 0);
    return fd;
}

Test(address, only_a_dead_socket_is_replaced) {
    char folder[] = "/tmp/tessera-address-XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s", folder);
    cr_expect_eq(address_free_path(path, NULL), OK, "nothing is there");
    close(bound(path, true)); // its process has died
    cr_expect_eq(address_free_path(path, NULL), OK);
    cr_expect_neq(access(path, F_OK), 0);
    int alive = bound(path, true);
    cr_expect_eq(address_free_path(path, NULL), E_BUSY);
    cr_expect_eq(access(path, F_OK), 0);
    close(alive);
    unlink(path);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    cr_expect_eq(address_free_path(path, NULL), E_ARGUMENT, "a file is nobody's socket");
    cr_expect_eq(access(path, F_OK), 0);
    unlink(path);
    rmdir(folder);
    char longest[200];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    cr_expect_eq(address_free_path(longest, NULL), E_ARGUMENT);
}
