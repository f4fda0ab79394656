// SPDX-License-Identifier: Apache-2.0
// Whose turn it is on the prep threads: a queue of every user, and a count of what each has had, by
// weight. The next call is the oldest of the user who had least, so that nobody's pile of pictures
// delays another's single one.
#ifndef HOST_SERVER_TURNS_H
#define HOST_SERVER_TURNS_H

#include "host/server/served.h"

typedef struct TurnQueue {
    ServedCall *first, *last;
    uint64_t had; // of the prep threads, by weight
} TurnQueue;

typedef struct Turns {
    TurnQueue users[USERS_MAX];
    uint32_t waiting; // calls
    uint32_t next;    // of equals, the user who is asked first
    uint64_t had;     // by the user of the last call, before it
} Turns;

void turns_wait(Turns *turns, ServedCall *call);
void turns_leave(Turns *turns, ServedCall *call); // it waits no more
ServedCall *turns_take(Turns *turns);             // somebody waits

#endif
