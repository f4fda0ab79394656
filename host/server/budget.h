// SPDX-License-Identifier: Apache-2.0
// How many bytes the server holds for its clients in all, and who of them how many: every buffer of
// a session, every accepted call with its pictures, every blob asks a purse of this before it grows
// (base/purse.h). Two of them stand beside each other, for what comes in and for what goes out, so
// that nobody's messages take the room of another's answers.
//
// As with places: where others may come, nobody has more than is left then. A sixteenth is kept for
// connections that have not said hello, and these together follow the same rule.
#ifndef HOST_SERVER_BUDGET_H
#define HOST_SERVER_BUDGET_H

#include "base/purse.h"
#include "host/server/users.h"

typedef struct Budget Budget;

typedef struct BudgetPurse {
    Purse purse; // the first: a Purse of a budget is a BudgetPurse
    Budget *budget;
    uint32_t user;
    uint64_t held;
} BudgetPurse;

enum { BUDGET_STRANGERS = USERS_MAX }; // the purse of those who have not said hello

struct Budget {
    uint64_t max, held;
    bool alone; // there is one user only, for whom everything is
    // Frees something that is held for the user and can be had again, or says that there is
    // nothing. NULL: there never is.
    bool (*reclaim)(void *context, uint32_t user);
    void *context;
    BudgetPurse purses[USERS_MAX + 1];
};

void budget_open(Budget *budget, uint64_t max);
Purse *budget_purse(Budget *budget, uint32_t user); // E_BUSY, E_USER_BUSY
void budget_check(const Budget *budget);            // the purses add up to the whole

#endif
