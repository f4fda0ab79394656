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

static bool take_plan(Scheduler *s, Plan *plan) {
    const SchedulerOptions *o = &s->options;
    Arena *a = &s->arena;
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

static bool take_plans(Scheduler *s) {
    const SchedulerOptions *o = &s->options;
    bool good = true;
    for (int i = 0; i < SCHED_PLANS_MAX; i++) {
        good = good && take_plan(s, &s->plans[i]);
    }
    s->keys = arena_take_array(&s->arena, o->tokens_max / KV_PAGE_TOKENS + 2, sizeof *s->keys);
    size_t pages_most = num_max(o->pages[PAGE_SLIDING], o->pages[PAGE_FULL]);
    s->holders = arena_take_array(&s->arena, pages_most + 1, sizeof *s->holders);
    return good && s->keys != NULL && s->holders != NULL;
}

// Page tables belong to places, not to slots: only a running sequence holds pages. To keep a
// sequence one struct, every slot has tables; they are small next to the tokens.
static bool take_slots(Scheduler *s) {
    const SchedulerOptions *o = &s->options;
    Arena *a = &s->arena;
    s->slots = arena_take_array(a, s->slot_count, sizeof *s->slots);
    SlotList *lists[] = {&s->free, &s->running, &s->ending, &s->prefilling};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        lists[i]->slots = arena_take_array(a, s->slot_count, sizeof *lists[i]->slots);
        if (lists[i]->slots == NULL) {
            return false;
        }
    }
    s->deadlines_ms = arena_take_array(a, s->slot_count, sizeof *s->deadlines_ms);
    s->deadline_soonest_ms = NO_DEADLINE;
    if (s->slots == NULL || s->deadlines_ms == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < s->slot_count; i++) {
        Sequence *q = &s->slots[i];
        s->deadlines_ms[i] = NO_DEADLINE;
        q->media = arena_take_array(a, o->media_max, sizeof *q->media);
        if (q->media == NULL) {
            return false;
        }
        for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
            PageTable *table = &q->tables[kind];
            table->capacity = sched_pages_needed(o, kind, o->tokens_max) + 1;
            table->pages = arena_take_array(a, table->capacity, sizeof *table->pages);
            if (table->pages == NULL) {
                return false;
            }
        }
        s->free.slots[s->free.count++] = s->slot_count - 1 - i;
    }
    return true;
}

static Status sched_take_memory(Scheduler *s, Error *error) {
    const SchedulerOptions *o = &s->options;
    s->pages.prefix_seed = o->prefix_seed;
    s->pages.prefix_per_user = o->prefix_per_user;
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        TRY(kv_pool_open(o->pages[kind], &s->pages.pools[kind], error));
        TRY(prefix_open(o->pages[kind], &s->pages.prefixes[kind], error));
    }
    TRY(policy_open(o->users_max, o->sequences_max, o->age_ms, &s->policy, error));
    TRY(token_store_open(o->stored_tokens_max, &s->store, error));
    if (!take_slots(s) || !take_plans(s)) {
        return error_set(
            error, E_MEMORY,
            "no memory for %u sequences of %u tokens; lower the batch, the queue or the "
            "context",
            s->slot_count, o->tokens_max);
    }
    return record_open(s, error);
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
    Scheduler *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return error_set(error, E_MEMORY, "no memory for the scheduler");
    }
    s->options = *options;
    s->slot_count = o->sequences_max + o->waiting_max;
    sched_defaults(&s->options, s->slot_count);
    Status status = sched_take_memory(s, error);
    if (status != OK) {
        sched_close(s);
        return status;
    }
    *out = s;
    return OK;
}

void sched_close(Scheduler *s) {
    if (s == NULL) {
        return;
    }
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        kv_pool_close(&s->pages.pools[kind]);
        prefix_close(&s->pages.prefixes[kind]);
    }
    policy_close(&s->policy);
    token_store_close(&s->store);
    buffer_free(&s->entry);
    arena_free(&s->arena);
    free(s);
}

void sched_tick(Scheduler *s, uint64_t now_ms) {
    REQUIRE_MESSAGE(now_ms >= s->now_ms, "time went back from %llu to %llu",
                    (unsigned long long)s->now_ms, (unsigned long long)now_ms);
    record_tick(s, now_ms);
    s->now_ms = now_ms;
}

void sched_user_weight(Scheduler *s, uint32_t user, double weight) {
    REQUIRE(user < s->options.users_max && weight > 0);
    record_user(s, user, weight);
    s->policy.users[user].weight = weight;
}

// ---- Adding -------------------------------------------------------------------------------------

