// SPDX-License-Identifier: Apache-2.0
#include "host/server/service.h"

#include "base/check.h"
#include "base/log.h"
#include "base/num.h"
#include "host/request/secret.h"
#include "host/server/service_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { OUTGOING_PART = 4 }; // of the bytes held: what is kept for answers

// ---- Opening and closing ------------------------------------------------------------------------

static void service_call(void *context, Session *session, Call *call);
static void service_cancel(void *context, Session *session, uint64_t tag);

static Status service_open_connections(Service *service, Error *error) {
    const ConnectionRules rules = {
        .connections_max = service->options.connections_max,
        .session = service->options.session,
        .handler = {.authenticate = greeting_authenticate,
                    .call = service_call,
                    .cancel = service_cancel,
                    .strangers = greeting_purses(service, BUDGET_STRANGERS)},
        .owner = service,
        .metrics = service->metrics,
    };
    return connections_open(&service->connections, &rules, error);
}

// A user whose share is full gives up a blob of his own, which he can put again.
static bool service_reclaim(void *context, uint32_t user) {
    return blobs_forget_oldest(&((Service *)context)->blobs, user);
}

static void service_open_budgets(Service *service) {
    uint64_t held = service->options.held_bytes_max;
    budget_open(&service->outgoing, held / OUTGOING_PART);
    budget_open(&service->incoming, held - held / OUTGOING_PART);
    service->incoming.reclaim = service_reclaim;
    service->incoming.context = service;
}

Status service_open(const ServiceOptions *options, const Users *users, Metrics *metrics,
                    uint64_t now_ms, Service **out, Error *error) {
    *out = NULL;
    Service *service = calloc(1, sizeof *service);
    if (service == NULL) {
        return error_set(error, E_MEMORY, "no memory for the server");
    }
    service->options = *options;
    service->metrics = metrics;
    service_open_budgets(service);
    service->now_ms = service->opened_ms = now_ms;
    service->mark.ms = service->mark_next.ms = now_ms;
    admission_open(&service->admission, options->samples_max, options->queued_tokens_max);
    Status status = blobs_open(&service->blobs, options->blob_bytes_max, &service->options.media,
                               secret_seed(&options->maker->secret), error);
    if (status == OK) {
        status = service_open_connections(service, error);
    }
    if (status == OK) {
        status = served_open(service, error);
    }
    if (status != OK) {
        service_close(service);
        return status;
    }
    service_set_users(service, users);
    log_event(LOG_INFO, "held_bytes", "incoming_max=%" PRIu64 " outgoing_max=%" PRIu64,
              service->incoming.max, service->outgoing.max);
    *out = service;
    return OK;
}

void service_close(Service *service) {
    if (service == NULL) {
        return;
    }
    for (uint32_t i = 0; service->connections.count > 0; i++) {
        if (service->connections.table[i].session != NULL) {
            service_disconnect(service, i, service->now_ms);
        }
    }
    served_close(service);
    connections_close(&service->connections);
    blobs_close(&service->blobs);
    buffer_free(&service->scratch);
    free(service);
}

// The scheduler gets the weight; the other limits are asked for at the door (admission.h).
static void service_set_weight(Service *service, uint32_t user, double weight) {
    if (service->totals[user].weight != weight) {
        service->totals[user].weight = weight;
        const StepperCommand command = {.kind = STEPPER_USER, .user = user, .weight = weight};
        service->options.ports.command(service->options.ports.context, &command);
    }
}

void service_set_users(Service *service, const Users *users) {
    const Users *before = service->users;
    service->users = users;
    bool alone = users_count(users) == 1;
    service->admission.alone = service->incoming.alone = service->outgoing.alone = alone;
    for (uint32_t i = 0; i < users_count(users); i++) {
        const ServerUser *user = users_at(users, i);
        admission_set_user(&service->admission, i, user, service->now_ms);
        if (service->options.metrics_users) {
            metrics_name_user(service->metrics, i, user->name);
        }
        service_set_weight(service, i, user->limits.weight > 0 ? user->limits.weight : 1);
    }
    if (before != NULL) {
        greeting_set_users(service, before);
    }
}

// ---- Connections --------------------------------------------------------------------------------

// Every input passes here first.
static void service_at(Service *service, uint64_t now_ms) {
    REQUIRE(now_ms >= service->now_ms);
    service->now_ms = now_ms;
}

