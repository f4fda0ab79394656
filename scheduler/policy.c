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
    for (int class = 0; class < CLASS_COUNT; class ++) {
        policy->active[class] = calloc(users_max, sizeof *policy->active[class]);
        good = good && policy->active[class] != NULL;
    }
    if (!good) {
        policy_close(policy);
        return error_set(error, E_MEMORY, "no memory for %u users", users_max);
    }
    for (uint32_t i = 0; i < users_max; i++) {
        User *user = &policy->users[i];
        user->limits.weight = 1.0;
        for (int class = 0; class < CLASS_COUNT; class ++) {
            user->queues[class] = (Queue){NO_SLOT, NO_SLOT};
            user->active_at[class] = NO_SLOT;
        }
    }
    return OK;
}

void policy_close(Policy *policy) {
    free(policy->users);
    for (int class = 0; class < CLASS_COUNT; class ++) {
        free(policy->active[class]);
    }
    *policy = (Policy){0};
}

void policy_accept(Policy *policy, uint32_t index, SequenceClass class) {
    User *user = &policy->users[index];
    if (user->busy[class]++ > 0) {
        return;
    }
    double least = policy->left_off[class];
    for (uint32_t i = 0; i < policy->active_count[class]; i++) {
        double counter = policy->users[policy->active[class][i]].counters[class];
        least = i == 0 || counter < least ? counter : least;
    }
    if (user->counters[class] < least) {
        user->counters[class] = least;
    }
    user->active_at[class] = policy->active_count[class];
    policy->active[class][policy->active_count[class]++] = index;
}

void policy_end(Policy *policy, uint32_t index, SequenceClass class) {
    User *user = &policy->users[index];
    REQUIRE(user->busy[class] > 0);
    if (--user->busy[class] > 0) {
        return;
    }
    uint32_t at = user->active_at[class];
    uint32_t last = policy->active[class][--policy->active_count[class]];
    policy->active[class][at] = last;
    policy->users[last].active_at[class] = at;
    user->active_at[class] = NO_SLOT;
    policy->left_off[class] = user->counters[class];
}

bool policy_allow(Policy *policy, uint32_t index, uint32_t tokens, uint64_t now_ms,
                  uint32_t *wait_ms) {
    User *user = &policy->users[index];
    return allowance_take(&user->allowance, user->limits.tokens_per_minute, tokens, now_ms,
                          wait_ms);
}

static Queue *queue_of(Policy *policy, Sequence *slots, const Sequence *sequence) {
    return sequence->held ? &slots[(uint32_t)sequence->after].followers
                          : &policy->users[sequence->user].queues[sequence->class];
}

static void count_waiting(Policy *policy, const Sequence *sequence, int sign) {
    User *user = &policy->users[sequence->user];
    user->waiting += (uint32_t)sign;
    user->queued_tokens += (uint64_t)(sign * (int64_t)sequence->token_count);
}

void policy_queue_back(Policy *policy, Sequence *slots, uint32_t slot) {
    Queue *queue = queue_of(policy, slots, &slots[slot]);
    slots[slot].previous = queue->tail;
    slots[slot].next = NO_SLOT;
    *(queue->tail == NO_SLOT ? &queue->head : &slots[queue->tail].next) = slot;
    queue->tail = slot;
    count_waiting(policy, &slots[slot], 1);
}

void policy_queue_front(Policy *policy, Sequence *slots, uint32_t slot) {
    Queue *queue = queue_of(policy, slots, &slots[slot]);
    slots[slot].next = queue->head;
    slots[slot].previous = NO_SLOT;
    *(queue->head == NO_SLOT ? &queue->tail : &slots[queue->head].previous) = slot;
    queue->head = slot;
    count_waiting(policy, &slots[slot], 1);
}

