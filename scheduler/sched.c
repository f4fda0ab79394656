// SPDX-License-Identifier: Apache-2.0
// What comes in: open, users, add, cancel, time; and the one way a sequence ends. plan.c and
// commit.c have the step.
#include "scheduler/sched.h"

#include "base/check.h"
#include "base/num.h"
#include "scheduler/record.h"
#include "scheduler/state.h"

#include <stdlib.h>
#include <string.h>

enum { AGE_DEFAULT_MS = 10000, WATERMARK_DEFAULT = 10 };

uint32_t sched_pages_needed(const SchedulerOptions *options, int kind, uint32_t token_count) {
    uint64_t span = token_count;
    if (kind == PAGE_SLIDING) {
        // The window, one step's rows, and a page each for the misaligned start and end.
        span = num_min(span, (uint64_t)options->window + options->rows_max + 2 * KV_PAGE_TOKENS);
    }
    return (uint32_t)num_ceil_div(span, KV_PAGE_TOKENS);
}

// ---- Opening ------------------------------------------------------------------------------------

static void sched_defaults(SchedulerOptions *o, uint32_t slot_count) {
    if (o->users_max == 0) {
        o->users_max = 1;
    }
    if (o->stored_tokens_max == 0) {
        // One largest block per slot: each live block touches one such place, so one is always
        // whole.
        o->stored_tokens_max = slot_count * token_store_block(o->tokens_max);
    }
    if (o->watermark_permille == 0) {
        o->watermark_permille = WATERMARK_DEFAULT;
    }
    if (o->age_ms == 0) {
        o->age_ms = AGE_DEFAULT_MS;
    }
}

static bool take_plan(Scheduler *scheduler, Plan *plan) {
    const SchedulerOptions *o = &scheduler->options;
    Arena *a = &scheduler->arena;
    plan->tokens = arena_take_array(a, o->rows_max, sizeof *plan->tokens);
    plan->positions = arena_take_array(a, o->rows_max, sizeof *plan->positions);
    plan->sliding_end = arena_take_array(a, o->rows_max, sizeof *plan->sliding_end);
    plan->row_sequence = arena_take_array(a, o->rows_max, sizeof *plan->row_sequence);
    plan->sequences = arena_take_array(a, o->sequences_max, sizeof *plan->sequences);
    plan->slots = arena_take_array(a, o->sequences_max, sizeof *plan->slots);
    size_t media_most = (size_t)o->sequences_max * o->media_max;
    plan->images = arena_take_array(a, media_most, sizeof *plan->images);
    plan->audios = arena_take_array(a, media_most, sizeof *plan->audios);
    bool good = plan->tokens != NULL && plan->positions != NULL && plan->sliding_end != NULL &&
                plan->row_sequence != NULL && plan->sequences != NULL && plan->slots != NULL &&
                plan->images != NULL && plan->audios != NULL;
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        // Shared pages stand in several tables, so the bound is by sequence, not by pool.
        size_t per_sequence = sched_pages_needed(o, kind, o->tokens_max) + 1;
        plan->pages_out[kind] =
            arena_take_array(a, o->sequences_max * per_sequence, sizeof *plan->pages_out[kind]);
        plan->copy_from[kind] =
            arena_take_array(a, o->sequences_max, sizeof *plan->copy_from[kind]);
        plan->copy_to[kind] = arena_take_array(a, o->sequences_max, sizeof *plan->copy_to[kind]);
        good = good && plan->pages_out[kind] != NULL && plan->copy_from[kind] != NULL &&
               plan->copy_to[kind] != NULL;
    }
    return good;
}

static bool take_plans(Scheduler *scheduler) {
    const SchedulerOptions *o = &scheduler->options;
    bool good = true;
    for (int i = 0; i < SCHED_PLANS_MAX; i++) {
        good = good && take_plan(scheduler, &scheduler->plans[i]);
    }
    scheduler->keys = arena_take_array(&scheduler->arena, o->tokens_max / KV_PAGE_TOKENS + 2,
                                       sizeof *scheduler->keys);
    size_t pages_most = num_max(o->pages[PAGE_SLIDING], o->pages[PAGE_FULL]);
    scheduler->holders =
        arena_take_array(&scheduler->arena, pages_most + 1, sizeof *scheduler->holders);
    return good && scheduler->keys != NULL && scheduler->holders != NULL;
}

