// SPDX-License-Identifier: Apache-2.0
// A set of names, each known by its 128-bit hash. The names are numbered in the order in which they
// came, so that a caller keeps what belongs to them in an array of its own. Starts as zeros; one
// thread.
#ifndef BASE_NAME_SET_H
#define BASE_NAME_SET_H

#include "base/hash.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct NameSetSlot {
    Hash128 name; // low == 0: free
    size_t number;
} NameSetSlot;

typedef struct NameSet {
    NameSetSlot *slots; // [capacity], at most half of them used
    size_t capacity, count;
} NameSet;

// Puts a name into the set. *number is `count` of before when it is new, else the one it has.
// False: no memory, nothing has changed.
bool name_set_put(NameSet *set, Hash128 name, size_t *number);

bool name_set_find(const NameSet *set, Hash128 name, size_t *number);
void name_set_free(NameSet *set);

#endif
