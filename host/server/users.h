// SPDX-License-Identifier: Apache-2.0
// Who may use the server and how much. The users file is text, one user a line:
//
//     # name   settings, in any order
//     user alice token=5f0c... weight=2 in_flight_max=64 tokens_per_minute=200000
//     user night token=91ab... classes=batch queued_tokens_max=2000000
//     user guest token=none in_flight_max=4
//
// A token is 256 random bits as text, made by `tessera token NAME`; the file holds only its hash
// (BLAKE2b-256 of the text), so a reader of the file cannot log in. `token=none` is the one user
// whom connections without a token become; without such a line they are refused.
//
// A Users is built whole and never changes. Reloading builds the next one from the last, so a name
// keeps its number for the life of the process and running requests keep their user; when the new
// file is wrong the old Users simply stays. Used by the loop thread only.
#ifndef HOST_SERVER_USERS_H
#define HOST_SERVER_USERS_H

#include "base/bytes.h"
#include "base/status.h"
#include "scheduler/sched.h"

enum {
    USERS_MAX = 1024,                 // names in the life of a process
    USER_NAME_MAX = 63,               // bytes: letters, digits, '.', '_', '-'
    USER_TOKEN_MAX = 256,             // bytes; longer ones match nobody
    USER_TOKEN_HASH = 32,             // bytes
    USERS_FILE_MAX = 4 * 1024 * 1024, // bytes
    USER_TOKEN_TEXT = 64,             // room for a token and a zero
    USER_LINE_TEXT = 192              // room for a line and a zero
};

// What one user may do. Zero = no limit (weight: 1).
typedef struct UserLimits {
    double weight;              // share against other users of the class: for the scheduler
    uint32_t in_flight_max;     // accepted and not finished
    uint32_t tokens_per_minute; // prompt + output asked for
    uint64_t queued_tokens_max; // prompt tokens waiting
} UserLimits;

typedef struct ServerUser {
    char name[USER_NAME_MAX + 1];
    bool removed;   // was in an earlier file and is in this one no more: may not log in
    bool has_token; // false: the user of connections without a token
    uint8_t token_hash[USER_TOKEN_HASH];
    UserLimits limits;                  // as written in the file
    bool class_allowed[PRIORITY_COUNT]; // interactive, batch
    bool sees_all;                      // in stats the rows of all users, not only its own
} ServerUser;

typedef struct Users Users;

// Parses the text of a users file. `source` names it in errors, which are "FILE:LINE: ...".
// `previous` (NULL for the first) gives known names their numbers. E_USERS, E_LIMIT, E_MEMORY.
Status users_parse(Bytes text, const char *source, const Users *previous, Users **out,
                   Error *error);

// Reads and parses a file. Also E_NOT_FOUND, E_IO.
Status users_load(const char *path, const Users *previous, Users **out, Error *error);

// For a server without a users file: one user "everyone", no token, no limits.
Status users_open_to_all(Users **out, Error *error);

void users_free(Users *users);

uint32_t users_count(const Users *users); // numbers are 0 .. count-1, removed ones among them
const ServerUser *users_at(const Users *users, uint32_t number);

// The number of the user with this token; false when there is none. The time it takes does not
// depend on which user matches or on how much of a hash does.
bool users_find(const Users *users, Bytes token, uint32_t *number);

// The number of the user whom connections without a token become; false when there is none.
bool users_anonymous(const Users *users, uint32_t *number);

// A new token as text (zero-terminated) in `token`, and the line for the users file in `line`.
// E_ARGUMENT for a name that is not one.
Status users_make_token(const char *name, char token[USER_TOKEN_TEXT], char line[USER_LINE_TEXT],
                        Error *error);

#endif
