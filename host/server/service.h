// SPDX-License-Identifier: Apache-2.0
// What the server decides, as a pure state machine: connections and their sessions, requests from
// acceptance to their last event, blobs, users. No socket, no thread, no clock: inputs are function
// calls that carry the time, outputs go through ports. The loop thread drives it (server.c), and so
// does the simulator on a virtual clock.
//
//   bytes -> session -> Call -> accept or refuse at once (admission.h, before a picture is decoded)
//     -> WAITING for a prep thread -> PREPARING -> STEPPING (one sequence per sample) -> done
//
// Cancel, disconnect, deadline and the end of a drain are one path: the request is marked, whoever
// has it (nobody, a prep thread, the stepper) gives it back, and then it is freed. A request that
// was accepted gets exactly one done event, if its connection is still there.
//
// Users take turns on the prep threads by the pixels they bring, so that no one's pile delays
// another's single picture; the scheduler shares the engine among them.
#ifndef HOST_SERVER_SERVICE_H
#define HOST_SERVER_SERVICE_H

#include "host/request/prep_work.h"
#include "host/server/metrics.h"
#include "host/server/users.h"
#include "host/step/stepper.h"
#include "rpc/methods.h"
#include "rpc/session.h"

typedef struct Service Service;

// What the service asks of its surroundings. Called from inside its functions; a port must not call
// back into the service, but note what is to be done and return.
typedef struct ServicePorts {
    void *context;
    // `work` goes to a prep thread, which runs prep_work_run and hands it to service_worked. At
    // most work_max are out at a time.
    void (*work)(void *context, PrepWork *work);
    void (*command)(void *context, const StepperCommand *command); // to the stepper, in order
    // The connection has something to write or must be closed: ask service_output and
    // service_connection_end. Called from service_flush only, once per connection.
    void (*output)(void *context, uint32_t connection);
} ServicePorts;

typedef struct ServiceOptions {
    const PromptMaker *maker; // tokenizer and config of the model
    ModelResult model;        // for the models call, and what a call that does not say gets
    SessionLimits session;
    MediaLimits media;
    uint32_t connections_max;
    uint32_t samples_max;       // accepted and not ended; tags are below this
    uint32_t media_max;         // of one request
    uint32_t context;           // most tokens of prompt and answer
    uint32_t running_max;       // sequences in a batch, for stats
    uint32_t work_max;          // requests with prep threads at a time
    uint64_t queued_tokens_max; // prompt tokens (as counted at acceptance) without a first token
    uint64_t blob_bytes_max;
    uint64_t held_bytes_max; // of sessions, accepted calls and blobs together
    bool log_prompts;        // the text of messages goes to the log
    bool metrics_users;      // users have rows with their names in the metrics
    ServicePorts ports;
} ServiceOptions;

// `users` and `metrics` are borrowed; service_set_users changes the former. E_MEMORY.
Status service_open(const ServiceOptions *options, const Users *users, Metrics *metrics,
                    uint64_t now_ms, Service **out, Error *error);
// Closes what is left. No work may be out and the stepper must be empty.
void service_close(Service *service);

// New users after the file was read again: names keep their numbers. Connections of users who are
// gone end, and those that were opened with a token that is not the user's any more. The Users
// before must still be there.
void service_set_users(Service *service, const Users *users);

// ---- Connections --------------------------------------------------------------------------------

// E_BUSY when there are connections_max, or too many that have not said hello where there are
// several users; E_DRAIN, E_DEVICE, E_MEMORY.
Status service_connect(Service *service, uint64_t now_ms, uint32_t *connection, Error *error);
void service_receive(Service *service, uint32_t connection, Bytes bytes, uint64_t now_ms);
// False: it has sent more calls than one turn takes; nothing should be received before a turn.
bool service_reads(const Service *service, uint32_t connection);
// Nothing that it has sent is still to be answered.
bool service_is_idle(const Service *service, uint32_t connection);
// Each connection that has sent something gets a turn: its next calls. Once per wake.
void service_turn(Service *service, uint64_t now_ms);
bool service_has_more(const Service *service); // another turn has something to do
// The peer is gone or the socket is closed: the number is free for another connection.
void service_disconnect(Service *service, uint32_t connection, uint64_t now_ms);

// Bytes to write, unmoved until service_written takes a beginning of them away.
Bytes service_output(Service *service, uint32_t connection);
void service_written(Service *service, uint32_t connection, size_t count, uint64_t now_ms);

typedef enum ConnectionEnd {
    CONNECTION_STAYS,
    CONNECTION_CLOSE_WHEN_WRITTEN,
    CONNECTION_CLOSE_NOW
} ConnectionEnd;
ConnectionEnd service_connection_end(const Service *service, uint32_t connection);

// ---- What comes back ----------------------------------------------------------------------------

void service_worked(Service *service, PrepWork *work, uint64_t now_ms);
void service_step_event(Service *service, const StepperEvent *event, uint64_t now_ms);

// After every step.
typedef struct StepReport {
    SchedulerStats scheduler;
    uint64_t steps;   // so far
    uint64_t last_ns; // the last step took
    uint32_t last_rows;
    bool failed; // the engine will not step again
} StepReport;
void service_step_report(Service *service, const StepReport *report, uint64_t now_ms);

// ---- Time ---------------------------------------------------------------------------------------

// Deadlines, rates and gauges. To be called every SERVICE_TICK_MS, or later when nothing presses.
enum { SERVICE_TICK_MS = 50 };
void service_tick(Service *service, uint64_t now_ms);

// Tells ports.output about every connection that something happened to since the last flush.
void service_flush(Service *service);

// ---- Ending -------------------------------------------------------------------------------------

// Accepts nothing new; what runs has until `deadline_ms` and is then cancelled. Connections end as
// soon as they have nothing in flight.
void service_drain(Service *service, uint64_t now_ms, uint64_t deadline_ms);
bool service_drained(const Service *service); // no request and no connection is left

Health service_health(const Service *service);
void service_stats(const Service *service, uint64_t now_ms, ServerStats *out);

// Calls and samples agree, counts add up: REQUIRE of every invariant. For tests; slow.
void service_check(const Service *service);

#endif