// Ends every input: what has ended is answered and freed, threads get new work.
static void service_settle(Service *service) {
    served_settle_all(service);
    served_start_work(service);
}

Status service_connect(Service *service, uint64_t now_ms, uint32_t *connection, Error *error) {
    service_at(service, now_ms);
    TRY(admission_closed(&service->admission, error));
    return greeting_connect(service, connection, error);
}

void service_receive(Service *service, uint32_t connection, Bytes bytes, uint64_t now_ms) {
    service_at(service, now_ms);
    connections_receive(&service->connections, connection, bytes, now_ms);
    service_settle(service);
}

static const Session *service_session(const Service *service, uint32_t connection) {
    return connections_at(&service->connections, connection)->session;
}

bool service_reads(const Service *service, uint32_t connection) {
    return !session_has_more(service_session(service, connection));
}

bool service_is_idle(const Service *service, uint32_t connection) {
    const Session *session = service_session(service, connection);
    return session_in_flight(session) == 0 && !session_has_more(session);
}

void service_turn(Service *service, uint64_t now_ms) {
    service_at(service, now_ms);
    connections_turn(&service->connections, now_ms);
    service_settle(service);
}

bool service_has_more(const Service *service) {
    return service->connections.has_more;
}

void service_disconnect(Service *service, uint32_t connection, uint64_t now_ms) {
    service_at(service, now_ms);
    greeting_disconnect(service, connection);
    service_settle(service);
}

Bytes service_output(Service *service, uint32_t connection) {
    return connections_output(&service->connections, connection, service->now_ms);
}

void service_written(Service *service, uint32_t connection, size_t count, uint64_t now_ms) {
    service_at(service, now_ms);
    connections_written(&service->connections, connection, count, now_ms);
    service_settle(service);
}

ConnectionEnd service_connection_end(const Service *service, uint32_t connection) {
    switch (session_state(service_session(service, connection))) {
    case SESSION_ENDING:
        return CONNECTION_CLOSE_WHEN_WRITTEN;
    case SESSION_DEAD:
        return CONNECTION_CLOSE_NOW;
    case SESSION_HELLO:
    case SESSION_READY:
        break;
    }
    return CONNECTION_STAYS;
}

void service_flush(Service *service) {
    const ServicePorts *ports = &service->options.ports;
    connections_flush(&service->connections, ports->output, ports->context);
}

// ---- What sessions ask --------------------------------------------------------------------------

static void service_cancel(void *context, Session *session, uint64_t tag) {
    Service *service = ((Connection *)context)->owner;
    (void)session;
    ServedCall *call = &service->served[(uint32_t)tag];
    if (call->generation == (uint32_t)(tag >> 32)) {
        served_end(service, call, DONE_CANCEL, OK, NULL);
    }
}

static void service_put_blob(Service *service, Session *session, Call *call) {
    uint64_t ticket = call->ticket, looked_before = service->blobs.looked_bytes;
    Hash128 name;
    Error error;
    Status status = blobs_put(&service->blobs, session_user(session)->number, call, &name, &error);
    counts_looked(service, service->blobs.looked_bytes - looked_before);
    if (status != OK) {
        session_error(session, ticket, status, error.text, 0);
        return;
    }
    metrics_set(service->metrics, METRIC_BLOB_BYTES, 0, service->blobs.bytes);
    result_put_blob(&service->scratch, name);
    session_result(session, ticket, &service->scratch);
}

static void service_call(void *context, Session *session, Call *call) {
    Connection *connection = context;
    Service *service = connection->owner;
    metrics_add(service->metrics, METRIC_CALLS, 0, 1);
    buffer_clear(&service->scratch);
    switch (call->method) {
    case METHOD_GENERATE:
        intake_generate(service, connection, call);
        return;
    case METHOD_TOKENIZE:
        intake_tokenize(service, connection, call);
        return;
    case METHOD_PUT_BLOB:
        service_put_blob(service, session, call);
        return;
    case METHOD_MODELS:
        result_put_models(&service->scratch, &service->options.model, 1);
        break;
    case METHOD_STATS:
        usage_put_stats(service, session_user(session)->number);
        break;
    case METHOD_HEALTH:
        result_put_health(&service->scratch, service_health(service));
        break;
    case METHOD_HELLO:
    case METHOD_CANCEL:
    case METHOD_CREDIT:
    case METHOD_API_INFO:
    case METHOD_COUNT:
        REQUIRE_MESSAGE(false, "the session answers method %d", (int)call->method);
    }
    session_result(session, call->ticket, &service->scratch);
    call_free(call);
}

