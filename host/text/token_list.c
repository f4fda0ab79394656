// SPDX-License-Identifier: Apache-2.0
#include "host/text/token_list.h"

#include "base/num.h"

#include <stdlib.h>
#include <string.h>

static bool reserve(TokenList *list, size_t count) {
    if (list->failed || count > SIZE_MAX / 16 - list->count) {
        list->failed = true;
        return false;
    }
    if (list->count + count <= list->capacity) {
        return true;
    }
    size_t capacity = num_max(num_max(list->count + count, list->capacity * 2), 64);
    int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
    if (ids == NULL) {
        list->failed = true;
        return false;
    }
    list->ids = ids;
    list->capacity = capacity;
    return true;
}

void token_list_append(TokenList *list, const int32_t *ids, size_t count) {
    if (count > 0 && reserve(list, count)) {
        memcpy(list->ids + list->count, ids, count * sizeof *ids);
        list->count += count;
    }
}

void token_list_repeat(TokenList *list, int32_t id, size_t count) {
    if (reserve(list, count)) {
        for (size_t i = 0; i < count; i++) {
            list->ids[list->count++] = id;
        }
    }
}

void token_list_free(TokenList *list) {
    free(list->ids);
    *list = (TokenList){0};
}
