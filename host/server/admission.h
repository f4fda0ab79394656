// SPDX-License-Identifier: Apache-2.0
// Who may come in. Decided at once and from headers only, before a picture is decoded: places, the
// queue in tokens, and what the users file allows a user. What is let in here the scheduler takes
// (it is given more room than this), so a request is refused at the door or not at all.
//
// Invariants (admission_check): the users' counts add up to the whole; nothing is below zero.
#ifndef HOST_SERVER_ADMISSION_H
#define HOST_SERVER_ADMISSION_H

#include "host/server/allowance.h"
#include "host/server/users.h"

typedef struct AdmissionUser {
    const ServerUser *settings; // borrowed
    uint32_t in_flight;         // samples accepted and not ended
    uint32_t queued;            // of these without a first token
    uint64_t queued_tokens;     // prompt tokens of the queued ones
    Allowance allowance;
} AdmissionUser;

typedef struct Admission {
    Status closed; // OK; or why nothing new is taken: E_DRAIN, E_DEVICE
    uint32_t places, in_flight;
    uint64_t queued_tokens_max, queued_tokens;
    bool alone;         // there is one user only, for whom everything is
    double rows_per_ms; // recent speed of the engine, 0 = not known yet
    AdmissionUser users[USERS_MAX];
} Admission;

// What one call asks for.
typedef struct Demand {
    uint32_t user;
    Priority priority;
    uint32_t samples;
    uint32_t prompt_tokens; // image tokens exactly, text by its length
    uint32_t new_tokens;    // of one sample
    uint64_t pixels;        // that its pictures declare
} Demand;

void admission_open(Admission *admission, uint32_t places, uint64_t queued_tokens_max);

// Nothing new is taken from now on: E_DRAIN at a shutdown, E_DEVICE after a failure of the engine,
// which outweighs the other.
void admission_close(Admission *admission, Status why);
Status admission_closed(const Admission *admission, Error *error); // OK; else why, as a sentence

// A user's settings are new, and stay where they are until the next: the allowance starts full.
void admission_set_user(Admission *admission, uint32_t user, const ServerUser *settings,
                        uint64_t now_ms);

// OK: the places are taken, until admission_ended. Otherwise nothing has changed, the
// sentence is for the client and *retry_ms says when it makes sense to try again (0 = never):
//   E_BUSY       places or queued tokens are exhausted
//   E_USER_BUSY  the user's requests in flight or queued; or, with more than one user, as many
//                of the user's are here as there are places left, so that others find room
//   E_RATE       the user's tokens per minute
//   E_ARGUMENT   the class is not the user's
Status admission_ask(Admission *admission, const Demand *demand, uint64_t now_ms,
                     uint32_t *retry_ms, Error *error);

void admission_begun(Admission *admission, const Demand *demand); // a first token: queued no more
void admission_ended(Admission *admission, const Demand *demand, bool queued); // all its samples

// The same answer without taking anything, and without the tokens per minute: for a call whose
// pictures are not looked at yet, so that `prompt_tokens` may be too few.
Status admission_look(const Admission *admission, const Demand *demand, uint32_t *retry_ms,
                      Error *error);

uint32_t admission_retry_ms(const Admission *admission); // for whoever finds the queue full

void admission_check(const Admission *admission);

#endif
