// SPDX-License-Identifier: Apache-2.0
// Whoever pays for memory: what grows on behalf of somebody outside (a buffer, an arena) asks its
// purse first and gives back what it frees, so that a sum has a limit and nothing is allocated
// beyond it. NULL pays for everything. A purse outlives what it pays for; one thread.
#ifndef BASE_PURSE_H
#define BASE_PURSE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct Purse Purse;
struct Purse {
    bool (*take)(Purse *purse, size_t bytes); // false: refused, nothing is taken
    void (*give)(Purse *purse, size_t bytes);
    Status refused; // why take said no the last time, for who has to tell it
};

// The error of a take that was refused just now; E_MEMORY when there was no memory for `what`.
Status purse_error(const Purse *purse, const char *what, Error *error);

static inline bool purse_take(Purse *purse, size_t bytes) {
    return purse == NULL || purse->take(purse, bytes);
}

static inline void purse_give(Purse *purse, size_t bytes) {
    if (purse != NULL && bytes > 0) {
        purse->give(purse, bytes);
    }
}

#endif
