// SPDX-License-Identifier: Apache-2.0
// Users files from anybody, and the same text again as a reload of itself. Besides not crashing: a
// good text is good again and gives every name the number it had; a bad one says so with its name.
#include "base/check.h"
#include "host/server/users.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Users *users, *again;
    Error error = {0};
    Status status = users_parse((Bytes){data, size}, "users.conf", NULL, &users, &error);
    if (status != OK) {
        REQUIRE(status == E_USERS || status == E_LIMIT);
        REQUIRE(error.status == status && strncmp(error.text, "users.conf:", 11) == 0);
        return 0;
    }
    REQUIRE(users_parse((Bytes){data, size}, "users.conf", users, &again, &error) == OK);
    REQUIRE(users_count(users) == users_count(again));
    for (uint32_t i = 0; i < users_count(users); i++) {
        const ServerUser *user = users_at(users, i);
        const ServerUser *same = users_at(again, i);
        REQUIRE(strcmp(user->name, same->name) == 0 && user->has_token == same->has_token);
        REQUIRE(memcmp(user->token_hash, same->token_hash, USER_TOKEN_HASH) == 0);
        REQUIRE(!user->removed && user->limits.weight >= 0.01 && user->limits.weight <= 100);
        REQUIRE(user->class_allowed[PRIORITY_INTERACTIVE] || user->class_allowed[PRIORITY_BATCH]);
    }
    users_free(users);
    users_free(again);
    return 0;
}
