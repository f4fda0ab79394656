// SPDX-License-Identifier: Apache-2.0
// The inside of a service, shared by its files. Each of them calls only those before it: counts.c,
// greeting.c (who a connection is), served.c (a call from acceptance to its last event), samples.c
// (its samples), usage.c (stats), intake.c (accepting a generate call), service.c (calls, time).
#ifndef HOST_SERVER_SERVICE_STATE_H
#define HOST_SERVER_SERVICE_STATE_H

#include "base/log.h"
#include "host/server/budget.h"
#include "host/server/connections.h"
#include "host/server/served.h"
#include "host/server/service.h"
#include "host/server/turns.h"

typedef struct UserTotals {
    uint64_t requests, refused, prompt_tokens, output_tokens;
    uint32_t connections; // that have said hello
    double weight;        // that the scheduler was told; 0 = nothing yet
} UserTotals;

// What the rates of the stats are made from: totals a while ago.
typedef struct RateMark {
    uint64_t ms, output_tokens, prompt_tokens, pictures;
} RateMark;

struct Service {
    ServiceOptions options;
    const Users *users;
    Metrics *metrics;
    uint64_t now_ms, opened_ms;

    Connections connections;
    uint32_t strangers;      // connections that have not said hello
    LogLimit stranger_lines; // of the log, that somebody without a token can cause

    ServedCall *served;                 // [samples_max]
    uint32_t served_used, served_count; // places that were ever used; calls that are here
    ServedCall *served_free;            // of the used ones
    ServedCall *settled;
    uint64_t next_id;
    Sample *samples; // [samples_max]
    uint32_t samples_used;
    Sample *samples_free;
    Turns turns;
    uint32_t work_count; // calls with prep threads
    Admission admission;
    Blobs blobs;
    Budget incoming, outgoing; // bytes held for clients
    UserTotals totals[USERS_MAX];
    Buffer scratch;

    StepReport report; // the last one
    ServerStats stats; // counters; gauges are filled when asked
    RateMark mark, mark_next;
    bool failed;
    bool draining;
    uint64_t drain_deadline_ms;
};

// ---- counts.c -----------------------------------------------------------------------------------

void counts_looked(Service *service, uint64_t bytes); // of pictures, on the loop thread
void counts_accepted(Service *service, const ServedCall *call);
void counts_refused(Service *service, const Call *call, uint32_t user, Status status);
void counts_prepared(Service *service, const ServedCall *call);
void counts_begun(Service *service, const ServedCall *call); // its first token came
void counts_prompt(Service *service, const Sample *sample);  // its first token came
void counts_token(Service *service, const Sample *sample);
void counts_answered(Service *service, const Sample *sample);
// The reason of the sample that ended worst.
DoneReason counts_done(Service *service, const ServedCall *call, const DoneEvent *done);

// ---- greeting.c ---------------------------------------------------------------------------------

// A connection comes, that has not said hello. E_BUSY, E_MEMORY.
Status greeting_connect(Service *service, uint32_t *connection, Error *error);
// The session's handler. E_AUTH, E_USER_BUSY.
Status greeting_authenticate(void *context, Bytes token, SessionUser *out, Error *error);
void greeting_disconnect(Service *service, uint32_t connection);
void greeting_tick(Service *service); // says how many lines were left out
// There are new users: ends what a token opened that is not valid any more.
void greeting_set_users(Service *service, const Users *before);
SessionPurses greeting_purses(Service *service, uint32_t user);

// ---- served.c -----------------------------------------------------------------------------------

Status served_open(Service *service, Error *error); // the two tables; E_MEMORY
void served_close(Service *service);                // nothing is in them any more

// A place for a call and for so many samples, which admission has granted.
ServedCall *served_take(Service *service, uint32_t samples);
void served_wait(Service *service, ServedCall *call); // for a prep thread
void served_start_work(Service *service);             // as long as there are threads for it
Session *served_session(Service *service, const ServedCall *call); // that asked; NULL: it is gone

// Ends the call for this reason, now or as soon as whoever has it gives it back.
void served_end(Service *service, ServedCall *call, DoneReason reason, Status status,
                const char *detail);
void served_cancel_sample(Service *service, const Sample *sample); // with the stepper
void served_settle(Service *service, ServedCall *call); // nobody has it: to be answered and freed
void served_settle_all(Service *service);               // answers and frees what is settled

// ---- samples.c ----------------------------------------------------------------------------------

void samples_worked(Service *service, ServedCall *call); // a prep thread has given it back
void samples_event(Service *service, const StepperEvent *event);

// ---- usage.c ------------------------------------------------------------------------------------

void usage_step(Service *service, const StepReport *report); // after every step
void usage_tick(Service *service);                           // rates and gauges
void usage_stats(const Service *service, uint64_t now_ms, ServerStats *out);
void usage_put_stats(Service *service, uint32_t asker); // into scratch

// ---- intake.c -----------------------------------------------------------------------------------

// Accepts or refuses a generate or tokenize call and answers it. Owns `call`.
void intake_generate(Service *service, Connection *connection, Call *call);
void intake_tokenize(Service *service, Connection *connection, Call *call);

#endif
