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

static uint64_t get(Replay *replay, uint64_t most) {
    uint64_t number = 0;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
        if (replay->at >= replay->length) {
            break;
        }
        uint8_t byte = replay->data[replay->at++];
        number |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            replay->broken = replay->broken || number > most;
            return replay->broken ? 0 : number;
        }
    }
    replay->broken = true;
    return 0;
}

static uint32_t get_u32(Replay *replay) {
    return (uint32_t)get(replay, UINT32_MAX);
}

static void get_raw(Replay *replay, void *out, size_t length) {
    if (!num_in_range(replay->at, length, replay->length)) {
        replay->broken = true;
        memset(out, 0, length);
        return;
    }
    memcpy(out, replay->data + replay->at, length);
    replay->at += length;
}

// Stands for every set of tokens: what is in one changes no plan.
static const uint32_t any_set;

static Status replay_options(Replay *replay, Error *error) {
    SchedulerOptions *options = &replay->options;
    uint32_t *const first[] = {&options->rows_max,   &options->sequences_max, &options->waiting_max,
                               &options->tokens_max, &options->media_max,     &options->window,
                               &options->pages[0],   &options->pages[1],      &options->users_max};
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        *first[i] = (uint32_t)get(replay, REPLAY_ITEMS_MAX);
    }
    options->stored_tokens_max = get(replay, UINT64_MAX);
    options->watermark_permille = get_u32(replay);
    options->age_ms = get_u32(replay);
    options->no_prefix_cache = get(replay, 1) == 1;
    options->prefix_per_user = get(replay, 1) == 1; // the seed is a secret, and changes no plan
    if (replay->broken) {
        return OK; // the caller's loop says so
    }
    TRY(sched_open(options, &replay->scheduler, error));
    replay->events_max = 2 * (size_t)options->sequences_max + options->waiting_max;
    replay->tokens = calloc(REPLAY_ITEMS_MAX, sizeof *replay->tokens);
    replay->stops = calloc(SCHED_STOP_MAX + 1, sizeof *replay->stops);
    replay->media = calloc((size_t)options->media_max + 1, sizeof *replay->media);
    replay->samples = calloc(options->sequences_max, sizeof *replay->samples);
    replay->events = calloc(replay->events_max, sizeof *replay->events);
    if (replay->tokens == NULL || replay->stops == NULL || replay->media == NULL ||
        replay->samples == NULL || replay->events == NULL) {
        return error_set(error, E_MEMORY, "no memory to replay a recording");
    }
    return OK;
}

static void replay_user(Replay *replay) {
    uint32_t user = (uint32_t)get(replay, replay->options.users_max - 1);
    double weight;
    get_raw(replay, &weight, sizeof weight);
    replay->broken = replay->broken || !(weight > 0);
    if (!replay->broken) {
        sched_user_weight(replay->scheduler, user, weight);
    }
}

static void replay_add(Replay *replay) {
    SequenceRequest request = {
        .tokens = replay->tokens, .media = replay->media, .stop_ids = replay->stops};
    request.token_count = (uint32_t)get(replay, REPLAY_ITEMS_MAX);
    for (uint32_t i = 0; i < request.token_count && !replay->broken; i++) {
        replay->tokens[i] = (int32_t)get_u32(replay);
    }
    // A recorded request may have more media than its scheduler takes; it was refused for that.
    request.media_count = get_u32(replay);
    for (uint32_t i = 0; i < request.media_count && !replay->broken; i++) {
        SequenceMedia *media = &replay->media[num_min(i, replay->options.media_max)];
        media->kind = (MediaKind)get(replay, UINT32_MAX / 2);
        media->position_first = get_u32(replay);
        media->row_count = get_u32(replay);
        get_raw(replay, &media->name, sizeof media->name);
    }
    request.new_tokens_max = get_u32(replay);
    request.stop_count = get_u32(replay);
    for (uint32_t i = 0; i < request.stop_count && !replay->broken; i++) {
        replay->stops[num_min(i, SCHED_STOP_MAX)] = (int32_t)get_u32(replay);
    }
    get_raw(replay, &request.sampling.temperature, sizeof request.sampling.temperature);
    request.sampling.seed = get(replay, UINT64_MAX);
    request.sampling.logprobs = get_u32(replay);
    request.allowed = get(replay, 1) == 1 ? &any_set : NULL;
    request.tag = get(replay, UINT64_MAX);
    request.user = get_u32(replay);
    request.priority = (Priority)get(replay, UINT32_MAX / 2);
    request.deadline_ms = get(replay, UINT64_MAX);
    request.after = get(replay, UINT64_MAX);
    if (!replay->broken) {
        uint64_t handle;
        replay->report->requests++;
        replay->report->refusals += sched_add(replay->scheduler, &request, &handle, NULL) != OK;
    }
}

