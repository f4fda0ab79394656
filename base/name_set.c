// SPDX-License-Identifier: Apache-2.0
#include "base/name_set.h"

#include <stdlib.h>

enum { NAME_SET_CAPACITY_LEAST = 256 };

// The slot of a name, or the free one where it would be. A hash that looks free is taken for its
// neighbour: as likely as any two names of one hash.
static NameSetSlot *name_set_slot(const NameSet *set, Hash128 name) {
    name.low |= name.low == 0;
    size_t at = name.low & (set->capacity - 1);
    while (set->slots[at].name.low != 0 &&
           (set->slots[at].name.low != name.low || set->slots[at].name.high != name.high)) {
        at = (at + 1) & (set->capacity - 1);
    }
    return &set->slots[at];
}

static bool name_set_grow(NameSet *set) {
    NameSet bigger = {
        .capacity = set->capacity == 0 ? NAME_SET_CAPACITY_LEAST : set->capacity * 2,
        .count = set->count,
    };
    bigger.slots = calloc(bigger.capacity, sizeof *bigger.slots);
    if (bigger.slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < set->capacity; i++) {
        if (set->slots[i].name.low != 0) {
            *name_set_slot(&bigger, set->slots[i].name) = set->slots[i];
        }
    }
    free(set->slots);
    *set = bigger;
    return true;
}

bool name_set_put(NameSet *set, Hash128 name, size_t *number) {
    if (set->count * 2 >= set->capacity && !name_set_grow(set)) {
        return false;
    }
    NameSetSlot *slot = name_set_slot(set, name);
    if (slot->name.low == 0) {
        name.low |= name.low == 0;
        *slot = (NameSetSlot){name, set->count++};
    }
    *number = slot->number;
    return true;
}

bool name_set_find(const NameSet *set, Hash128 name, size_t *number) {
    const NameSetSlot *slot = set->count > 0 ? name_set_slot(set, name) : NULL;
    if (slot == NULL || slot->name.low == 0) {
        return false;
    }
    *number = slot->number;
    return true;
}

void name_set_free(NameSet *set) {
    free(set->slots);
    *set = (NameSet){0};
}
