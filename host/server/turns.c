// SPDX-License-Identifier: Apache-2.0
#include "host/server/turns.h"

#include "base/check.h"

void turns_wait(Turns *turns, ServedCall *call) {
    TurnQueue *queue = &turns->users[call->demand.user];
    call->next = NULL;
    if (queue->first == NULL && queue->had < turns->had) {
        queue->had = turns->had; // a user who was away has earned nothing by it
    }
    if (queue->last != NULL) {
        queue->last->next = call;
    } else {
        queue->first = call;
    }
    queue->last = call;
    turns->waiting++;
}

void turns_leave(Turns *turns, ServedCall *call) {
    TurnQueue *queue = &turns->users[call->demand.user];
    ServedCall *before = NULL;
    for (ServedCall *at = queue->first; at != call; at = at->next) {
        before = at;
    }
    if (before != NULL) {
        before->next = call->next;
    } else {
        queue->first = call->next;
    }
    if (queue->last == call) {
        queue->last = before;
    }
    turns->waiting--;
}

// What a call weighs: about the text of one, and a million pixels as much.
static uint64_t turns_weight(const ServedCall *call) {
    return 1 + call->demand.pixels / 1000000;
}

// The user who had least so far of those who wait; equals one after another.
static uint32_t turns_user(const Turns *turns) {
    uint32_t least = USERS_MAX;
    for (uint32_t i = 0; i < USERS_MAX; i++) {
        uint32_t user = (turns->next + i) % USERS_MAX;
        if (turns->users[user].first != NULL &&
            (least == USERS_MAX || turns->users[user].had < turns->users[least].had)) {
            least = user;
        }
    }
    REQUIRE(least < USERS_MAX);
    return least;
}

ServedCall *turns_take(Turns *turns) {
    uint32_t user = turns_user(turns);
    TurnQueue *queue = &turns->users[user];
    ServedCall *call = queue->first;
    turns->next = user + 1;
    turns->had = queue->had;
    queue->had += turns_weight(call);
    turns_leave(turns, call);
    return call;
}