static void replay_plan(Replay *replay) {
    uint64_t recorded = get(replay, UINT64_MAX);
    bool full = replay->batch_count == SCHED_PLANS_MAX;
    if (replay->broken || (full && replay->report->first_difference == 0)) {
        replay->broken = true;
        return;
    }
    replay->report->plans++;
    if (full) {
        return; // a plan that was none in the recording is open
    }
    const Batch *batch = sched_plan(replay->scheduler);
    if (batch != NULL) {
        replay->batches[replay->batch_count++] = batch;
    }
    uint64_t made = batch != NULL ? record_fingerprint(batch) : 0;
    if (made != recorded && replay->report->first_difference == 0) {
        replay->report->first_difference = replay->report->plans;
    }
    sched_check_all(replay->scheduler);
}

static void replay_commit(Replay *replay) {
    // No commit has more events than there are sequences.
    size_t events_max = num_min(get(replay, UINT64_MAX), replay->events_max);
    uint64_t count = get(replay, UINT32_MAX);
    StepResult result = {.samples = replay->samples};
    const Batch *batch = replay->batch_count > 0 ? replay->batches[0] : NULL;
    uint32_t wanted = 0;
    for (uint32_t i = 0; batch != NULL && i < batch->sequence_count; i++) {
        if (batch->sequences[i].sample_rows > 0) {
            replay->samples[wanted++] = (StepSample){.tag = batch->sequences[i].tag};
        }
    }
    for (uint64_t i = 0; i + 1 < count && !replay->broken; i++) {
        int32_t token = (int32_t)get_u32(replay);
        if (i < wanted) {
            replay->samples[i].chosen.token = token;
        }
    }
    if (replay->broken || (batch != NULL && events_max < batch->sequence_count)) {
        replay->broken = true;
        return;
    }
    // After a plan unlike the recorded one fewer or more samples may be needed: zeros.
    result.sample_count = wanted;
    bool answered = batch != NULL && count > 0;
    replay->report->events +=
        sched_commit(replay->scheduler, answered ? &result : NULL, replay->events, events_max);
    replay->batch_count -= batch != NULL;
    memmove(replay->batches, replay->batches + 1, replay->batch_count * sizeof *replay->batches);
    sched_check_all(replay->scheduler);
}

static void replay_tick(Replay *replay) {
    uint64_t passed = get(replay, UINT64_MAX);
    uint64_t now_ms;
    if (replay->broken || !num_add(replay->scheduler->now_ms, passed, &now_ms)) {
        replay->broken = true;
        return;
    }
    sched_tick(replay->scheduler, now_ms);
}

static Status replay_entry(Replay *replay, Error *error) {
    uint8_t kind = replay->data[replay->at++];
    replay->report->entries++;
    if ((kind == RECORD_OPTIONS) != (replay->scheduler == NULL)) {
        replay->broken = true; // the options come first, and once
        return OK;
    }
    switch (kind) {
    case RECORD_OPTIONS:
        return replay_options(replay, error);
    case RECORD_TICK:
        replay_tick(replay);
        return OK;
    case RECORD_USER:
        replay_user(replay);
        return OK;
    case RECORD_ADD:
        replay_add(replay);
        return OK;
    case RECORD_CANCEL: {
        uint64_t handle = get(replay, UINT64_MAX);
        sched_cancel(replay->scheduler, handle);
        return OK;
    }
    case RECORD_ALLOW: {
        uint64_t handle = get(replay, UINT64_MAX);
        sched_allow(replay->scheduler, handle, &any_set);
        return OK;
    }
    case RECORD_PLAN:
        replay_plan(replay);
        return OK;
    case RECORD_COMMIT:
        replay_commit(replay);
        return OK;
    default:
        replay->broken = true;
        return OK;
    }
}

Status replay_run(Bytes recording, ReplayReport *report, Error *error) {
    Replay replay = {.data = recording.data, .length = recording.length, .report = report};
    *report = (ReplayReport){0};
    size_t magic = strlen(RECORD_MAGIC);
    if (recording.length < magic || memcmp(recording.data, RECORD_MAGIC, magic) != 0) {
        return error_set(error, E_ARGUMENT, "this is no recording of a scheduler");
    }
    replay.at = magic;
    Status status = OK;
    while (status == OK && !replay.broken && replay.at < replay.length) {
        status = replay_entry(&replay, error);
    }
    if (status == OK && replay.broken) {
        status = error_set(error, E_ARGUMENT, "the recording is damaged at byte %zu, in entry %llu",
                           replay.at, (unsigned long long)report->entries);
    }
    if (replay.scheduler != NULL) {
        report->stats = sched_stats(replay.scheduler);
        sched_close(replay.scheduler);
    }
    free(replay.tokens);
    free(replay.stops);
    free(replay.media);
    free(replay.samples);
    free(replay.events);
    return status;
}
