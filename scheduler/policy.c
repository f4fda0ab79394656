// SPDX-License-Identifier: Apache-2.0
#include "scheduler/policy.h"

#include "base/check.h"

#include <stdlib.h>

enum {
    AGED_TURN = 4,      // every fourth admission may go to an aged batch request
    SHARE_OF_FREE = 15, // alone a user fills 15 places of 16
    PATIENCE = 16       // steps; short answers have given a place by then
};

Status policy_open(uint32_t users_max, uint32_t places, uint32_t age_ms, Policy *policy,
                   Error *error) {
    *policy = (Policy){.users_max = users_max, .places = places, .age_ms = age_ms};
    policy->users = calloc(users_max, sizeof *policy->users);
    bool good = policy->users != NULL;
    for (int priority = 0; priority < PRIORITY_COUNT; priority++) {
        policy->active[priority] = calloc(users_max, sizeof *policy->active[priority]);
        good = good && policy->active[priority] != NULL;
    }
    if (!good) {
        policy_close(policy);
        return error_set(error, E_MEMORY, "no memory for %u users", users_max);
    }
    for (uint32_t i = 0; i < users_max; i++) {
        User *user = &policy->users[i];
        user->weight = 1.0;
        for (int priority = 0; priority < PRIORITY_COUNT; priority++) {
            user->queues[priority] = (Queue){NO_SLOT, NO_SLOT};
            user->active_at[priority] = NO_SLOT;
        }
    }
    return OK;
}

void policy_close(Policy *policy) {
    free(policy->users);
    for (int priority = 0; priority < PRIORITY_COUNT; priority++) {
        free(policy->active[priority]);
    }
    *policy = (Policy){0};
}

void policy_accept(Policy *policy, uint32_t index, Priority priority) {
    User *user = &policy->users[index];
    if (user->busy[priority]++ > 0) {
        return;
    }
    double least = policy->left_off[priority];
    for (uint32_t i = 0; i < policy->active_count[priority]; i++) {
        double counter = policy->users[policy->active[priority][i]].counters[priority];
        least = i == 0 || counter < least ? counter : least;
    }
    if (user->counters[priority] < least) {
        user->counters[priority] = least;
    }
    user->active_at[priority] = policy->active_count[priority];
    policy->active[priority][policy->active_count[priority]++] = index;
}

void policy_end(Policy *policy, uint32_t index, Priority priority) {
    User *user = &policy->users[index];
    REQUIRE(user->busy[priority] > 0);
    if (--user->busy[priority] > 0) {
        return;
    }
    uint32_t at = user->active_at[priority];
    uint32_t last = policy->active[priority][--policy->active_count[priority]];
    policy->active[priority][at] = last;
    policy->users[last].active_at[priority] = at;
    user->active_at[priority] = NO_SLOT;
    policy->left_off[priority] = user->counters[priority];
}

// `next` comes behind `slot` in a queue; NO_SLOT is before its first and behind its last.
static void queue_link(Queue *queue, Sequence *slots, uint32_t slot, uint32_t next) {
    if (slot == NO_SLOT) {
        queue->head = next;
    } else {
        slots[slot].next = next;
    }
    if (next == NO_SLOT) {
        queue->tail = slot;
    } else {
        slots[next].previous = slot;
    }
}

static Queue *queue_of(Policy *policy, Sequence *slots, const Sequence *sequence) {
    return sequence->held ? &slots[(uint32_t)sequence->after].followers
                          : &policy->users[sequence->user].queues[sequence->priority];
}

void policy_queue_back(Policy *policy, Sequence *slots, uint32_t slot) {
    Queue *queue = queue_of(policy, slots, &slots[slot]);
    queue_link(queue, slots, queue->tail, slot);
    queue_link(queue, slots, slot, NO_SLOT);
}

void policy_queue_front(Policy *policy, Sequence *slots, uint32_t slot) {
    Queue *queue = queue_of(policy, slots, &slots[slot]);
    queue_link(queue, slots, slot, queue->head);
    queue_link(queue, slots, NO_SLOT, slot);
}

void policy_queue_remove(Policy *policy, Sequence *slots, uint32_t slot) {
    Queue *queue = queue_of(policy, slots, &slots[slot]);
    queue_link(queue, slots, slots[slot].previous, slots[slot].next);
}

// First of the queue that may run now. Ending ones are few: the next commit sweeps them.
static uint32_t queue_ready(const Queue *queue, const Sequence *slots) {
    uint32_t slot = queue->head;
    while (slot != NO_SLOT && slots[slot].ending != FINISH_NONE) {
        slot = slots[slot].next;
    }
    return slot;
}

// What runs of a class and those it does not make room for.
static uint32_t count_running(const uint32_t running[PRIORITY_COUNT], Priority priority) {
    uint32_t count = 0;
    for (int c = 0; c <= (int)priority; c++) {
        count += running[c];
    }
    return count;
}

// A place that batch would give up is free to interactive.
static bool at_its_share(const Policy *policy, const User *user, Priority priority) {
    uint64_t free_places = policy->places - count_running(policy->running, priority);
    uint32_t running = count_running(user->running, priority);
    return policy->users_max > 1 && running > 0 && running >= SHARE_OF_FREE * free_places;
}

