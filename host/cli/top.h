// SPDX-License-Identifier: Apache-2.0
// The picture that `tessera top` shows, as text: what the server tells now, and from what it told
// before, what each user got in between. Pure; fits any terminal of at least 40 columns and 12
// rows.
#ifndef HOST_CLI_TOP_H
#define HOST_CLI_TOP_H

#include "rpc/results.h"

enum { TOP_USERS_MAX = 1024, TOP_NAME_MAX = 64 };

typedef struct TopSnapshot {
    ServerStats server;
    uint32_t user_count;
    UserRow users[TOP_USERS_MAX]; // names are views of `names`
    char names[TOP_USERS_MAX][TOP_NAME_MAX];
} TopSnapshot;

// Copies the names of users that client_read_stats filled in, so that the snapshot stands alone.
void top_keep_names(TopSnapshot *snapshot);

// Appends at most `rows` lines of at most `columns` characters, all ASCII. `before` may be NULL:
// then nothing is told about the time in between.
void top_render(const TopSnapshot *now, const TopSnapshot *before, const char *address,
                uint32_t columns, uint32_t rows, Buffer *out);

#endif
