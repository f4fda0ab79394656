// SPDX-License-Identifier: Apache-2.0
// Whose turn it is on the prep threads, against the order that the rule of turns.h gives by hand.
#include "host/server/turns.h"

#include <criterion/criterion.h>

enum { CALLS = 8 };

static Turns turns;
static ServedCall calls[CALLS];

static void wait_as(uint32_t number, uint32_t user, uint64_t megapixels) {
    calls[number].demand = (Demand){.user = user, .pixels = megapixels * 1000000};
    turns_wait(&turns, &calls[number]);
}

static uint32_t next(void) {
    return (uint32_t)(turns_take(&turns) - calls);
}

Test(turns, calls_of_one_user_keep_their_order) {
    for (uint32_t i = 0; i < 3; i++) {
        wait_as(i, 5, 0);
    }
    for (uint32_t i = 0; i < 3; i++) {
        cr_expect_eq(next(), i);
    }
    cr_expect_eq(turns.waiting, 0);
}

Test(turns, a_single_question_does_not_wait_behind_a_pile_of_pictures) {
    for (uint32_t i = 0; i < 4; i++) {
        wait_as(i, 0, 12);
    }
    cr_expect_eq(next(), 0); // nobody else is there
    wait_as(4, 1, 0);
    wait_as(5, 1, 0);
    cr_expect_eq(next(), 4); // 1 of 13 parts each
    cr_expect_eq(next(), 5);
    cr_expect_eq(next(), 1);
}

Test(turns, equals_come_one_after_another) {
    for (uint32_t i = 0; i < 6; i++) {
        wait_as(i, i % 3, 0);
    }
    for (uint32_t i = 0; i < 6; i++) {
        cr_expect_eq(next(), i);
    }
}

Test(turns, a_user_who_was_away_has_earned_nothing_by_it) {
    for (uint32_t i = 0; i < 4; i++) {
        wait_as(i, 0, 0);
        cr_expect_eq(next(), i); // user 0 has had 4
    }
    wait_as(0, 0, 0);
    for (uint32_t i = 1; i < 4; i++) {
        wait_as(i, 1, 0); // begins at 3, where user 0 was before its last call
    }
    cr_expect_eq(next(), 1);
    cr_expect_eq(next(), 0); // both have had 4, and user 1 was the last
    cr_expect_eq(next(), 2);
    cr_expect_eq(next(), 3);
}

Test(turns, whoever_leaves_is_passed_over_wherever_it_stood) {
    for (uint32_t leaver = 0; leaver < 3; leaver++) {
        for (uint32_t i = 0; i < 3; i++) {
            wait_as(i, 0, 0);
        }
        turns_leave(&turns, &calls[leaver]);
        wait_as(3, 0, 0); // behind the last one that is left
        for (uint32_t i = 0; i < 4; i++) {
            if (i != leaver) {
                cr_expect_eq(next(), i);
            }
        }
        cr_expect_eq(turns.waiting, 0);
    }
}
