// SPDX-License-Identifier: Apache-2.0
// Addresses to listen on: what is one, what can be reached from other machines.
#include "host/server/address.h"

#include <criterion/criterion.h>

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
