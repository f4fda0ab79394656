// SPDX-License-Identifier: Apache-2.0
#include "scheduler/replay.h"

#include "base/check.h"
#include "base/num.h"
#include "scheduler/record.h"

#include <stdlib.h>
#include <string.h>

enum { REPLAY_ITEMS_MAX = 1 << 22 }; // of one list in one entry

typedef struct Replay {
    const uint8_t *data;
    size_t length, at;
    bool broken; // sticky: a number ran over the end or out of its range
    Scheduler *scheduler;
    SchedulerOptions options;
    const Batch *batches[SCHED_PLANS_MAX]; // of the open plans, oldest first
    uint32_t batch_count;
    int32_t *tokens, *stops;
    SequenceMedia *media;
    StepSample *samples;
    SchedulerEvent *events;
    size_t events_max;
    ReplayReport *report;
} Replay;

void replay_record_to_buffer(void *buffer, Bytes entry) {
    buffer_append(buffer, entry.data, entry.length);
}

static uint64_t get(Replay *r, uint64_t most) {
    uint64_t number = 0;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
        if (r->at >= r->length) {
            break;
        }
        uint8_t byte = r->data[r->at++];
        number |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            r->broken = r->broken || number > most;
            return r->broken ? 0 : number;
        }
    }
    r->broken = true;
    return 0;
}

static uint32_t get_u32(Replay *r) {
    return (uint32_t)get(r, UINT32_MAX);
}

static void get_raw(Replay *r, void *out, size_t length) {
    if (!num_in_range(r->at, length, r->length)) {
        r->broken = true;
        memset(out, 0, length);
        return;
    }
    memcpy(out, r->data + r->at, length);
    r->at += length;
}

// Stands for every set of tokens: what is in one changes no plan.
static const uint32_t any_set;

static Status replay_options(Replay *r, Error *error) {
    SchedulerOptions *o = &r->options;
    uint32_t *const first[] = {&o->rows_max,   &o->sequences_max, &o->waiting_max,
                               &o->tokens_max, &o->media_max,     &o->window,
                               &o->pages[0],   &o->pages[1],      &o->users_max};
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        *first[i] = (uint32_t)get(r, REPLAY_ITEMS_MAX);
    }
    o->stored_tokens_max = get(r, UINT64_MAX);
    o->watermark_permille = get_u32(r);
    o->age_ms = get_u32(r);
    o->no_prefix_cache = get(r, 1) == 1;
    o->prefix_per_user = get(r, 1) == 1; // the seed is a secret, and changes no plan
    if (r->broken) {
        return OK; // the caller's loop says so
    }
    TRY(sched_open(o, &r->scheduler, error));
    r->events_max = 2 * (size_t)o->sequences_max + o->waiting_max;
    r->tokens = calloc(REPLAY_ITEMS_MAX, sizeof *r->tokens);
    r->stops = calloc(SCHED_STOP_MAX + 1, sizeof *r->stops);
    r->media = calloc((size_t)o->media_max + 1, sizeof *r->media);
    r->samples = calloc(o->sequences_max, sizeof *r->samples);
    r->events = calloc(r->events_max, sizeof *r->events);
    if (r->tokens == NULL || r->stops == NULL || r->media == NULL || r->samples == NULL ||
        r->events == NULL) {
        return error_set(error, E_MEMORY, "no memory to replay a recording");
    }
    return OK;
}

static void replay_user(Replay *r) {
    uint32_t user = (uint32_t)get(r, r->options.users_max - 1);
    double weight;
    get_raw(r, &weight, sizeof weight);
    r->broken = r->broken || !(weight > 0);
    if (!r->broken) {
        sched_user_weight(r->scheduler, user, weight);
    }
}

static void replay_add(Replay *r) {
    SequenceRequest q = {.tokens = r->tokens, .media = r->media, .stop_ids = r->stops};
    q.token_count = (uint32_t)get(r, REPLAY_ITEMS_MAX);
    for (uint32_t i = 0; i < q.token_count && !r->broken; i++) {
        r->tokens[i] = (int32_t)get_u32(r);
    }
    // A recorded request may have more media than its scheduler takes; it was refused for that.
    q.media_count = get_u32(r);
    for (uint32_t i = 0; i < q.media_count && !r->broken; i++) {
        SequenceMedia *media = &r->media[num_min(i, r->options.media_max)];
        media->kind = (MediaKind)get(r, UINT32_MAX / 2);
        media->position_first = get_u32(r);
        media->row_count = get_u32(r);
        get_raw(r, &media->name, sizeof media->name);
    }
    q.new_tokens_max = get_u32(r);
    q.stop_count = get_u32(r);
    for (uint32_t i = 0; i < q.stop_count && !r->broken; i++) {
        r->stops[num_min(i, SCHED_STOP_MAX)] = (int32_t)get_u32(r);
    }
    get_raw(r, &q.sampling.temperature, sizeof q.sampling.temperature);
    q.sampling.seed = get(r, UINT64_MAX);
    q.sampling.logprobs = get_u32(r);
    q.allowed = get(r, 1) == 1 ? &any_set : NULL;
    q.tag = get(r, UINT64_MAX);
    q.user = get_u32(r);
    q.priority = (Priority)get(r, UINT32_MAX / 2);
    q.deadline_ms = get(r, UINT64_MAX);
    q.after = get(r, UINT64_MAX);
    if (!r->broken) {
        uint64_t handle;
        r->report->requests++;
        r->report->refusals += sched_add(r->scheduler, &q, &handle, NULL) != OK;
    }
}