uint32_t policy_next_of(const Policy *policy, const Sequence *slots, Priority priority) {
    uint32_t best = NO_SLOT;
    double best_counter = 0;
    for (uint32_t i = 0; i < policy->active_count[priority]; i++) {
        const User *user = &policy->users[policy->active[priority][i]];
        if ((best != NO_SLOT && user->counters[priority] > best_counter) ||
            at_its_share(policy, user, priority)) {
            continue;
        }
        uint32_t slot = queue_ready(&user->queues[priority], slots);
        if (slot != NO_SLOT && (best == NO_SLOT || user->counters[priority] < best_counter ||
                                slots[slot].order < slots[best].order)) {
            best = slot;
            best_counter = user->counters[priority];
        }
    }
    return best;
}

bool policy_before(const Policy *policy, const Sequence *a, const Sequence *b) {
    if (a->priority != b->priority) {
        return a->priority < b->priority;
    }
    double mine = policy->users[a->user].counters[a->priority];
    double theirs = policy->users[b->user].counters[b->priority];
    return mine != theirs ? mine < theirs : a->order < b->order;
}

uint32_t policy_next(const Policy *policy, const Sequence *slots, uint64_t now_ms) {
    uint32_t interactive = policy_next_of(policy, slots, PRIORITY_INTERACTIVE);
    if (interactive != NO_SLOT && policy->turn % AGED_TURN != AGED_TURN - 1) {
        return interactive;
    }
    uint32_t batch = policy_next_of(policy, slots, PRIORITY_BATCH);
    if (interactive == NO_SLOT) {
        return batch;
    }
    bool aged = batch != NO_SLOT && now_ms - slots[batch].added_ms >= policy->age_ms;
    return aged ? batch : interactive;
}

bool policy_yields(const Policy *policy, const Sequence *running, const Sequence *waiting,
                   uint64_t waited_steps) {
    if (running->priority != waiting->priority) {
        return running->priority > waiting->priority;
    }
    const User *theirs = &policy->users[running->user], *mine = &policy->users[waiting->user];
    return waited_steps >= PATIENCE && count_running(mine->running, waiting->priority) == 0 &&
           count_running(theirs->running, running->priority) > 1 &&
           mine->counters[waiting->priority] < theirs->counters[waiting->priority];
}

bool policy_runs_more(const Policy *policy, uint32_t a, uint32_t b) {
    const User *x = &policy->users[a], *y = &policy->users[b];
    return count_running(x->running, PRIORITY_BATCH) * y->weight >
           count_running(y->running, PRIORITY_BATCH) * x->weight;
}

void policy_run_begin(Policy *policy, const Sequence *sequence) {
    policy->users[sequence->user].running[sequence->priority]++;
    policy->running[sequence->priority]++;
    policy->turn++;
}

void policy_run_end(Policy *policy, const Sequence *sequence) {
    policy->users[sequence->user].running[sequence->priority]--;
    policy->running[sequence->priority]--;
}

void policy_charge(Policy *policy, uint32_t user, Priority priority, uint32_t tokens) {
    policy->users[user].counters[priority] += tokens / policy->users[user].weight;
}

// Length of a queue whose sequences are as the flags say; links must lead back.
static uint32_t check_queue(const Queue *queue, const Sequence *slots, const Sequence *leader) {
    uint32_t count = 0, previous = NO_SLOT;
    for (uint32_t slot = queue->head; slot != NO_SLOT; slot = slots[slot].next) {
        const Sequence *sequence = &slots[slot];
        REQUIRE(sequence->state == SEQUENCE_WAITING && sequence->previous == previous);
        REQUIRE(sequence->held == (leader != NULL));
        REQUIRE(leader == NULL || &slots[(uint32_t)sequence->after] == leader);
        previous = slot;
        count++;
    }
    REQUIRE(queue->tail == previous);
    return count;
}

static void check_user(const Policy *policy, uint32_t index, const Sequence *slots,
                       uint32_t slot_count) {
    const User *user = &policy->users[index];
    uint32_t busy[PRIORITY_COUNT] = {0}, running[PRIORITY_COUNT] = {0}, waiting = 0, held = 0,
             queued = 0;
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        const Sequence *sequence = &slots[slot];
        if (sequence->state == SEQUENCE_FREE || sequence->user != index) {
            continue;
        }
        busy[sequence->priority]++;
        running[sequence->priority] += sequence->state == SEQUENCE_RUNNING;
        waiting += sequence->state == SEQUENCE_WAITING;
        held += sequence->state == SEQUENCE_WAITING && sequence->held;
    }
    for (int priority = 0; priority < PRIORITY_COUNT; priority++) {
        queued += check_queue(&user->queues[priority], slots, NULL);
        REQUIRE(busy[priority] == user->busy[priority] &&
                running[priority] == user->running[priority]);
        uint32_t at = user->active_at[priority];
        REQUIRE((at != NO_SLOT) == (busy[priority] > 0));
        REQUIRE(at == NO_SLOT ||
                (at < policy->active_count[priority] && policy->active[priority][at] == index));
    }
    REQUIRE(queued + held == waiting);
}

void policy_check(const Policy *policy, const Sequence *slots, uint32_t slot_count) {
    for (uint32_t i = 0; i < policy->users_max; i++) {
        check_user(policy, i, slots, slot_count);
    }
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        if (slots[slot].state != SEQUENCE_FREE) {
            check_queue(&slots[slot].followers, slots, &slots[slot]);
        }
    }
}