void policy_queue_remove(Policy *policy, Sequence *slots, uint32_t slot) {
    Queue *queue = queue_of(policy, slots, &slots[slot]);
    uint32_t previous = slots[slot].previous, next = slots[slot].next;
    *(previous == NO_SLOT ? &queue->head : &slots[previous].next) = next;
    *(next == NO_SLOT ? &queue->tail : &slots[next].previous) = previous;
    count_waiting(policy, &slots[slot], -1);
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
static uint32_t count_running(const uint32_t running[CLASS_COUNT], SequenceClass class) {
    uint32_t count = 0;
    for (int c = 0; c <= (int)class; c++) {
        count += running[c];
    }
    return count;
}

// A place that batch would give up is free to interactive.
static bool at_its_share(const Policy *policy, const User *user, SequenceClass class) {
    uint64_t free_places = policy->places - count_running(policy->running, class);
    uint32_t running = count_running(user->running, class);
    return policy->users_max > 1 && running > 0 && running >= SHARE_OF_FREE * free_places;
}

uint32_t policy_next_of(const Policy *policy, const Sequence *slots, SequenceClass class) {
    uint32_t best = NO_SLOT;
    double best_counter = 0;
    for (uint32_t i = 0; i < policy->active_count[class]; i++) {
        const User *user = &policy->users[policy->active[class][i]];
        if ((best != NO_SLOT && user->counters[class] > best_counter) ||
            at_its_share(policy, user, class)) {
            continue;
        }
        uint32_t slot = queue_ready(&user->queues[class], slots);
        if (slot != NO_SLOT && (best == NO_SLOT || user->counters[class] < best_counter ||
                                slots[slot].order < slots[best].order)) {
            best = slot;
            best_counter = user->counters[class];
        }
    }
    return best;
}

bool policy_before(const Policy *policy, const Sequence *a, const Sequence *b) {
    if (a->class != b->class) {
        return a->class < b->class;
    }
    double mine = policy->users[a->user].counters[a->class];
    double theirs = policy->users[b->user].counters[b->class];
    return mine != theirs ? mine < theirs : a->order < b->order;
}

uint32_t policy_next(const Policy *policy, const Sequence *slots, uint64_t now_ms) {
    uint32_t interactive = policy_next_of(policy, slots, CLASS_INTERACTIVE);
    if (interactive != NO_SLOT && policy->turn % AGED_TURN != AGED_TURN - 1) {
        return interactive;
    }
    uint32_t batch = policy_next_of(policy, slots, CLASS_BATCH);
    if (interactive == NO_SLOT) {
        return batch;
    }
    bool aged = batch != NO_SLOT && now_ms - slots[batch].added_ms >= policy->age_ms;
    return aged ? batch : interactive;
}

bool policy_yields(const Policy *policy, const Sequence *running, const Sequence *waiting,
                   uint64_t waited_steps) {
    if (running->class != waiting->class) {
        return running->class > waiting->class;
    }
    const User *theirs = &policy->users[running->user], *mine = &policy->users[waiting->user];
    return waited_steps >= PATIENCE && count_running(mine->running, waiting->class) == 0 &&
           count_running(theirs->running, running->class) > 1 &&
           mine->counters[waiting->class] < theirs->counters[waiting->class];
}

bool policy_runs_more(const Policy *policy, uint32_t a, uint32_t b) {
    const User *x = &policy->users[a], *y = &policy->users[b];
    return count_running(x->running, CLASS_BATCH) * y->limits.weight >
           count_running(y->running, CLASS_BATCH) * x->limits.weight;
}

void policy_run_begin(Policy *policy, const Sequence *sequence) {
    policy->users[sequence->user].running[sequence->class]++;
    policy->running[sequence->class]++;
    policy->turn++;
}

void policy_run_end(Policy *policy, const Sequence *sequence) {
    policy->users[sequence->user].running[sequence->class]--;
    policy->running[sequence->class]--;
}

void policy_charge_prompt(Policy *policy, uint32_t index, SequenceClass class, uint32_t tokens) {
    User *user = &policy->users[index];
    user->prompt_tokens += tokens;
    user->counters[class] += tokens / user->limits.weight;
}

void policy_charge_output(Policy *policy, uint32_t index, SequenceClass class, uint32_t tokens) {
    User *user = &policy->users[index];
    user->output_tokens += tokens;
    user->counters[class] += tokens / user->limits.weight;
}

// Length of a queue whose sequences are as the flags say; links must lead back.
static uint32_t check_queue(const Queue *queue, const Sequence *slots, const Sequence *leader) {
    uint32_t count = 0, previous = NO_SLOT;
    for (uint32_t slot = queue->head; slot != NO_SLOT; slot = slots[slot].next) {
        const Sequence *q = &slots[slot];
        REQUIRE(q->state == SEQUENCE_WAITING && q->previous == previous);
        REQUIRE(q->held == (leader != NULL));
        REQUIRE(leader == NULL || &slots[(uint32_t)q->after] == leader);
        previous = slot;
        count++;
    }
    REQUIRE(queue->tail == previous);
    return count;
}

static void check_user(const Policy *policy, uint32_t index, const Sequence *slots,
                       uint32_t slot_count) {
    const User *user = &policy->users[index];
    uint32_t busy[CLASS_COUNT] = {0}, running[CLASS_COUNT] = {0}, waiting = 0, held = 0, queued = 0;
    uint64_t tokens = 0;
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        const Sequence *q = &slots[slot];
        if (q->state == SEQUENCE_FREE || q->user != index) {
            continue;
        }
        busy[q->class]++;
        running[q->class] += q->state == SEQUENCE_RUNNING;
        waiting += q->state == SEQUENCE_WAITING;
        held += q->state == SEQUENCE_WAITING && q->held;
        tokens += q->state == SEQUENCE_WAITING ? q->token_count : 0;
    }
    for (int class = 0; class < CLASS_COUNT; class ++) {
        queued += check_queue(&user->queues[class], slots, NULL);
        REQUIRE(busy[class] == user->busy[class] && running[class] == user->running[class]);
        uint32_t at = user->active_at[class];
        REQUIRE((at != NO_SLOT) == (busy[class] > 0));
        REQUIRE(at == NO_SLOT ||
                (at < policy->active_count[class] && policy->active[class][at] == index));
    }
    REQUIRE(waiting == user->waiting && queued + held == waiting && tokens == user->queued_tokens);
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