static void replay_plan(Replay *r) {
    uint64_t recorded = get(r, UINT64_MAX);
    bool full = r->batch_count == SCHED_PLANS_MAX;
    if (r->broken || (full && r->report->first_difference == 0)) {
        r->broken = true;
        return;
    }
    r->report->plans++;
    if (full) {
        return; // a plan that was none in the recording is open
    }
    const Batch *batch = sched_plan(r->scheduler);
    if (batch != NULL) {
        r->batches[r->batch_count++] = batch;
    }
    uint64_t made = batch != NULL ? record_fingerprint(batch) : 0;
    if (made != recorded && r->report->first_difference == 0) {
        r->report->first_difference = r->report->plans;
    }
    sched_check_all(r->scheduler);
}

static void replay_commit(Replay *r) {
    // No commit has more events than there are sequences.
    size_t events_max = num_min(get(r, UINT64_MAX), r->events_max);
    uint64_t count = get(r, UINT32_MAX);
    StepResult result = {.samples = r->samples};
    const Batch *batch = r->batch_count > 0 ? r->batches[0] : NULL;
    uint32_t wanted = 0;
    for (uint32_t i = 0; batch != NULL && i < batch->sequence_count; i++) {
        if (batch->sequences[i].sample_rows > 0) {
            r->samples[wanted++] = (StepSample){.tag = batch->sequences[i].tag};
        }
    }
    for (uint64_t i = 0; i + 1 < count && !r->broken; i++) {
        int32_t token = (int32_t)get_u32(r);
        if (i < wanted) {
            r->samples[i].chosen.token = token;
        }
    }
    if (r->broken || (batch != NULL && events_max < batch->sequence_count)) {
        r->broken = true;
        return;
    }
    // After a plan unlike the recorded one fewer or more samples may be needed: zeros.
    result.sample_count = wanted;
    bool answered = batch != NULL && count > 0;
    r->report->events +=
        sched_commit(r->scheduler, answered ? &result : NULL, r->events, events_max);
    r->batch_count -= batch != NULL;
    memmove(r->batches, r->batches + 1, r->batch_count * sizeof *r->batches);
    sched_check_all(r->scheduler);
}

static void replay_tick(Replay *r) {
    uint64_t passed = get(r, UINT64_MAX);
    uint64_t now_ms;
    if (r->broken || !num_add(r->scheduler->now_ms, passed, &now_ms)) {
        r->broken = true;
        return;
    }
    sched_tick(r->scheduler, now_ms);
}

static Status replay_entry(Replay *r, Error *error) {
    uint8_t kind = r->data[r->at++];
    r->report->entries++;
    if ((kind == RECORD_OPTIONS) != (r->scheduler == NULL)) {
        r->broken = true; // the options come first, and once
        return OK;
    }
    switch (kind) {
    case RECORD_OPTIONS:
        return replay_options(r, error);
    case RECORD_TICK:
        replay_tick(r);
        return OK;
    case RECORD_USER:
        replay_user(r);
        return OK;
    case RECORD_ADD:
        replay_add(r);
        return OK;
    case RECORD_CANCEL: {
        uint64_t handle = get(r, UINT64_MAX);
        sched_cancel(r->scheduler, handle);
        return OK;
    }
    case RECORD_ALLOW: {
        uint64_t handle = get(r, UINT64_MAX);
        sched_allow(r->scheduler, handle, &any_set);
        return OK;
    }
    case RECORD_PLAN:
        replay_plan(r);
        return OK;
    case RECORD_COMMIT:
        replay_commit(r);
        return OK;
    default:
        r->broken = true;
        return OK;
    }
}

Status replay_run(Bytes recording, ReplayReport *report, Error *error) {
    Replay r = {.data = recording.data, .length = recording.length, .report = report};
    *report = (ReplayReport){0};
    size_t magic = strlen(RECORD_MAGIC);
    if (recording.length < magic || memcmp(recording.data, RECORD_MAGIC, magic) != 0) {
        return error_set(error, E_ARGUMENT, "this is no recording of a scheduler");
    }
    r.at = magic;
    Status status = OK;
    while (status == OK && !r.broken && r.at < r.length) {
        status = replay_entry(&r, error);
    }
    if (status == OK && r.broken) {
        status = error_set(error, E_ARGUMENT, "the recording is damaged at byte %zu, in entry %llu",
                           r.at, (unsigned long long)report->entries);
    }
    if (r.scheduler != NULL) {
        report->stats = sched_stats(r.scheduler);
        sched_close(r.scheduler);
    }
    free(r.tokens);
    free(r.stops);
    free(r.media);
    free(r.samples);
    free(r.events);
    return status;
}
