// SPDX-License-Identifier: Apache-2.0
#include "scheduler/record.h"

#include <string.h>

static void put(Scheduler *s, uint64_t number) {
    do {
        buffer_append_byte(&s->entry, (uint8_t)((number & 127) | (number > 127 ? 128 : 0)));
        number >>= 7;
    } while (number > 0);
}

static void put_raw(Scheduler *s, const void *data, size_t length) {
    buffer_append(&s->entry, data, length);
}

// False when nobody listens.
static bool begin(Scheduler *s, RecordKind kind) {
    if (s->options.record == NULL) {
        return false;
    }
    buffer_clear(&s->entry);
    buffer_append_byte(&s->entry, (uint8_t)kind);
    return true;
}

static void end(Scheduler *s) {
    if (!s->entry.failed) {
        s->options.record(s->options.record_context, (Bytes){s->entry.data, s->entry.length});
    }
}

Status record_open(Scheduler *s, Error *error) {
    const SchedulerOptions *o = &s->options;
    if (o->record == NULL) {
        return OK;
    }
    // The largest entry is a request: room for it now, so that no later one allocates.
    static const uint8_t zeros[256];
    size_t most = 1024 + 5 * (size_t)o->tokens_max + 48 * (size_t)o->media_max +
                  16 * (size_t)o->sequences_max;
    for (size_t i = 0; i <= most / sizeof zeros; i++) {
        put_raw(s, zeros, sizeof zeros);
    }
    if (s->entry.failed) {
        return error_set(error, E_MEMORY, "no memory to record the scheduler");
    }
    buffer_clear(&s->entry);
    put_raw(s, RECORD_MAGIC, strlen(RECORD_MAGIC));
    buffer_append_byte(&s->entry, RECORD_OPTIONS);
    const uint64_t numbers[] = {
        o->rows_max,          o->sequences_max,      o->waiting_max,
        o->tokens_max,        o->media_max,          o->window,
        o->pages[0],          o->pages[1],           o->users_max,
        o->stored_tokens_max, o->watermark_permille, o->age_ms,
        o->no_prefix_cache,   o->prefix_per_user,
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        put(s, numbers[i]);
    }
    end(s);
    return OK;
}

void record_tick(Scheduler *s, uint64_t now_ms) {
    if (begin(s, RECORD_TICK)) {
        put(s, now_ms - s->now_ms);
        end(s);
    }
}

void record_user(Scheduler *s, uint32_t user, double weight) {
    if (begin(s, RECORD_USER)) {
        put(s, user);
        put_raw(s, &weight, sizeof weight);
        end(s);
    }
}

void record_add(Scheduler *s, const SequenceRequest *r) {
    if (!begin(s, RECORD_ADD)) {
        return;
    }
    put(s, r->token_count);
    for (uint32_t i = 0; i < r->token_count; i++) {
        put(s, (uint32_t)r->tokens[i]);
    }
    put(s, r->media_count);
    for (uint32_t i = 0; i < r->media_count; i++) {
        put(s, r->media[i].kind);
        put(s, r->media[i].position_first);
        put(s, r->media[i].row_count);
        put_raw(s, &r->media[i].name, sizeof r->media[i].name);
    }
    put(s, r->new_tokens_max);
    put(s, r->stop_count);
    for (uint32_t i = 0; i < r->stop_count; i++) {
        put(s, (uint32_t)r->stop_ids[i]);
    }
    put_raw(s, &r->sampling.temperature, sizeof r->sampling.temperature);
    put(s, r->sampling.seed);
    put(s, r->sampling.logprobs);
    put(s, r->allowed != NULL);
    put(s, r->tag);
    put(s, r->user);
    put(s, r->priority);
    put(s, r->deadline_ms);
    put(s, r->after);
    end(s);
}

void record_cancel(Scheduler *s, uint64_t handle) {
    if (begin(s, RECORD_CANCEL)) {
        put(s, handle);
        end(s);
    }
}

void record_allow(Scheduler *s, uint64_t handle) {
    if (begin(s, RECORD_ALLOW)) {
        put(s, handle);
        end(s);
    }
}

static uint64_t hash_array(uint64_t hash, const void *data, size_t length) {
    return hash64((Bytes){data, length}, hash);
}

uint64_t record_fingerprint(const Batch *b) {
    uint64_t hash = b->row_count;
    hash = hash_array(hash, b->tokens, b->row_count * sizeof *b->tokens);
    hash = hash_array(hash, b->positions, b->row_count * sizeof *b->positions);
    hash = hash_array(hash, b->sliding_end, b->row_count * sizeof *b->sliding_end);
    hash = hash_array(hash, b->row_sequence, b->row_count * sizeof *b->row_sequence);
    for (uint32_t i = 0; i < b->sequence_count; i++) {
        const BatchSequence *q = &b->sequences[i];
        const uint64_t words[] = {
            q->position_first,          q->sample_rows,     q->draw, q->history_count, q->tag,
            q->page_skip[PAGE_SLIDING], q->allowed != NULL,
        };
        hash = hash_array(hash, words, sizeof words);
    }
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        hash = hash_array(hash, b->pages[kind], b->page_table_count[kind] * sizeof *b->pages[kind]);
        size_t copies = b->copy_count[kind] * sizeof *b->copy_to[kind];
        hash = hash_array(hash, b->copy_from[kind], copies);
        hash = hash_array(hash, b->copy_to[kind], copies);
    }
    return hash;
}

void record_plan(Scheduler *s, const Batch *batch) {
    if (begin(s, RECORD_PLAN)) {
        put(s, batch != NULL ? record_fingerprint(batch) : 0);
        end(s);
    }
}

void record_commit(Scheduler *s, const StepResult *result, size_t events_max) {
    if (begin(s, RECORD_COMMIT)) {
        put(s, events_max);
        put(s, result != NULL ? 1 + (uint64_t)result->sample_count : 0);
        for (uint32_t i = 0; result != NULL && i < result->sample_count; i++) {
            put(s, (uint32_t)result->samples[i].chosen.token);
        }
        end(s);
    }
}
