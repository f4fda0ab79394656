// SPDX-License-Identifier: Apache-2.0
#include "scheduler/record.h"

#include <string.h>

static void put(Scheduler *scheduler, uint64_t number) {
    do {
        buffer_append_byte(&scheduler->entry, (uint8_t)((number & 127) | (number > 127 ? 128 : 0)));
        number >>= 7;
    } while (number > 0);
}

static void put_raw(Scheduler *scheduler, const void *data, size_t length) {
    buffer_append(&scheduler->entry, data, length);
}

// False when nobody listens.
static bool begin(Scheduler *scheduler, RecordKind kind) {
    if (scheduler->options.record == NULL) {
        return false;
    }
    buffer_clear(&scheduler->entry);
    buffer_append_byte(&scheduler->entry, (uint8_t)kind);
    return true;
}

static void end(Scheduler *scheduler) {
    if (!scheduler->entry.failed) {
        scheduler->options.record(scheduler->options.record_context,
                                  (Bytes){scheduler->entry.data, scheduler->entry.length});
    }
}

Status record_open(Scheduler *scheduler, Error *error) {
    const SchedulerOptions *o = &scheduler->options;
    if (o->record == NULL) {
        return OK;
    }
    // The largest entry is a request: room for it now, so that no later one allocates.
    static const uint8_t zeros[256];
    size_t most = 1024 + 5 * (size_t)o->tokens_max + 48 * (size_t)o->media_max +
                  16 * (size_t)o->sequences_max;
    for (size_t i = 0; i <= most / sizeof zeros; i++) {
        put_raw(scheduler, zeros, sizeof zeros);
    }
    if (scheduler->entry.failed) {
        return error_set(error, E_MEMORY, "no memory to record the scheduler");
    }
    buffer_clear(&scheduler->entry);
    put_raw(scheduler, RECORD_MAGIC, strlen(RECORD_MAGIC));
    buffer_append_byte(&scheduler->entry, RECORD_OPTIONS);
    const uint64_t numbers[] = {
        o->rows_max,          o->sequences_max,      o->waiting_max,
        o->tokens_max,        o->media_max,          o->window,
        o->pages[0],          o->pages[1],           o->users_max,
        o->stored_tokens_max, o->watermark_permille, o->age_ms,
        o->no_prefix_cache,   o->prefix_per_user,
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        put(scheduler, numbers[i]);
    }
    end(scheduler);
    return OK;
}

void record_tick(Scheduler *scheduler, uint64_t now_ms) {
    if (begin(scheduler, RECORD_TICK)) {
        put(scheduler, now_ms - scheduler->now_ms);
        end(scheduler);
    }
}

void record_user(Scheduler *scheduler, uint32_t user, double weight) {
    if (begin(scheduler, RECORD_USER)) {
        put(scheduler, user);
        put_raw(scheduler, &weight, sizeof weight);
        end(scheduler);
    }
}

void record_add(Scheduler *scheduler, const SequenceRequest *request) {
    if (!begin(scheduler, RECORD_ADD)) {
        return;
    }
    put(scheduler, request->token_count);
    for (uint32_t i = 0; i < request->token_count; i++) {
        put(scheduler, (uint32_t)request->tokens[i]);
    }
    put(scheduler, request->media_count);
    for (uint32_t i = 0; i < request->media_count; i++) {
        put(scheduler, request->media[i].kind);
        put(scheduler, request->media[i].position_first);
        put(scheduler, request->media[i].row_count);
        put_raw(scheduler, &request->media[i].name, sizeof request->media[i].name);
    }
    put(scheduler, request->new_tokens_max);
    put(scheduler, request->stop_count);
    for (uint32_t i = 0; i < request->stop_count; i++) {
        put(scheduler, (uint32_t)request->stop_ids[i]);
    }
    put_raw(scheduler, &request->sampling.temperature, sizeof request->sampling.temperature);
    put(scheduler, request->sampling.seed);
    put(scheduler, request->sampling.logprobs);
    put(scheduler, request->allowed != NULL);
    put(scheduler, request->tag);
    put(scheduler, request->user);
    put(scheduler, request->priority);
    put(scheduler, request->deadline_ms);
    put(scheduler, request->after);
    end(scheduler);
}

void record_cancel(Scheduler *scheduler, uint64_t handle) {
    if (begin(scheduler, RECORD_CANCEL)) {
        put(scheduler, handle);
        end(scheduler);
    }
}

void record_allow(Scheduler *scheduler, uint64_t handle) {
    if (begin(scheduler, RECORD_ALLOW)) {
        put(scheduler, handle);
        end(scheduler);
    }
}

static uint64_t hash_array(uint64_t hash, const void *data, size_t length) {
    return hash64((Bytes){data, length}, hash);
}

uint64_t record_fingerprint(const Batch *batch) {
    uint64_t hash = batch->row_count;
    hash = hash_array(hash, batch->tokens, batch->row_count * sizeof *batch->tokens);
    hash = hash_array(hash, batch->positions, batch->row_count * sizeof *batch->positions);
    hash = hash_array(hash, batch->sliding_end, batch->row_count * sizeof *batch->sliding_end);
    hash = hash_array(hash, batch->row_sequence, batch->row_count * sizeof *batch->row_sequence);
    for (uint32_t i = 0; i < batch->sequence_count; i++) {
        const BatchSequence *row = &batch->sequences[i];
        const uint64_t words[] = {
            row->position_first,  row->sample_rows, row->draw,
            row->history_count,   row->tag,         row->page_skip[PAGE_SLIDING],
            row->allowed != NULL,
        };
        hash = hash_array(hash, words, sizeof words);
    }
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        hash = hash_array(hash, batch->pages[kind],
                          batch->page_table_count[kind] * sizeof *batch->pages[kind]);
        size_t copies = batch->copy_count[kind] * sizeof *batch->copy_to[kind];
        hash = hash_array(hash, batch->copy_from[kind], copies);
        hash = hash_array(hash, batch->copy_to[kind], copies);
    }
    return hash;
}

void record_plan(Scheduler *scheduler, const Batch *batch) {
    if (begin(scheduler, RECORD_PLAN)) {
        put(scheduler, batch != NULL ? record_fingerprint(batch) : 0);
        end(scheduler);
    }
}

void record_commit(Scheduler *scheduler, const StepResult *result, size_t events_max) {
    if (begin(scheduler, RECORD_COMMIT)) {
        put(scheduler, events_max);
        put(scheduler, result != NULL ? 1 + (uint64_t)result->sample_count : 0);
        for (uint32_t i = 0; result != NULL && i < result->sample_count; i++) {
            put(scheduler, (uint32_t)result->samples[i].chosen.token);
        }
        end(scheduler);
    }
}
