// SPDX-License-Identifier: Apache-2.0
// A growing list of token ids. A zero TokenList is empty and ready. Lack of memory is remembered
// in `failed`; later appends do nothing, and the caller looks once at the end.
#ifndef HOST_TEXT_TOKEN_LIST_H
#define HOST_TEXT_TOKEN_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct TokenList {
    int32_t *ids;
    size_t count, capacity;
    bool failed;
} TokenList;

void token_list_append(TokenList *list, const int32_t *ids, size_t count);
void token_list_repeat(TokenList *list, int32_t id, size_t count);
void token_list_free(TokenList *list); // and ready to use again

static inline void token_list_push(TokenList *list, int32_t id) {
    if (list->count < list->capacity) {
        list->ids[list->count++] = id;
    } else {
        token_list_append(list, &id, 1);
    }
}

#endif
