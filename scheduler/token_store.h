// SPDX-License-Identifier: Apache-2.0
// Room for the tokens of every accepted sequence, taken once at start. A buddy allocator over one
// array: blocks are powers of two of TOKEN_STORE_UNIT tokens, split and joined again, so a block is
// contiguous (the sampler reads histories) and nothing is allocated later. Wastes less than half of
// a block.
#ifndef SCHEDULER_TOKEN_STORE_H
#define SCHEDULER_TOKEN_STORE_H

#include "base/status.h"

#include <stddef.h>

enum { TOKEN_STORE_UNIT = 64, TOKEN_STORE_ORDERS = 26 };

typedef struct TokenStore {
    int32_t *tokens;           // [units * TOKEN_STORE_UNIT]
    uint32_t units;            // a power of two
    uint32_t top_order;        // units = 1 << top_order
    uint32_t *next, *previous; // [units] links of the free lists, by first unit of a free block
    uint8_t *order;            // [units] of the free block that starts here, or TOKEN_STORE_TAKEN
    uint32_t heads[TOKEN_STORE_ORDERS];
} TokenStore;

// Room for at least token_count tokens, rounded up to a power of two of units.
Status token_store_open(uint64_t token_count, TokenStore *store, Error *error);
void token_store_close(TokenStore *store);

// Tokens that a block for token_count tokens really takes.
uint64_t token_store_block(uint32_t token_count);

// A block for token_count tokens, or NULL when no block is large enough.
int32_t *token_store_take(TokenStore *store, uint32_t token_count);
void token_store_give(TokenStore *store, int32_t *tokens, uint32_t token_count); // as taken

// Checks with REQUIRE that free blocks and `taken_tokens` (whole blocks) make up the store. Slow.
void token_store_check(const TokenStore *store, uint64_t taken_tokens);

#endif