// Page tables belong to places, not to slots: only a running sequence holds pages. To keep a
// sequence one struct, every slot has tables; they are small next to the tokens.
static bool take_slots(Scheduler *scheduler) {
    const SchedulerOptions *o = &scheduler->options;
    Arena *a = &scheduler->arena;
    scheduler->slots = arena_take_array(a, scheduler->slot_count, sizeof *scheduler->slots);
    SlotList *lists[] = {&scheduler->free, &scheduler->running, &scheduler->ending,
                         &scheduler->prefilling};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        lists[i]->slots = arena_take_array(a, scheduler->slot_count, sizeof *lists[i]->slots);
        if (lists[i]->slots == NULL) {
            return false;
        }
    }
    scheduler->deadlines_ms =
        arena_take_array(a, scheduler->slot_count, sizeof *scheduler->deadlines_ms);
    scheduler->deadline_soonest_ms = NO_DEADLINE;
    if (scheduler->slots == NULL || scheduler->deadlines_ms == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < scheduler->slot_count; i++) {
        Sequence *sequence = &scheduler->slots[i];
        scheduler->deadlines_ms[i] = NO_DEADLINE;
        sequence->media = arena_take_array(a, o->media_max, sizeof *sequence->media);
        if (sequence->media == NULL) {
            return false;
        }
        for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
            PageTable *table = &sequence->tables[kind];
            table->capacity = sched_pages_needed(o, kind, o->tokens_max) + 1;
            table->pages = arena_take_array(a, table->capacity, sizeof *table->pages);
            if (table->pages == NULL) {
                return false;
            }
        }
        scheduler->free.slots[scheduler->free.count++] = scheduler->slot_count - 1 - i;
    }
    return true;
}

static Status sched_take_memory(Scheduler *scheduler, Error *error) {
    const SchedulerOptions *o = &scheduler->options;
    scheduler->pages.prefix_seed = o->prefix_seed;
    scheduler->pages.prefix_per_user = o->prefix_per_user;
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        TRY(kv_pool_open(o->pages[kind], &scheduler->pages.pools[kind], error));
        TRY(prefix_open(o->pages[kind], &scheduler->pages.prefixes[kind], error));
    }
    TRY(policy_open(o->users_max, o->sequences_max, o->age_ms, &scheduler->policy, error));
    TRY(token_store_open(o->stored_tokens_max, &scheduler->store, error));
    if (!take_slots(scheduler) || !take_plans(scheduler)) {
        return error_set(
            error, E_MEMORY,
            "no memory for %u sequences of %u tokens; lower the batch, the queue or the "
            "context",
            scheduler->slot_count, o->tokens_max);
    }
    return record_open(scheduler, error);
}

Status sched_open(const SchedulerOptions *options, Scheduler **out, Error *error) {
    *out = NULL;
    const SchedulerOptions *o = options;
    if (o->rows_max == 0 || o->sequences_max == 0 || o->tokens_max < 2 || o->window == 0 ||
        o->rows_max < o->sequences_max || o->sequences_max > KV_HOLDERS_MAX ||
        o->waiting_max > UINT32_MAX / 2 - o->sequences_max) {
        return error_set(error, E_ARGUMENT,
                         "scheduler: rows %u, sequences %u, tokens %u, window %u: each must be at "
                         "least 1 (tokens 2), rows at least sequences, sequences at most %d",
                         o->rows_max, o->sequences_max, o->tokens_max, o->window, KV_HOLDERS_MAX);
    }
    Scheduler *scheduler = calloc(1, sizeof *scheduler);
    if (scheduler == NULL) {
        return error_set(error, E_MEMORY, "no memory for the scheduler");
    }
    scheduler->options = *options;
    scheduler->slot_count = o->sequences_max + o->waiting_max;
    sched_defaults(&scheduler->options, scheduler->slot_count);
    Status status = sched_take_memory(scheduler, error);
    if (status != OK) {
        sched_close(scheduler);
        return status;
    }
    *out = scheduler;
    return OK;
}

void sched_close(Scheduler *scheduler) {
    if (scheduler == NULL) {
        return;
    }
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        kv_pool_close(&scheduler->pages.pools[kind]);
        prefix_close(&scheduler->pages.prefixes[kind]);
    }
    policy_close(&scheduler->policy);
    token_store_close(&scheduler->store);
    buffer_free(&scheduler->entry);
    arena_free(&scheduler->arena);
    free(scheduler);
}

