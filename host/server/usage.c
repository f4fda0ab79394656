// SPDX-License-Identifier: Apache-2.0
// How much the server has done and holds: what a step reports, rates, gauges, and the answer to a
// `stats` call.
#include "host/server/service_state.h"

#include <stdlib.h>

enum { RATE_WINDOW_MS = 4000 };

void usage_step(Service *service, const StepReport *report) {
    Metrics *m = service->metrics;
    const SchedulerStats *now = &report->scheduler;
    const SchedulerStats *before = &service->report.scheduler;
    metrics_set(m, METRIC_STEPS, 0, report->steps);
    metrics_observe(m, METRIC_STEP_ROWS, 0, report->last_rows);
    metrics_set(m, METRIC_PROMPT_TOKENS, 0, now->prefill_rows);
    metrics_set(m, METRIC_PREEMPTIONS, 0, now->preemptions);
    metrics_set(m, METRIC_RECOMPUTED_TOKENS, 0, now->recomputed_tokens);
    metrics_set(m, METRIC_PREFIX_ASKED_TOKENS, 0, now->prefix_asked_tokens);
    metrics_set(m, METRIC_PREFIX_HIT_TOKENS, 0, now->prefix_hit_tokens);
    metrics_set(m, METRIC_REQUESTS_WAITING, 0, now->waiting);
    metrics_set(m, METRIC_REQUESTS_RUNNING, 0, now->running);
    for (uint32_t kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        metrics_set(m, METRIC_PAGES, kind, now->pages_total[kind]);
        metrics_set(m, METRIC_PAGES_USED, kind, now->pages_used[kind]);
        metrics_set(m, METRIC_PAGES_CACHED, kind, now->pages_cached[kind]);
    }
    if (now->decode_rows > before->decode_rows) {
        metrics_observe(m, METRIC_STAGE, STAGE_DECODE, report->last_ns);
    }
    service->report = *report;
}

static void usage_tick_rates(Service *service) {
    if (service->now_ms - service->mark_next.ms < RATE_WINDOW_MS / 2) {
        return;
    }
    service->mark = service->mark_next;
    service->mark_next =
        (RateMark){service->now_ms, service->stats.output_tokens,
                   service->report.scheduler.prefill_rows, service->stats.pictures_finished};
    uint64_t rows = service->mark_next.prompt_tokens - service->mark.prompt_tokens;
    uint64_t ms = service->mark_next.ms - service->mark.ms;
    if (rows > 0 && ms > 0) {
        service->admission.rows_per_ms = (double)rows / (double)ms;
    }
}

void usage_tick(Service *service) {
    Metrics *m = service->metrics;
    usage_tick_rates(service);
    metrics_set(m, METRIC_CONNECTIONS, 0, service->connections.count);
    metrics_set(m, METRIC_HELD_BYTES, 0, service->incoming.held + service->outgoing.held);
    metrics_set(m, METRIC_HELD_BYTES_MAX, 0, service->options.held_bytes_max);
    metrics_set(m, METRIC_REQUESTS_PREPARING, 0, service->stats.preparing);
    metrics_set(m, METRIC_QUEUED_TOKENS, 0, service->admission.queued_tokens);
    metrics_set(m, METRIC_UPTIME, 0, (service->now_ms - service->opened_ms) * 1000000u);
    metrics_set(m, METRIC_DRAINING, 0, service->draining);
    for (uint32_t i = 0; i < users_count(service->users); i++) {
        metrics_set(m, METRIC_USER_IN_FLIGHT, i, service->admission.users[i].in_flight);
    }
}

void usage_stats(const Service *service, uint64_t now_ms, ServerStats *out) {
    const SchedulerStats *scheduler = &service->report.scheduler;
    const RateMark *mark = &service->mark;
    double seconds = (double)(now_ms - mark->ms) * 1e-3;
    seconds = seconds > 0 ? seconds : 1;
    *out = service->stats;
    out->uptime_ms = now_ms - service->opened_ms;
    out->connections = service->connections.count;
    out->waiting = scheduler->waiting;
    out->running = scheduler->running;
    out->running_max = service->options.running_max;
    out->queued_tokens = service->admission.queued_tokens;
    out->pages_sliding_used = scheduler->pages_used[PAGE_SLIDING];
    out->pages_sliding_cached = scheduler->pages_cached[PAGE_SLIDING];
    out->pages_sliding_total = scheduler->pages_total[PAGE_SLIDING];
    out->pages_full_used = scheduler->pages_used[PAGE_FULL];
    out->pages_full_cached = scheduler->pages_cached[PAGE_FULL];
    out->pages_full_total = scheduler->pages_total[PAGE_FULL];
    out->prompt_tokens = scheduler->prefill_rows;
    out->prefix_asked_tokens = scheduler->prefix_asked_tokens;
    out->prefix_hit_tokens = scheduler->prefix_hit_tokens;
    out->preemptions = scheduler->preemptions;
    out->steps = service->report.steps;
    out->blobs = service->blobs.count;
    out->blob_bytes = service->blobs.bytes;
    out->held_bytes = service->incoming.held + service->outgoing.held;
    out->held_bytes_max = service->options.held_bytes_max;
    out->tokens_per_second = (double)(out->output_tokens - mark->output_tokens) / seconds;
    out->prompt_tokens_per_second = (double)(out->prompt_tokens - mark->prompt_tokens) / seconds;
    out->pictures_per_second = (double)(out->pictures_finished - mark->pictures) / seconds;
    out->retry_ms = admission_retry_ms(&service->admission);
}

static UserRow usage_user_row(const Service *service, uint32_t user) {
    const UserTotals *totals = &service->totals[user];
    return (UserRow){
        .name = bytes_of_text(users_at(service->users, user)->name),
        .in_flight = service->admission.users[user].in_flight,
        .requests = totals->requests,
        .refused = totals->refused,
        .prompt_tokens = totals->prompt_tokens,
        .output_tokens = totals->output_tokens,
        .service = (double)(totals->prompt_tokens + totals->output_tokens) / totals->weight,
    };
}

// Everybody sees the totals and their own row; a user who may also sees those of others.
void usage_put_stats(Service *service, uint32_t asker) {
    ServerStats stats;
    usage_stats(service, service->now_ms, &stats);
    bool all = users_at(service->users, asker)->sees_all;
    uint32_t first = all ? 0 : asker, count = all ? users_count(service->users) : 1;
    UserRow *rows = calloc(count, sizeof *rows);
    if (rows == NULL) {
        service->scratch.failed = true;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        rows[i] = usage_user_row(service, first + i);
    }
    result_put_stats(&service->scratch, &stats, rows, count);
    free(rows);
}