// ---- What comes back ----------------------------------------------------------------------------

void service_worked(Service *service, PrepWork *work, uint64_t now_ms) {
    service_at(service, now_ms);
    service->work_count--;
    samples_worked(service, &service->served[work->tag]);
    service_settle(service);
}

void service_step_event(Service *service, const StepperEvent *event, uint64_t now_ms) {
    service_at(service, now_ms);
    samples_event(service, event);
    service_settle(service);
}

void service_step_report(Service *service, const StepReport *report, uint64_t now_ms) {
    service_at(service, now_ms);
    if (report->failed && !service->failed) {
        service->failed = true;
        admission_close(&service->admission, E_DEVICE);
        metrics_add(service->metrics, METRIC_STEPS_FAILED, 0, 1);
        log_event(LOG_ERROR, "engine_failed", "requests=%u", service->admission.in_flight);
    }
    usage_step(service, report);
}

// ---- Time ---------------------------------------------------------------------------------------

static void service_tick_calls(Service *service) {
    uint64_t oldest_ms = service->now_ms;
    uint32_t preparing = 0;
    for (uint32_t i = 0; i < service->served_used; i++) {
        ServedCall *call = &service->served[i];
        if (call->state == SERVED_FREE) {
            continue;
        }
        if (call->deadline_ms > 0 && call->deadline_ms <= service->now_ms) {
            served_end(service, call, DONE_DEADLINE, E_DEADLINE, NULL);
        }
        preparing += call->state == SERVED_WAITING || call->state == SERVED_PREPARING;
        oldest_ms = call->queued && call->received_ms < oldest_ms ? call->received_ms : oldest_ms;
    }
    service->stats.preparing = preparing;
    metrics_set(service->metrics, METRIC_OLDEST_QUEUED, 0,
                (service->now_ms - oldest_ms) * 1000000u);
}

// The time to drain is over: what is still there ends. What steps does so with the next step.
static void service_end_late(Service *service, Status why) {
    uint32_t ended = 0;
    for (uint32_t i = 0; i < service->served_used; i++) {
        ServedCall *call = &service->served[i];
        if (call->state != SERVED_FREE && !call->ending) {
            served_end(service, call, DONE_ERROR, why, NULL);
            ended++;
        }
    }
    if (ended > 0) {
        log_event(LOG_INFO, "drain_over", "requests=%u", ended);
    }
}

// A draining server says goodbye, and why, to every connection that has nothing in flight.
static void service_tick_drain(Service *service) {
    if (!service->draining) {
        return;
    }
    Status why = service->admission.closed;
    if (service->now_ms >= service->drain_deadline_ms) {
        service_end_late(service, why);
    }
    served_settle_all(service);
    connections_end_idle(&service->connections, why);
}

void service_tick(Service *service, uint64_t now_ms) {
    service_at(service, now_ms);
    service_tick_calls(service);
    connections_tick(&service->connections, now_ms);
    service_tick_drain(service);
    service_settle(service);
    greeting_tick(service);
    usage_tick(service);
}

// ---- Ending and looking -------------------------------------------------------------------------

void service_drain(Service *service, uint64_t now_ms, uint64_t deadline_ms) {
    service_at(service, now_ms);
    if (!service->draining) {
        service->draining = true;
        admission_close(&service->admission, E_DRAIN);
        service->drain_deadline_ms = deadline_ms;
        log_event(LOG_INFO, "drain", "requests=%u connections=%u", service->admission.in_flight,
                  service->connections.count);
    }
    service->drain_deadline_ms = num_min(service->drain_deadline_ms, deadline_ms);
    service_tick(service, now_ms);
}

bool service_drained(const Service *service) {
    return service->served_count == 0 && service->connections.count == 0;
}

Health service_health(const Service *service) {
    return service->failed ? HEALTH_FAILED : service->draining ? HEALTH_DRAINING : HEALTH_OK;
}

void service_stats(const Service *service, uint64_t now_ms, ServerStats *out) {
    usage_stats(service, now_ms, out);
}