void sched_tick(Scheduler *scheduler, uint64_t now_ms) {
    REQUIRE_MESSAGE(now_ms >= scheduler->now_ms, "time went back from %llu to %llu",
                    (unsigned long long)scheduler->now_ms, (unsigned long long)now_ms);
    record_tick(scheduler, now_ms);
    scheduler->now_ms = now_ms;
}

void sched_user_weight(Scheduler *scheduler, uint32_t user, double weight) {
    REQUIRE(user < scheduler->options.users_max && weight > 0);
    record_user(scheduler, user, weight);
    scheduler->policy.users[user].weight = weight;
}

// ---- Adding -------------------------------------------------------------------------------------

const char *const media_kind_words[MEDIA_KIND_COUNT] = {
    [MEDIA_PICTURE] = "picture", [MEDIA_SOUND] = "sound", [MEDIA_FILM_FRAME] = "film frame"};

static Status check_media(const SchedulerOptions *o, const SequenceRequest *request, Error *error) {
    if (request->media_count > o->media_max) {
        return error_set(error, E_CONTEXT,
                         "%u pictures, sounds and film frames in one request; at most %u are "
                         "allowed",
                         request->media_count, o->media_max);
    }
    uint64_t previous_end = 0;
    for (uint32_t i = 0; i < request->media_count; i++) {
        const SequenceMedia *media = &request->media[i];
        uint64_t end = (uint64_t)media->position_first + media->row_count;
        if (media->kind >= MEDIA_KIND_COUNT || media->row_count == 0 ||
            media->position_first < previous_end || end > request->token_count) {
            return error_set(error, E_ARGUMENT,
                             "medium %u covers positions %u to %llu, which overlap another one or "
                             "leave the prompt, or its kind is unknown",
                             i + 1, media->position_first, (unsigned long long)end);
        }
        // Decode rows of the other sequences come first in every step; what is never cut must fit
        // beside them.
        uint32_t room = o->rows_max - (o->sequences_max - 1);
        if (media_is_whole(media->kind) && media->row_count > room) {
            return error_set(error, E_CONTEXT,
                             "medium %u, a %s, takes %u rows and is never cut; a step has room for "
                             "%u",
                             i + 1, media_kind_words[media->kind], media->row_count, room);
        }
        previous_end = end;
    }
    return OK;
}

static Status check_request(const SchedulerOptions *o, const SequenceRequest *request,
                            Error *error) {
    if (request->token_count == 0 || request->new_tokens_max == 0 ||
        request->stop_count > SCHED_STOP_MAX || request->sampling.logprobs > BATCH_LOGPROBS_MAX ||
        request->user >= o->users_max || request->priority >= PRIORITY_COUNT) {
        return error_set(
            error, E_ARGUMENT,
            "a request needs a prompt, at least one new token, at most %d stop ids, at "
            "most %d logprobs, a known user and class",
            SCHED_STOP_MAX, BATCH_LOGPROBS_MAX);
    }
    uint64_t total = (uint64_t)request->token_count + request->new_tokens_max;
    if (total > o->tokens_max) {
        return error_set(
            error, E_CONTEXT,
            "%u prompt tokens and %u new ones do not fit the context of %u; shorten the "
            "prompt, ask for fewer tokens or raise the context",
            request->token_count, request->new_tokens_max, o->tokens_max);
    }
    TRY(check_media(o, request, error));
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        uint32_t need = sched_pages_needed(o, kind, (uint32_t)total);
        if (need > o->pages[kind]) {
            return error_set(error, E_CONTEXT, "%llu tokens need %u %s KV pages; there are %u",
                             (unsigned long long)total, need,
                             kind == PAGE_SLIDING ? "sliding" : "full", o->pages[kind]);
        }
    }
    return OK;
}

static bool handle_is_live(const Scheduler *scheduler, uint64_t handle) {
    uint32_t slot = (uint32_t)handle;
    return slot < scheduler->slot_count && scheduler->slots[slot].state != SEQUENCE_FREE &&
           scheduler->slots[slot].generation == (uint32_t)(handle >> 32);
}

// A medium without a name must not be shared: nothing from it on has a key.
static uint32_t shareable_end(const SchedulerOptions *o, const SequenceRequest *request) {
    for (uint32_t i = 0; i < request->media_count && !o->no_prefix_cache; i++) {
        if (request->media[i].name.high == 0 && request->media[i].name.low == 0) {
            return request->media[i].position_first;
        }
    }
    return o->no_prefix_cache ? 0 : UINT32_MAX;
}

