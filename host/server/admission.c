// SPDX-License-Identifier: Apache-2.0
#include "host/server/admission.h"

#include "base/check.h"

enum { RETRY_MS_DEFAULT = 1000, RETRY_MS_MAX = 60000 };

void admission_open(Admission *admission, uint32_t places, uint64_t queued_tokens_max) {
    *admission = (Admission){.places = places, .queued_tokens_max = queued_tokens_max};
}

void admission_close(Admission *admission, Status why) {
    if (admission->closed != E_DEVICE) {
        admission->closed = why;
    }
}

Status admission_closed(const Admission *admission, Error *error) {
    if (admission->closed == E_DEVICE) {
        return error_set(error, E_DEVICE, "the accelerator failed; the server is ending");
    }
    if (admission->closed != OK) {
        return error_set(error, admission->closed, "the server is shutting down");
    }
    return OK;
}

void admission_set_user(Admission *admission, uint32_t user, const ServerUser *settings,
                        uint64_t now_ms) {
    admission->users[user].settings = settings;
    allowance_fill(&admission->users[user].allowance, settings->limits.tokens_per_minute, now_ms);
}

uint32_t admission_retry_ms(const Admission *admission) {
    if (admission->rows_per_ms <= 0) {
        return RETRY_MS_DEFAULT;
    }
    double wait = (double)(admission->queued_tokens + 1) / admission->rows_per_ms;
    return wait < 1 ? 1 : wait > RETRY_MS_MAX ? RETRY_MS_MAX : (uint32_t)wait;
}

static uint64_t admission_queue_tokens(const Demand *demand) {
    return demand->prompt_tokens; // samples share the prompt
}

static Status admission_room(const Admission *admission, const Demand *demand, Error *error) {
    if (demand->samples > admission->places - admission->in_flight) {
        return error_set(error, E_BUSY, "%u requests are here, the most there may be is %u",
                         admission->in_flight, admission->places);
    }
    // An empty queue takes anything that fits the context.
    if (admission->queued_tokens > 0 &&
        admission->queued_tokens + admission_queue_tokens(demand) > admission->queued_tokens_max) {
        return error_set(error, E_BUSY, "%llu prompt tokens are waiting, the most that may is %llu",
                         (unsigned long long)admission->queued_tokens,
                         (unsigned long long)admission->queued_tokens_max);
    }
    return OK;
}

static Status admission_limits(const Admission *admission, const Demand *demand, Error *error) {
    const AdmissionUser *user = &admission->users[demand->user];
    const ServerUser *settings = user->settings;
    const UserLimits *limits = &settings->limits;
    if (limits->in_flight_max > 0 && user->in_flight + demand->samples > limits->in_flight_max) {
        return error_set(error, E_USER_BUSY, "%u requests of %s are in flight, the limit is %u",
                         user->in_flight, settings->name, limits->in_flight_max);
    }
    if (limits->queued_tokens_max > 0 && user->queued_tokens > 0 &&
        user->queued_tokens + admission_queue_tokens(demand) > limits->queued_tokens_max) {
        return error_set(error, E_USER_BUSY,
                         "%llu prompt tokens of %s are waiting, the limit is %llu",
                         (unsigned long long)user->queued_tokens, settings->name,
                         (unsigned long long)limits->queued_tokens_max);
    }
    if (!admission->alone && user->in_flight > admission->places - admission->in_flight) {
        return error_set(error, E_USER_BUSY,
                         "%u requests of %s are here; the places left are kept for others",
                         user->in_flight, settings->name);
    }
    return OK;
}

Status admission_look(const Admission *admission, const Demand *demand, uint32_t *retry_ms,
                      Error *error) {
    const ServerUser *settings = admission->users[demand->user].settings;
    *retry_ms = 0;
    if (!settings->class_allowed[demand->priority]) {
        return error_set(error, E_ARGUMENT, "class: %s may not use %s", settings->name,
                         demand->priority == PRIORITY_BATCH ? "batch" : "interactive");
    }
    Status status = admission_limits(admission, demand, error);
    if (status == OK) {
        status = admission_room(admission, demand, error);
    }
    *retry_ms = status != OK ? admission_retry_ms(admission) : 0;
    return status;
}

Status admission_ask(Admission *admission, const Demand *demand, uint64_t now_ms,
                     uint32_t *retry_ms, Error *error) {
    TRY(admission_look(admission, demand, retry_ms, error));
    AdmissionUser *user = &admission->users[demand->user];
    const ServerUser *settings = user->settings;
    uint64_t total =
        (uint64_t)demand->samples * ((uint64_t)demand->prompt_tokens + demand->new_tokens);
    if (!allowance_take(&user->allowance, settings->limits.tokens_per_minute, total, now_ms,
                        retry_ms)) {
        return error_set(error, E_RATE, "the %u tokens per minute of %s are used up",
                         settings->limits.tokens_per_minute, settings->name);
    }
    admission->in_flight += demand->samples;
    user->in_flight += demand->samples;
    user->queued += demand->samples;
    user->queued_tokens += admission_queue_tokens(demand);
    admission->queued_tokens += admission_queue_tokens(demand);
    return OK;
}

void admission_begun(Admission *admission, const Demand *demand) {
    AdmissionUser *user = &admission->users[demand->user];
    REQUIRE(user->queued >= demand->samples && user->queued_tokens >= demand->prompt_tokens);
    user->queued -= demand->samples;
    user->queued_tokens -= admission_queue_tokens(demand);
    admission->queued_tokens -= admission_queue_tokens(demand);
}

void admission_ended(Admission *admission, const Demand *demand, bool queued) {
    if (queued) {
        admission_begun(admission, demand);
    }
    REQUIRE(admission->users[demand->user].in_flight >= demand->samples);
    admission->users[demand->user].in_flight -= demand->samples;
    admission->in_flight -= demand->samples;
}

void admission_check(const Admission *admission) {
    uint64_t in_flight = 0, queued_tokens = 0;
    for (uint32_t i = 0; i < USERS_MAX; i++) {
        const AdmissionUser *user = &admission->users[i];
        REQUIRE(user->queued <= user->in_flight);
        in_flight += user->in_flight;
        queued_tokens += user->queued_tokens;
    }
    REQUIRE(in_flight == admission->in_flight && in_flight <= admission->places);
    REQUIRE(queued_tokens == admission->queued_tokens);
}
