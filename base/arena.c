// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"

#include "base/num.h"

#include <stdlib.h>
#include <string.h>

// A block is as large as all before it, so that a small arena stays small.
enum { ARENA_BLOCK_FIRST = 4 * 1024, ARENA_BLOCK_BYTES = 64 * 1024, ARENA_ALIGN = 16 };

struct ArenaBlock {
    ArenaBlock *older;
    size_t capacity;
    size_t used;
    _Alignas(ARENA_ALIGN) unsigned char bytes[];
};

static ArenaBlock *arena_add_block(Arena *arena, size_t need) {
    size_t usual = num_min(num_max(arena->bytes_held, ARENA_BLOCK_FIRST), ARENA_BLOCK_BYTES);
    size_t capacity = num_max(need, usual), bytes = sizeof(ArenaBlock) + capacity;
    if (!purse_take(arena->purse, bytes)) {
        return NULL;
    }
    ArenaBlock *block = calloc(1, bytes);
    if (block == NULL) {
        purse_give(arena->purse, bytes);
        return NULL;
    }
    block->capacity = capacity;
    block->older = arena->newest;
    arena->newest = block;
    arena->bytes_held += bytes;
    return block;
}

void *arena_take(Arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX / 2) {
        return NULL;
    }
    size_t need = num_round_up(num_max(bytes, 1), ARENA_ALIGN);
    ArenaBlock *block = arena->newest;
    if (block == NULL || block->capacity - block->used < need) {
        block = arena_add_block(arena, need);
        if (block == NULL) {
            return NULL;
        }
    }
    void *out = block->bytes + block->used;
    block->used += need;
    arena->bytes_used += need;
    return out;
}

void *arena_take_array(Arena *arena, size_t count, size_t item_bytes) {
    uint64_t bytes;
    if (!num_mul(count, item_bytes, &bytes)) {
        return NULL;
    }
    return arena_take(arena, (size_t)bytes);
}

char *arena_copy_text(Arena *arena, const char *text, size_t length) {
    char *out = length < SIZE_MAX ? arena_take(arena, length + 1) : NULL;
    if (out != NULL) {
        memcpy(out, text, length);
        out[length] = '\0';
    }
    return out;
}

void arena_free(Arena *arena) {
    ArenaBlock *block = arena->newest;
    while (block != NULL) {
        ArenaBlock *older = block->older;
        free(block);
        block = older;
    }
    purse_give(arena->purse, arena->bytes_held);
    *arena = (Arena){.purse = arena->purse};
}
