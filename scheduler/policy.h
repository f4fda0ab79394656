// SPDX-License-Identifier: Apache-2.0
// Whose turn it is. Two classes; inside a class, users share by a virtual token counter (Sheng et
// al., "Fairness in Serving Large Language Models", OSDI 2024): every computed prompt token, image
// token and output token is charged to its user's counter, divided by the user's weight, and the
// waiting user with the least counter is next. A user who comes back is lifted to the least counter
// among the busy ones, so idleness earns no credit. For two users who both always have something
// waiting, the difference of weighted service stays within a bound that does not grow (twice the
// larger of one prompt and one step's tokens; the simulator checks it).
//
// With several users, one may run no more than SHARE_OF_FREE times as many as there are places
// free. So even where one user has filled the batch, the next user finds a place at once. When
// these places are gone too, a user with nothing running waits for PATIENCE steps; then a sequence
// of the user who runs the most makes room. It is preempted as by a lack of pages, and no more
// often.
//
// Interactive goes before batch, except that of four admissions one goes to a batch request that
// has waited longer than age_ms, so batch never starves.
#ifndef SCHEDULER_POLICY_H
#define SCHEDULER_POLICY_H

#include "scheduler/sequence.h"

typedef struct User {
    double weight;
    Queue queues[PRIORITY_COUNT];
    double counters[PRIORITY_COUNT];
    uint32_t busy[PRIORITY_COUNT];      // accepted and not finished
    uint32_t active_at[PRIORITY_COUNT]; // place in Policy.active, NO_SLOT when not busy
    uint32_t running[PRIORITY_COUNT];
} User;

typedef struct Policy {
    User *users; // [users_max]
    uint32_t users_max;
    uint32_t *active[PRIORITY_COUNT]; // [users_max] users with accepted, unfinished requests
    uint32_t active_count[PRIORITY_COUNT];
    double left_off[PRIORITY_COUNT]; // counter of the last user to become idle
    uint32_t age_ms;
    uint32_t turn;                            // admissions so far
    uint32_t places, running[PRIORITY_COUNT]; // of all users
} Policy;

Status policy_open(uint32_t users_max, uint32_t places, uint32_t age_ms, Policy *policy,
                   Error *error);
void policy_close(Policy *policy);

// A request is accepted or ends. Accepting lifts the counter of a user who was idle in the class.
void policy_accept(Policy *policy, uint32_t user, Priority priority);
void policy_end(Policy *policy, uint32_t user, Priority priority);

// A sequence waits, behind the others or (preempted, or held no longer) before them; and does not
// wait any more. A held one stands with the followers of the sequence it is held for.
void policy_queue_back(Policy *policy, Sequence *slots, uint32_t slot);
void policy_queue_front(Policy *policy, Sequence *slots, uint32_t slot);
void policy_queue_remove(Policy *policy, Sequence *slots, uint32_t slot);

// In one class: of the user with the least counter who has something ready, the first; of equal
// users the one with the oldest request. NO_SLOT when there is none.
uint32_t policy_next_of(const Policy *policy, const Sequence *slots, Priority priority);

// The waiting sequence whose turn it is, or NO_SLOT. Changes nothing.
uint32_t policy_next(const Policy *policy, const Sequence *slots, uint64_t now_ms);
// Is `a` served before `b`? By class, then the least counter of their users, then the oldest.
bool policy_before(const Policy *policy, const Sequence *a, const Sequence *b);

// Does a running sequence make room for one that has waited so many steps? A batch one for an
// interactive one at once; within a class as said above. And does `a` run more than `b`, by weight?
bool policy_yields(const Policy *policy, const Sequence *running, const Sequence *waiting,
                   uint64_t waited_steps);
bool policy_runs_more(const Policy *policy, uint32_t a, uint32_t b);

// A sequence was let in; it runs no longer.
void policy_run_begin(Policy *policy, const Sequence *sequence);
void policy_run_end(Policy *policy, const Sequence *sequence);

// Charges tokens: of a prompt when their step is planned, so that the next admission of that very
// step sees them; of the output when they are drawn.
void policy_charge(Policy *policy, uint32_t user, Priority priority, uint32_t tokens);

// Checks with REQUIRE that queues, counts and active users agree with the slots. Slow.
void policy_check(const Policy *policy, const Sequence *slots, uint32_t slot_count);

#endif
