// SPDX-License-Identifier: Apache-2.0
#include "scheduler/token_store.h"

#include "base/check.h"
#include "base/num.h"

#include <stdlib.h>
#include <string.h>

enum { TOKEN_STORE_TAKEN = 255 };
#define NO_UNIT UINT32_MAX

static uint32_t order_for(uint64_t token_count) {
    uint64_t units = num_max(1, num_ceil_div(token_count, TOKEN_STORE_UNIT));
    uint32_t order = 0;
    while ((UINT64_C(1) << order) < units) {
        order++;
    }
    return order;
}

uint64_t token_store_block(uint32_t token_count) {
    return (UINT64_C(1) << order_for(token_count)) * TOKEN_STORE_UNIT;
}

static void list_push(TokenStore *store, uint32_t unit, uint32_t order) {
    store->order[unit] = (uint8_t)order;
    store->previous[unit] = NO_UNIT;
    store->next[unit] = store->heads[order];
    if (store->heads[order] != NO_UNIT) {
        store->previous[store->heads[order]] = unit;
    }
    store->heads[order] = unit;
}

static void list_take(TokenStore *store, uint32_t unit) {
    uint32_t order = store->order[unit];
    if (store->previous[unit] == NO_UNIT) {
        store->heads[order] = store->next[unit];
    } else {
        store->next[store->previous[unit]] = store->next[unit];
    }
    if (store->next[unit] != NO_UNIT) {
        store->previous[store->next[unit]] = store->previous[unit];
    }
    store->order[unit] = TOKEN_STORE_TAKEN;
}

Status token_store_open(uint64_t token_count, TokenStore *store, Error *error) {
    *store = (TokenStore){0};
    if (token_count > (UINT64_C(1) << (TOKEN_STORE_ORDERS - 1)) * TOKEN_STORE_UNIT) {
        return error_set(error, E_ARGUMENT,
                         "room for %llu tokens is more than the scheduler can number",
                         (unsigned long long)token_count);
    }
    store->top_order = order_for(token_count);
    store->units = UINT32_C(1) << store->top_order;
    store->tokens = malloc((size_t)store->units * TOKEN_STORE_UNIT * sizeof *store->tokens);
    store->next = malloc(store->units * sizeof *store->next);
    store->previous = malloc(store->units * sizeof *store->previous);
    store->order = malloc(store->units);
    if (store->tokens == NULL || store->next == NULL || store->previous == NULL ||
        store->order == NULL) {
        token_store_close(store);
        return error_set(error, E_MEMORY,
                         "no memory to keep %llu tokens; lower the queue or the context",
                         (unsigned long long)token_count);
    }
    memset(store->order, TOKEN_STORE_TAKEN, store->units);
    for (uint32_t i = 0; i < TOKEN_STORE_ORDERS; i++) {
        store->heads[i] = NO_UNIT;
    }
    list_push(store, 0, store->top_order);
    return OK;
}

void token_store_close(TokenStore *store) {
    free(store->tokens);
    free(store->next);
    free(store->previous);
    free(store->order);
    *store = (TokenStore){0};
}

int32_t *token_store_take(TokenStore *store, uint32_t token_count) {
    uint32_t order = order_for(token_count);
    uint32_t found = order;
    while (found <= store->top_order && store->heads[found] == NO_UNIT) {
        found++;
    }
    if (found > store->top_order) {
        return NULL;
    }
    uint32_t unit = store->heads[found];
    list_take(store, unit);
    while (found > order) { // the upper half goes back, the lower half is split further
        found--;
        list_push(store, unit + (UINT32_C(1) << found), found);
    }
    return store->tokens + (size_t)unit * TOKEN_STORE_UNIT;
}

void token_store_give(TokenStore *store, int32_t *tokens, uint32_t token_count) {
    uint32_t order = order_for(token_count);
    uint32_t unit = (uint32_t)((size_t)(tokens - store->tokens) / TOKEN_STORE_UNIT);
    REQUIRE(unit < store->units && store->order[unit] == TOKEN_STORE_TAKEN);
    while (order < store->top_order) {
        uint32_t buddy = unit ^ (UINT32_C(1) << order);
        if (store->order[buddy] != order) {
            break;
        }
        list_take(store, buddy);
        unit = unit < buddy ? unit : buddy;
        order++;
    }
    list_push(store, unit, order);
}

void token_store_check(const TokenStore *store, uint64_t taken_tokens) {
    uint64_t free_units = 0;
    for (uint32_t order = 0; order <= store->top_order; order++) {
        for (uint32_t unit = store->heads[order]; unit != NO_UNIT; unit = store->next[unit]) {
            REQUIRE(store->order[unit] == order && unit % (UINT32_C(1) << order) == 0);
            free_units += UINT32_C(1) << order;
        }
    }
    REQUIRE(free_units * TOKEN_STORE_UNIT + taken_tokens ==
            (uint64_t)store->units * TOKEN_STORE_UNIT);
}