// The arrays of a request, into the sequence's own.
static void copy_request(Sequence *sequence, const SequenceRequest *request) {
    memcpy(sequence->tokens, request->tokens, request->token_count * sizeof *sequence->tokens);
    if (request->media_count > 0) {
        memcpy(sequence->media, request->media, request->media_count * sizeof *sequence->media);
    }
    if (request->stop_count > 0) {
        memcpy(sequence->stop_ids, request->stop_ids,
               request->stop_count * sizeof *sequence->stop_ids);
    }
}

Status sched_add(Scheduler *scheduler, const SequenceRequest *request, uint64_t *handle,
                 Error *error) {
    record_add(scheduler, request);
    TRY(check_request(&scheduler->options, request, error));
    if (scheduler->free.count == 0) {
        return error_set(error, E_BUSY, "%u sequences are running or waiting",
                         scheduler->slot_count);
    }
    int32_t *tokens =
        token_store_take(&scheduler->store, request->token_count + request->new_tokens_max);
    if (tokens == NULL) {
        return error_set(error, E_BUSY, "no room to keep %u more tokens",
                         request->token_count + request->new_tokens_max);
    }
    uint32_t slot = scheduler->free.slots[--scheduler->free.count];
    Sequence *sequence = &scheduler->slots[slot];
    SequenceMedia *media = sequence->media;
    PageTable tables[PAGE_KIND_COUNT];
    memcpy(tables, sequence->tables, sizeof tables);
    *sequence = (Sequence){
        .generation = sequence->generation + 1,
        .tag = request->tag,
        .order = scheduler->next_order++,
        .added_ms = scheduler->now_ms,
        .after = request->after,
        .followers = {NO_SLOT, NO_SLOT},
        .user = request->user,
        .priority = request->priority,
        .prompt_count = request->token_count,
        .new_tokens_max = request->new_tokens_max,
        .media_count = request->media_count,
        .stop_count = request->stop_count,
        .shareable_end = shareable_end(&scheduler->options, request),
        .media = media,
        .sampling = request->sampling,
        .constrained = request->allowed != NULL,
        .allowed = request->allowed,
        .tokens = tokens,
        .token_count = request->token_count,
    };
    memcpy(sequence->tables, tables, sizeof tables);
    copy_request(sequence, request);
    if (request->after != 0 && handle_is_live(scheduler, request->after)) {
        const Sequence *leader = &scheduler->slots[(uint32_t)request->after];
        sequence->held = leader->cached_count < leader->prompt_count;
    }
    scheduler->deadlines_ms[slot] = request->deadline_ms > 0 ? request->deadline_ms : NO_DEADLINE;
    scheduler->deadline_soonest_ms =
        num_min(scheduler->deadline_soonest_ms, scheduler->deadlines_ms[slot]);
    policy_accept(&scheduler->policy, sequence->user, sequence->priority);
    sched_wait_begin(scheduler, slot, false);
    *handle = sched_handle(scheduler, slot);
    return OK;
}

void sched_wait_begin(Scheduler *scheduler, uint32_t slot, bool before) {
    Sequence *sequence = &scheduler->slots[slot];
    sequence->state = SEQUENCE_WAITING;
    sequence->waits_from = scheduler->stats.steps;
    scheduler->waiting_count++;
    scheduler->queued_tokens += sequence->token_count;
    if (before) {
        policy_queue_front(&scheduler->policy, scheduler->slots, slot);
    } else {
        policy_queue_back(&scheduler->policy, scheduler->slots, slot);
    }
}

void sched_wait_end(Scheduler *scheduler, uint32_t slot) {
    policy_queue_remove(&scheduler->policy, scheduler->slots, slot);
    scheduler->waiting_count--;
    scheduler->queued_tokens -= scheduler->slots[slot].token_count;
}

// ---- Ending -------------------------------------------------------------------------------------

void sched_end(Scheduler *scheduler, uint32_t slot, FinishReason reason) {
    Sequence *sequence = &scheduler->slots[slot];
    if (!sequence->ending_listed) {
        sequence->ending = reason;
        sequence->ending_listed = true;
        scheduler->ending.slots[scheduler->ending.count++] = slot;
    }
}

void sched_cancel(Scheduler *scheduler, uint64_t handle) {
    record_cancel(scheduler, handle);
    if (handle_is_live(scheduler, handle)) {
        sched_end(scheduler, (uint32_t)handle, FINISH_CANCEL);
    }
}

