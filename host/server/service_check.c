// SPDX-License-Identifier: Apache-2.0
// Every invariant of a service between two inputs: tables, lists and counts agree.
#include "host/server/service_state.h"

#include "base/check.h"

#include <inttypes.h>

// A call's samples agree with it: their number.
static uint32_t check_samples(const ServedCall *call) {
    uint32_t count = 0, stepping = 0;
    for (const Sample *sample = call->samples; sample != NULL; sample = sample->next) {
        REQUIRE(sample->call == call && sample->index == count);
        stepping += sample->stepping;
        count++;
    }
    REQUIRE(count == (call->work.kind == WORK_TOKENIZE ? 0 : call->demand.samples));
    REQUIRE(stepping == call->stepping_count);
    REQUIRE((call->state == SERVED_STEPPING) == (stepping > 0));
    return count;
}

// Calls, samples, admission and the prep threads agree: the bytes that the calls hold.
static uint64_t check_calls(const Service *service) {
    uint32_t used = 0, places = 0, samples = 0, working = 0, waiting = 0;
    uint64_t held = 0;
    for (uint32_t i = 0; i < service->served_used; i++) {
        const ServedCall *call = &service->served[i];
        REQUIRE(call->number == i && call->state != SERVED_SETTLED); // never between two inputs
        if (call->state == SERVED_FREE) {
            continue;
        }
        REQUIRE(call->call != NULL);
        used++;
        working += call->state == SERVED_PREPARING;
        waiting += call->state == SERVED_WAITING;
        places += call->demand.samples;
        samples += check_samples(call);
        held += call_bytes(call->call);
    }
    for (const Sample *sample = service->samples_free; sample != NULL; sample = sample->next) {
        samples++;
    }
    REQUIRE(used == service->served_count && samples == service->samples_used);
    REQUIRE(service->admission.in_flight == places);
    REQUIRE(working == service->work_count && waiting == service->turns.waiting);
    REQUIRE(waiting == 0 || working == service->options.work_max);
    return held;
}

void service_check(const Service *service) {
    uint64_t held =
        service->blobs.held_bytes + check_calls(service) + connections_bytes(&service->connections);
    uint32_t open = service->strangers;
    for (uint32_t i = 0; i < USERS_MAX; i++) {
        open += service->totals[i].connections;
    }
    REQUIRE(open == service->connections.count);
    admission_check(&service->admission);
    budget_check(&service->incoming);
    budget_check(&service->outgoing);
    REQUIRE_MESSAGE(held == service->incoming.held + service->outgoing.held,
                    "%" PRIu64 " bytes are held, %" PRIu64 " and %" PRIu64 " are paid for", held,
                    service->incoming.held, service->outgoing.held);
}
