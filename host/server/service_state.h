// SPDX-License-Identifier: Apache-2.0
// The inside of a service, shared by greeting.c (who a connection is), slots.c (from acceptance to
// the last event), intake.c (accepting a generate call) and service.c (calls, time).
//
// A Slot is one sample of one call; its number is the stepper's tag. The first sample's slot leads:
// it owns the call, the prepared prompt and the state of the whole. The others share its prompt.
//
//   FREE -> WAITING -> PREPARING -> STEPPING -> SETTLED -> FREE       (a leader)
//              |           |           |           ^
//              +-----------+-----------+-----------+  marked `ending`; settled when given back
//   FREE -> FOLLOWING -> FREE                                        (the other samples)
#ifndef HOST_SERVER_SERVICE_STATE_H
#define HOST_SERVER_SERVICE_STATE_H

#include "base/log.h"
#include "host/server/admission.h"
#include "host/server/blobs.h"
#include "host/server/budget.h"
#include "host/server/connections.h"
#include "host/server/service.h"

#define NO_SLOT UINT32_MAX

typedef enum SlotState {
    SLOT_FREE,
    SLOT_WAITING,   // for a prep thread
    SLOT_PREPARING, // with one
    SLOT_STEPPING,  // sequences are with the stepper
    SLOT_SETTLED,   // to be answered and freed at the end of this input
    SLOT_FOLLOWING,
} SlotState;

// One answer.
typedef struct Sample {
    uint32_t index; // 0 .. n-1
    bool stepping;  // with the stepper
    bool answered;  // reason is final; what still comes is ignored
    DoneReason reason;
    uint64_t first_ms;      // of its first token, 0 = none yet
    uint32_t cached_tokens; // of the prompt, that were not computed for it
} Sample;

typedef struct Slot {
    SlotState state;
    uint32_t generation; // counts uses, so that a late cancel of the last one does nothing
    uint32_t leader;
    uint32_t next; // in the free list, in the user's waiting list, or in the settled list
    Sample sample;
    SequenceRequest sequence; // what the stepper borrows
    Request request;          // its answer; of a leader also its prepared part

    // Of a leader.
    uint64_t id; // for the log
    uint32_t connection, connection_generation;
    Call *call;
    PrepWork work;
    Question question;
    Chat chat;
    Blob **blobs; // [blob_count] held, in the call's arena
    uint32_t blob_count;
    Ask ask;
    uint32_t slots[CALL_SAMPLES_MAX]; // of the samples, itself first
    uint32_t stepping_count;
    bool queued; // no token has come yet
    bool ending;
    DoneReason ending_reason; // of samples that have not ended otherwise
    Status status;            // why a sample has DONE_ERROR
    char detail[STEPPER_TEXT_MAX];
    uint32_t output_tokens;
    uint64_t deadline_ms;                          // 0 = none
    uint64_t received_ms, prepare_ms, prepared_ms; // arrived, a prep thread began, it ended
    uint64_t begun_ms, first_ms;                   // in the batch, first token; 0 = not yet
} Slot;

typedef struct UserTotals {
    uint64_t requests, refused, prompt_tokens, output_tokens;
    uint32_t connections;                 // that have said hello
    double weight;                        // that the scheduler was told; 0 = nothing yet
    uint32_t waiting_first, waiting_last; // slots that wait for a prep thread
    uint64_t prepared;                    // what it had of the prep threads, by weight
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

    Slot *slots; // [requests_max]
    uint32_t slot_free, slot_count;
    uint32_t settled; // list of leaders
    uint64_t next_id;
    uint32_t work_count; // with prep threads
    uint32_t waiting_count;
    uint32_t turn;     // of equals, the user who is asked first for the next work
    uint64_t prepared; // what the user of the last work had before it
    Admission admission;
    Blobs blobs;
    Budget incoming, outgoing; // bytes held for clients
    UserTotals *totals;        // [USERS_MAX]
    Buffer scratch;

    StepReport report; // the last one
    ServerStats stats; // counters; gauges are filled when asked
    RateMark mark, mark_next;
    bool failed;
    bool draining;
    uint64_t drain_deadline_ms;
};

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

// ---- intake.c -----------------------------------------------------------------------------------

// Accepts or refuses a generate or tokenize call and answers it. Owns `call`.
void intake_generate(Service *service, Connection *connection, Call *call);
void intake_tokenize(Service *service, Connection *connection, Call *call);

// ---- slots.c ------------------------------------------------------------------------------------

uint32_t slot_take(Service *service);              // NO_SLOT when there is none
void slot_wait(Service *service, uint32_t leader); // for a prep thread
void slot_start_work(Service *service);            // as long as there are threads for it

// Ends the request for this reason, now or as soon as whoever has it gives it back.
void slot_end(Service *service, uint32_t leader, DoneReason reason, Status status,
              const char *detail);
void slot_worked(Service *service, uint32_t leader);
void slot_step_event(Service *service, const StepperEvent *event);
void slot_settle_all(Service *service); // answers and frees what has ended

#endif
