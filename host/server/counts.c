// SPDX-License-Identifier: Apache-2.0
// What is counted of a call and its samples: one function for each thing that happens, which puts
// it into the metrics, the totals of its user and the stats.
#include "host/server/service_state.h"

static void counts_time(Service *service, MetricId id, uint32_t label, uint64_t ms) {
    metrics_observe(service->metrics, id, label, ms * UINT64_C(1000000));
}

void counts_looked(Service *service, uint64_t bytes) {
    metrics_add(service->metrics, METRIC_LOOKED_BYTES, 0, bytes);
}

void counts_accepted(Service *service, const ServedCall *call) {
    uint32_t user = call->demand.user;
    service->stats.requests_accepted++;
    service->totals[user].requests++;
    metrics_add(service->metrics, METRIC_REQUESTS_ACCEPTED, call->demand.priority, 1);
    metrics_add(service->metrics, METRIC_USER_REQUESTS, user, 1);
    counts_time(service, METRIC_STAGE, STAGE_RECEIVE,
                call->call->received_ms - call->call->began_ms);
}

void counts_refused(Service *service, const Call *call, uint32_t user, Status status) {
    service->stats.requests_refused++;
    service->totals[user].refused++;
    metrics_add(service->metrics, METRIC_REQUESTS_REFUSED, metrics_status(status), 1);
    metrics_add(service->metrics, METRIC_USER_REFUSED, user, 1);
    counts_time(service, METRIC_REFUSAL, 0, service->now_ms - call->received_ms);
}

void counts_prepared(Service *service, const ServedCall *call) {
    counts_time(service, METRIC_STAGE, STAGE_PREP, call->prepared_ms - call->prepare_ms);
    metrics_add(service->metrics, METRIC_IMAGES, 0, call->request.source_count);
}

void counts_begun(Service *service, const ServedCall *call) {
    counts_time(service, METRIC_FIRST_TOKEN, call->demand.priority,
                call->first_ms - call->received_ms);
    counts_time(service, METRIC_STAGE, STAGE_QUEUE, call->begun_ms - call->prepared_ms);
    counts_time(service, METRIC_STAGE, STAGE_PREFILL,
                served_span_ms(call->begun_ms, call->first_ms));
}

void counts_prompt(Service *service, const Sample *sample) {
    uint32_t user = sample->call->demand.user;
    uint32_t computed = sample->call->request.prompt.token_count - sample->cached_tokens;
    service->totals[user].prompt_tokens += computed;
    metrics_add(service->metrics, METRIC_USER_PROMPT_TOKENS, user, computed);
}

void counts_token(Service *service, const Sample *sample) {
    uint32_t user = sample->call->demand.user;
    service->stats.output_tokens++;
    service->totals[user].output_tokens++;
    metrics_add(service->metrics, METRIC_OUTPUT_TOKENS, 0, 1);
    metrics_add(service->metrics, METRIC_USER_OUTPUT_TOKENS, user, 1);
}

void counts_answered(Service *service, const Sample *sample) {
    uint32_t tokens = sample->answer.token_count;
    if (tokens > 1) {
        metrics_observe(service->metrics, METRIC_TOKEN, sample->call->demand.priority,
                        (service->now_ms - sample->first_ms) * 1000000u / (tokens - 1));
    }
}

DoneReason counts_done(Service *service, const ServedCall *call, const DoneEvent *done) {
    static const FinishReason finishes[DONE_REASON_COUNT] = {
        FINISH_STOP, FINISH_LENGTH, FINISH_CANCEL, FINISH_DEADLINE, FINISH_FAILED};
    ServerStats *stats = &service->stats;
    DoneReason worst = done->reasons[0];
    for (uint32_t n = 0; n < call->demand.samples; n++) {
        worst = done->reasons[n] > worst ? done->reasons[n] : worst;
        metrics_add(service->metrics, METRIC_REQUESTS_FINISHED, finishes[done->reasons[n]], 1);
    }
    stats->requests_finished += worst <= DONE_LENGTH;
    stats->pictures_finished += worst <= DONE_LENGTH ? call->request.source_count : 0;
    stats->requests_failed += worst == DONE_ERROR;
    stats->requests_cancelled += worst == DONE_CANCEL || worst == DONE_DEADLINE;
    counts_time(service, METRIC_REQUEST, call->demand.priority,
                service->now_ms - call->received_ms);
    return worst;
}
