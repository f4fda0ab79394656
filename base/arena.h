// SPDX-License-Identifier: Apache-2.0
// A growing bump allocator that is freed in one stroke. For things that live and die together: a
// config, a request, a parsed file. Not for the per-step path after boot. One owner, one thread.
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "base/purse.h"

typedef struct ArenaBlock ArenaBlock;

typedef struct Arena {
    ArenaBlock *newest;
    size_t bytes_used; // sum over all blocks, for reports
    size_t bytes_held; // by the blocks
    Purse *purse;      // pays for bytes_held; NULL: nobody counts it
} Arena;

// Zeroed memory aligned to 16 bytes, or NULL when the system has none. A zero Arena is ready to
// use.
void *arena_take(Arena *arena, size_t bytes);
void *arena_take_array(Arena *arena, size_t count, size_t item_bytes); // NULL on overflow too
char *arena_copy_text(Arena *arena, const char *text, size_t length);  // zero-terminated copy
void arena_free(Arena *arena); // and ready to use again; the purse stays

#endif
