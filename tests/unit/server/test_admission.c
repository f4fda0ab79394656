// SPDX-License-Identifier: Apache-2.0
// Who may come in: places, waiting tokens, and what the users file says, each refused by its own
// name and without a trace.
#include "host/server/admission.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static Admission *admission;
static ServerUser user;

static void begin(uint32_t places, uint64_t queued_tokens) {
    admission = calloc(1, sizeof *admission);
    admission_open(admission, places, queued_tokens);
    user = (ServerUser){.name = "u", .class_allowed = {true, true}};
    for (uint32_t number = 0; number < 3; number++) {
        admission_set_user(admission, number, &user, 1000);
    }
}

static Status ask_as(uint32_t number, uint32_t samples, uint32_t tokens, bool alone) {
    const Demand ask = {number, PRIORITY_INTERACTIVE, samples, tokens, 10, 0};
    uint32_t retry_ms;
    Error error;
    admission->alone = alone;
    Status status = admission_ask(admission, &ask, 1000, &retry_ms, &error);
    cr_expect_eq(retry_ms > 0, status != OK, "a refusal says when to try again");
    admission_check(admission);
    return status;
}

static Status ask(uint32_t samples, uint32_t tokens) {
    return ask_as(0, samples, tokens, true);
}

static void end(uint32_t samples, uint32_t tokens, bool queued) {
    const Demand ended = {0, PRIORITY_INTERACTIVE, samples, tokens, 10, 0};
    if (!queued) {
        admission_begun(admission, &ended);
    }
    admission_ended(admission, &ended, queued);
    admission_check(admission);
}

Test(admission, samples_take_places) {
    begin(4, 1000);
    cr_expect_eq(ask(3, 1), OK);
    cr_expect_eq(ask(2, 1), E_BUSY);
    cr_expect_eq(ask(1, 1), OK);
    cr_expect_eq(ask(1, 1), E_BUSY);
    end(3, 1, false);
    cr_expect_eq(ask(3, 1), OK);
    free(admission);
}

Test(admission, waiting_tokens_are_bounded_but_an_empty_queue_takes_anything) {
    begin(10, 100);
    cr_expect_eq(ask(1, 500), OK);
    cr_expect_eq(ask(1, 1), E_BUSY);
    const Demand first = {0, PRIORITY_INTERACTIVE, 1, 500, 10, 0};
    admission_begun(admission, &first); // its first token came
    cr_expect_eq(ask(1, 60), OK);
    cr_expect_eq(ask(1, 40), OK);
    cr_expect_eq(ask(1, 1), E_BUSY);
    end(1, 60, true);
    cr_expect_eq(ask(1, 60), OK);
    free(admission);
}

Test(admission, limits_of_a_user) {
    begin(100, 100000);
    user.limits.in_flight_max = 2;
    cr_expect_eq(ask(2, 1), OK);
    cr_expect_eq(ask(1, 1), E_USER_BUSY);
    end(2, 1, false);
    user.limits = (UserLimits){.queued_tokens_max = 50};
    cr_expect_eq(ask(1, 40), OK);
    cr_expect_eq(ask(1, 40), E_USER_BUSY);
    end(1, 40, false);
    user.limits = (UserLimits){.tokens_per_minute = 100};
    admission_set_user(admission, 0, &user, 1000);
    cr_expect_eq(ask(1, 80), OK); // 80 and 10 new ones
    cr_expect_eq(ask(1, 1), E_RATE);
    user.class_allowed[PRIORITY_INTERACTIVE] = false;
    const Demand wrong = {0, PRIORITY_INTERACTIVE, 1, 1, 1, 0};
    uint32_t retry_ms;
    cr_expect_eq(admission_ask(admission, &wrong, 1000, &retry_ms, NULL), E_ARGUMENT);
    cr_expect_eq(retry_ms, 0, "never");
    free(admission);
}

Test(admission, a_wait_longer_than_a_number_can_say_is_the_longest_number) {
    begin(100, UINT64_MAX);
    user.limits.tokens_per_minute = 1;
    admission_set_user(admission, 0, &user, 1000);
    const Demand demand = {0, PRIORITY_INTERACTIVE, 1, 190, 10, 0};
    const Demand endless = {0, PRIORITY_INTERACTIVE, 1000, UINT32_MAX, 10, 0};
    uint32_t retry_ms;
    cr_expect_eq(admission_ask(admission, &demand, 1000, &retry_ms, NULL), E_RATE);
    cr_expect_eq(retry_ms, 199 * 60000 + 1);
    admission->places = 1000;
    cr_expect_eq(admission_ask(admission, &endless, 1000, &retry_ms, NULL), E_RATE);
    cr_expect_eq(retry_ms, UINT32_MAX);
    free(admission);
}

Test(admission, there_is_always_room_for_one_who_has_nothing_here) {
    begin(8, 100000);
    uint32_t taken = 0;
    while (ask_as(0, 1, 1, false) == OK) {
        taken++;
    }
    cr_expect_lt(taken, 8);
    for (uint32_t other = 1; other <= 2; other++) {
        cr_expect_eq(ask_as(other, 1, 1, false), OK);
    }
    free(admission);
}

Test(admission, a_failure_of_the_engine_outweighs_a_shutdown) {
    begin(4, 1000);
    cr_expect_eq(admission_closed(admission, NULL), OK);
    admission_close(admission, E_DRAIN);
    cr_expect_eq(admission_closed(admission, NULL), E_DRAIN);
    admission_close(admission, E_DEVICE);
    admission_close(admission, E_DRAIN);
    Error error;
    cr_expect_eq(admission_closed(admission, &error), E_DEVICE);
    cr_expect_eq(error.status, E_DEVICE);
    free(admission);
}

Test(admission, the_time_to_try_again_follows_the_speed) {
    begin(10, 100000);
    uint32_t unknown = admission_retry_ms(admission);
    ask(1, 5000);
    admission->rows_per_ms = 2.0;
    cr_expect_eq(admission_retry_ms(admission), 2500);
    cr_expect_gt(unknown, 0);
    free(admission);
}