void sched_allow(Scheduler *scheduler, uint64_t handle, const uint32_t *allowed) {
    record_allow(scheduler, handle);
    if (handle_is_live(scheduler, handle)) {
        Sequence *sequence = &scheduler->slots[(uint32_t)handle];
        // The set of a token that is being drawn cannot be told any more.
        if (sequence->constrained && sequence->drawing == 0) {
            sequence->allowed = allowed;
        }
    }
}

void sched_expire(Scheduler *scheduler) {
    if (scheduler->now_ms < scheduler->deadline_soonest_ms) {
        return;
    }
    uint64_t soonest = NO_DEADLINE;
    for (uint32_t slot = 0; slot < scheduler->slot_count; slot++) {
        if (scheduler->deadlines_ms[slot] <= scheduler->now_ms) {
            scheduler->deadlines_ms[slot] = NO_DEADLINE;
            sched_end(scheduler, slot, FINISH_DEADLINE);
        }
        soonest = num_min(soonest, scheduler->deadlines_ms[slot]);
    }
    scheduler->deadline_soonest_ms = soonest;
}

void sched_list_remove(SlotList *list, uint32_t slot) {
    uint32_t at = 0;
    while (at < list->count && list->slots[at] != slot) {
        at++;
    }
    REQUIRE(at < list->count);
    list->count--;
    memmove(list->slots + at, list->slots + at + 1, (list->count - at) * sizeof *list->slots);
}

bool sched_ranks_before(const Sequence *a, const Sequence *b) {
    return a->priority != b->priority ? a->priority < b->priority : a->order < b->order;
}

void sched_list_insert_by_rank(Scheduler *scheduler, uint32_t slot) {
    SlotList *list = &scheduler->running;
    uint32_t at = list->count;
    while (at > 0 &&
           sched_ranks_before(&scheduler->slots[slot], &scheduler->slots[list->slots[at - 1]])) {
        at--;
    }
    memmove(list->slots + at + 1, list->slots + at, (list->count - at) * sizeof *list->slots);
    list->slots[at] = slot;
    list->count++;
}

void sched_release_held(Scheduler *scheduler, uint32_t leader) {
    while (scheduler->slots[leader].followers.tail !=
           NO_SLOT) { // the last first: each goes to the front
        uint32_t slot = scheduler->slots[leader].followers.tail;
        sched_wait_end(scheduler, slot);
        scheduler->slots[slot].held = false;
        sched_wait_begin(scheduler, slot, true);
    }
}

void sched_release(Scheduler *scheduler, uint32_t slot) {
    Sequence *sequence = &scheduler->slots[slot];
    if (sequence->state == SEQUENCE_RUNNING) {
        sched_list_remove(&scheduler->running, slot);
        policy_run_end(&scheduler->policy, sequence);
    } else {
        sched_wait_end(scheduler, slot);
    }
    scheduler->deadlines_ms[slot] = NO_DEADLINE;
    scheduler->reserved_count -= sequence->reserved;
    policy_end(&scheduler->policy, sequence->user, sequence->priority);
    sequence_drop_pages(sequence, &scheduler->pages);
    token_store_give(&scheduler->store, sequence->tokens,
                     sequence->prompt_count + sequence->new_tokens_max);
    sched_release_held(scheduler, slot);
    sequence->state = SEQUENCE_FREE;
    sequence->ending_listed = false;
    sequence->reserved = false;
    memset(sequence->planned_rows, 0, sizeof sequence->planned_rows); // rows under way are dead
    sequence->drawing = 0;
    scheduler->free.slots[scheduler->free.count++] = slot;
}

// ---- Looking ------------------------------------------------------------------------------------

SchedulerStats sched_stats(const Scheduler *scheduler) {
    SchedulerStats stats = scheduler->stats;
    stats.running = scheduler->running.count;
    stats.waiting = scheduler->waiting_count;
    stats.queued_tokens = scheduler->queued_tokens;
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        const KvPool *pool = &scheduler->pages.pools[kind];
        stats.pages_total[kind] = pool->total;
        stats.pages_cached[kind] = pool->cached_count;
        stats.pages_used[kind] = pool->total - kv_pool_available(pool);
    }
    return stats;
}

double sched_user_service(const Scheduler *scheduler, uint32_t user) {
    REQUIRE(user < scheduler->options.users_max);
    const double *counters = scheduler->policy.users[user].counters;
    return counters[PRIORITY_INTERACTIVE] + counters[PRIORITY_BATCH];
}
