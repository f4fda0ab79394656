// SPDX-License-Identifier: Apache-2.0
#include "host/server/budget.h"

#include "base/check.h"

enum { STRANGERS_PART = 16 };

static Status budget_refuses(const BudgetPurse *purse, uint64_t bytes) {
    const Budget *budget = purse->budget;
    bool stranger = purse->user == BUDGET_STRANGERS;
    uint64_t max = stranger ? budget->max : budget->max - budget->max / STRANGERS_PART;
    if (budget->held > max || bytes > max - budget->held) {
        return E_BUSY;
    }
    uint64_t left = max - budget->held - bytes;
    bool shares = stranger || !budget->alone;
    return shares && purse->held + bytes > left ? E_USER_BUSY : OK;
}

static bool budget_take(Purse *base, size_t bytes) {
    BudgetPurse *purse = (BudgetPurse *)base;
    Budget *budget = purse->budget;
    base->refused = budget_refuses(purse, bytes);
    while (base->refused != OK && budget->reclaim != NULL &&
           budget->reclaim(budget->context, purse->user)) {
        base->refused = budget_refuses(purse, bytes);
    }
    if (base->refused != OK) {
        return false;
    }
    purse->held += bytes;
    budget->held += bytes;
    return true;
}

static void budget_give(Purse *base, size_t bytes) {
    BudgetPurse *purse = (BudgetPurse *)base;
    REQUIRE(bytes <= purse->held && purse->held <= purse->budget->held);
    purse->held -= bytes;
    purse->budget->held -= bytes;
}

void budget_open(Budget *budget, uint64_t max) {
    *budget = (Budget){.max = max};
    for (uint32_t i = 0; i <= USERS_MAX; i++) {
        budget->purses[i] = (BudgetPurse){
            .purse = {.take = budget_take, .give = budget_give}, .budget = budget, .user = i};
    }
}

Purse *budget_purse(Budget *budget, uint32_t user) {
    REQUIRE(user <= USERS_MAX);
    return &budget->purses[user].purse;
}

void budget_check(const Budget *budget) {
    uint64_t held = 0;
    for (uint32_t i = 0; i <= USERS_MAX; i++) {
        held += budget->purses[i].held;
    }
    REQUIRE(held == budget->held && held <= budget->max);
}