static Status check_media(const SchedulerOptions *o, const SequenceRequest *r, Error *error) {
    static const char *const names[MEDIA_KIND_COUNT] = {
        [MEDIA_PICTURE] = "picture", [MEDIA_SOUND] = "sound", [MEDIA_FILM_FRAME] = "film frame"};
    if (r->media_count > o->media_max) {
        return error_set(error, E_CONTEXT,
                         "%u pictures, sounds and film frames in one request; at most %u are "
                         "allowed",
                         r->media_count, o->media_max);
    }
    uint64_t previous_end = 0;
    for (uint32_t i = 0; i < r->media_count; i++) {
        const SequenceMedia *media = &r->media[i];
        uint64_t end = (uint64_t)media->position_first + media->row_count;
        if (media->kind >= MEDIA_KIND_COUNT || media->row_count == 0 ||
            media->position_first < previous_end || end > r->token_count) {
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
                             i + 1, names[media->kind], media->row_count, room);
        }
        previous_end = end;
    }
    return OK;
}

static Status check_request(const SchedulerOptions *o, const SequenceRequest *r, Error *error) {
    if (r->token_count == 0 || r->new_tokens_max == 0 || r->stop_count > SCHED_STOP_MAX ||
        r->sampling.logprobs > BATCH_LOGPROBS_MAX || r->user >= o->users_max ||
        r->priority >= PRIORITY_COUNT) {
        return error_set(
            error, E_ARGUMENT,
            "a request needs a prompt, at least one new token, at most %d stop ids, at "
            "most %d logprobs, a known user and class",
            SCHED_STOP_MAX, BATCH_LOGPROBS_MAX);
    }
    uint64_t total = (uint64_t)r->token_count + r->new_tokens_max;
    if (total > o->tokens_max) {
        return error_set(
            error, E_CONTEXT,
            "%u prompt tokens and %u new ones do not fit the context of %u; shorten the "
            "prompt, ask for fewer tokens or raise the context",
            r->token_count, r->new_tokens_max, o->tokens_max);
    }
    TRY(check_media(o, r, error));
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

static bool handle_is_live(const Scheduler *s, uint64_t handle) {
    uint32_t slot = (uint32_t)handle;
    return slot < s->slot_count && s->slots[slot].state != SEQUENCE_FREE &&
           s->slots[slot].generation == (uint32_t)(handle >> 32);
}

// A medium without a name must not be shared: nothing from it on has a key.
static uint32_t shareable_end(const SchedulerOptions *o, const SequenceRequest *r) {
    for (uint32_t i = 0; i < r->media_count && !o->no_prefix_cache; i++) {
        if (r->media[i].name.high == 0 && r->media[i].name.low == 0) {
            return r->media[i].position_first;
        }
    }
    return o->no_prefix_cache ? 0 : UINT32_MAX;
}

Status sched_add(Scheduler *s, const SequenceRequest *r, uint64_t *handle, Error *error) {
    record_add(s, r);
    TRY(check_request(&s->options, r, error));
    if (s->free.count == 0) {
        return error_set(error, E_BUSY, "%u sequences are running or waiting", s->slot_count);
    }
    int32_t *tokens = token_store_take(&s->store, r->token_count + r->new_tokens_max);
    if (tokens == NULL) {
        return error_set(error, E_BUSY, "no room to keep %u more tokens",
                         r->token_count + r->new_tokens_max);
    }
    uint32_t slot = s->free.slots[--s->free.count];
    Sequence *q = &s->slots[slot];
    SequenceMedia *media = q->media;
    PageTable tables[PAGE_KIND_COUNT];
    memcpy(tables, q->tables, sizeof tables);
    *q = (Sequence){
        .generation = q->generation + 1,
        .tag = r->tag,
        .order = s->next_order++,
        .added_ms = s->now_ms,
        .after = r->after,
        .followers = {NO_SLOT, NO_SLOT},
        .user = r->user,
        .priority = r->priority,
        .prompt_count = r->token_count,
        .new_tokens_max = r->new_tokens_max,
        .media_count = r->media_count,
        .stop_count = r->stop_count,
        .shareable_end = shareable_end(&s->options, r),
        .media = media,
        .sampling = r->sampling,
        .constrained = r->allowed != NULL,
        .allowed = r->allowed,
        .tokens = tokens,
        .token_count = r->token_count,
    };
    memcpy(q->tables, tables, sizeof tables);
    memcpy(q->tokens, r->tokens, r->token_count * sizeof *q->tokens);
    if (r->media_count > 0) {
        memcpy(q->media, r->media, r->media_count * sizeof *q->media);
    }
    if (r->stop_count > 0) {
        memcpy(q->stop_ids, r->stop_ids, r->stop_count * sizeof *q->stop_ids);
    }
    if (r->after != 0 && handle_is_live(s, r->after)) {
        const Sequence *leader = &s->slots[(uint32_t)r->after];
        q->held = leader->cached_count < leader->prompt_count;
    }
    s->deadlines_ms[slot] = r->deadline_ms > 0 ? r->deadline_ms : NO_DEADLINE;
    s->deadline_soonest_ms = num_min(s->deadline_soonest_ms, s->deadlines_ms[slot]);
    policy_accept(&s->policy, q->user, q->priority);
    sched_wait_begin(s, slot, false);
    *handle = sched_handle(s, slot);
    return OK;
}

void sched_wait_begin(Scheduler *s, uint32_t slot, bool before) {
    Sequence *q = &s->slots[slot];
    q->state = SEQUENCE_WAITING;
    q->waits_from = s->stats.steps;
    s->waiting_count++;
    s->queued_tokens += q->token_count;
    if (before) {
        policy_queue_front(&s->policy, s->slots, slot);
    } else {
        policy_queue_back(&s->policy, s->slots, slot);
    }
}

void sched_wait_end(Scheduler *s, uint32_t slot) {
    policy_queue_remove(&s->policy, s->slots, slot);
    s->waiting_count--;
    s->queued_tokens -= s->slots[slot].token_count;
}

// ---- Ending -------------------------------------------------------------------------------------

void sched_end(Scheduler *s, uint32_t slot, FinishReason reason) {
    Sequence *q = &s->slots[slot];
    if (!q->ending_listed) {
        q->ending = reason;
        q->ending_listed = true;
        s->ending.slots[s->ending.count++] = slot;
    }
}

void sched_cancel(Scheduler *s, uint64_t handle) {
    record_cancel(s, handle);
    if (handle_is_live(s, handle)) {
        sched_end(s, (uint32_t)handle, FINISH_CANCEL);
    }
}

void sched_allow(Scheduler *s, uint64_t handle, const uint32_t *allowed) {
    record_allow(s, handle);
    if (handle_is_live(s, handle)) {
        Sequence *q = &s->slots[(uint32_t)handle];
        // The set of a token that is being drawn cannot be told any more.
        if (q->constrained && q->drawing == 0) {
            q->allowed = allowed;
        }
    }
}

void sched_expire(Scheduler *s) {
    if (s->now_ms < s->deadline_soonest_ms) {
        return;
    }
    uint64_t soonest = NO_DEADLINE;
    for (uint32_t slot = 0; slot < s->slot_count; slot++) {
        if (s->deadlines_ms[slot] <= s->now_ms) {
            s->deadlines_ms[slot] = NO_DEADLINE;
            sched_end(s, slot, FINISH_DEADLINE);
        }
        soonest = num_min(soonest, s->deadlines_ms[slot]);
    }
    s->deadline_soonest_ms = soonest;
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

void sched_list_insert_by_rank(Scheduler *s, uint32_t slot) {
    SlotList *list = &s->running;
    uint32_t at = list->count;
    while (at > 0 && sched_ranks_before(&s->slots[slot], &s->slots[list->slots[at - 1]])) {
        at--;
    }
    memmove(list->slots + at + 1, list->slots + at, (list->count - at) * sizeof *list->slots);
    list->slots[at] = slot;
    list->count++;
}

void sched_release_held(Scheduler *s, uint32_t leader) {
    while (s->slots[leader].followers.tail != NO_SLOT) { // the last first: each goes to the front
        uint32_t slot = s->slots[leader].followers.tail;
        sched_wait_end(s, slot);
        s->slots[slot].held = false;
        sched_wait_begin(s, slot, true);
    }
}

void sched_release(Scheduler *s, uint32_t slot) {
    Sequence *q = &s->slots[slot];
    if (q->state == SEQUENCE_RUNNING) {
        sched_list_remove(&s->running, slot);
        policy_run_end(&s->policy, q);
    } else {
        sched_wait_end(s, slot);
    }
    s->deadlines_ms[slot] = NO_DEADLINE;
    s->reserved_count -= q->reserved;
    policy_end(&s->policy, q->user, q->priority);
    sequence_drop_pages(q, &s->pages);
    token_store_give(&s->store, q->tokens, q->prompt_count + q->new_tokens_max);
    sched_release_held(s, slot);
    q->state = SEQUENCE_FREE;
    q->ending_listed = false;
    q->reserved = false;
    memset(q->planned_rows, 0, sizeof q->planned_rows); // rows under way are dead
    q->drawing = 0;
    s->free.slots[s->free.count++] = slot;
}

// ---- Looking ------------------------------------------------------------------------------------

SchedulerStats sched_stats(const Scheduler *s) {
    SchedulerStats stats = s->stats;
    stats.running = s->running.count;
    stats.waiting = s->waiting_count;
    stats.queued_tokens = s->queued_tokens;
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        const KvPool *pool = &s->pages.pools[kind];
        stats.pages_total[kind] = pool->total;
        stats.pages_cached[kind] = pool->cached_count;
        stats.pages_used[kind] = pool->total - kv_pool_available(pool);
    }
    return stats;
}

double sched_user_service(const Scheduler *s, uint32_t user) {
    REQUIRE(user < s->options.users_max);
    const double *counters = s->policy.users[user].counters;
    return counters[PRIORITY_INTERACTIVE] + counters[PRIORITY_BATCH];
}
