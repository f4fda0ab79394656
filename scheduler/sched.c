// SPDX-License-Identifier: Apache-2.0
// Plan and commit (see sched.h). The running list is kept oldest first, the waiting list is a queue
// in arrival order into whose front a preempted sequence returns. Both are arrays of slot numbers
// with room for every slot, so nothing is allocated after sched_open.
#include "scheduler/sched.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/num.h"
#include "scheduler/sequence.h"

#include <stdlib.h>
#include <string.h>

typedef struct SlotList {
    uint32_t *slots; // [slot_count]
    uint32_t count;
} SlotList;

struct Scheduler {
    // Set by sched_open.
    SchedulerOptions options;
    uint32_t slot_count;
    Arena arena;
    Sequence *slots;
    // The step's arrays, filled by plan.
    Batch batch;
    int32_t *tokens;
    uint32_t *positions, *sliding_end, *row_sequence;
    BatchSequence *sequences;
    BatchImage *images;
    uint32_t *pages[PAGE_KIND_COUNT];
    uint32_t *planned; // [sequences_max] slot of each batch sequence
    bool plan_open;
    // Changed by add, plan and commit.
    KvPool pools[PAGE_KIND_COUNT];
    SlotList free, waiting, running;
    uint64_t next_order;
    SchedulerStats stats;
};

static void list_insert(SlotList *list, uint32_t at, uint32_t slot) {
    memmove(list->slots + at + 1, list->slots + at, (list->count - at) * sizeof *list->slots);
    list->slots[at] = slot;
    list->count++;
}

static uint32_t list_remove(SlotList *list, uint32_t at) {
    REQUIRE(at < list->count);
    uint32_t slot = list->slots[at];
    list->count--;
    memmove(list->slots + at, list->slots + at + 1, (list->count - at) * sizeof *list->slots);
    return slot;
}

// Puts a slot where its age belongs; both lists are ordered oldest first.
static void list_insert_by_age(SlotList *list, const Sequence *slots, uint32_t slot) {
    uint32_t at = list->count;
    while (at > 0 && slots[list->slots[at - 1]].order > slots[slot].order) {
        at--;
    }
    list_insert(list, at, slot);
}

// Most pages of a kind that one sequence can hold: all of its tokens, or for the sliding kind what
// the window and one step's rows span, plus one page for the misaligned start.
static uint32_t sched_pages_needed(const SchedulerOptions *options, int kind,
                                   uint32_t token_count) {
    uint64_t span = token_count;
    if (kind == PAGE_SLIDING) {
        span = num_min(span, (uint64_t)options->window + options->rows_max + 2 * KV_PAGE_TOKENS);
    }
    return (uint32_t)num_ceil_div(span, KV_PAGE_TOKENS);
}

static bool sched_take_memory(Scheduler *s) {
    const SchedulerOptions *o = &s->options;
    Arena *a = &s->arena;
    s->slots = arena_take_array(a, s->slot_count, sizeof *s->slots);
    s->tokens = arena_take_array(a, o->rows_max, sizeof *s->tokens);
    s->positions = arena_take_array(a, o->rows_max, sizeof *s->positions);
    s->sliding_end = arena_take_array(a, o->rows_max, sizeof *s->sliding_end);
    s->row_sequence = arena_take_array(a, o->rows_max, sizeof *s->row_sequence);
    s->sequences = arena_take_array(a, o->sequences_max, sizeof *s->sequences);
    s->planned = arena_take_array(a, o->sequences_max, sizeof *s->planned);
    s->images = arena_take_array(a, (size_t)o->sequences_max * o->images_max, sizeof *s->images);
    SlotList *lists[] = {&s->free, &s->waiting, &s->running};
    for (size_t i = 0; i < 3; i++) {
        lists[i]->slots = arena_take_array(a, s->slot_count, sizeof *lists[i]->slots);
        if (lists[i]->slots == NULL) {
            return false;
        }
    }
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        s->pages[kind] = arena_take_array(a, o->pages[kind], sizeof *s->pages[kind]);
        if (s->pages[kind] == NULL) {
            return false;
        }
    }
    if (s->slots == NULL || s->tokens == NULL || s->positions == NULL || s->sliding_end == NULL ||
        s->row_sequence == NULL || s->sequences == NULL || s->planned == NULL ||
        s->images == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < s->slot_count; i++) {
        Sequence *q = &s->slots[i];
        q->tokens = arena_take_array(a, o->tokens_max, sizeof *q->tokens);
        q->images = arena_take_array(a, o->images_max, sizeof *q->images);
        if (q->tokens == NULL || q->images == NULL) {
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

Status sched_open(const SchedulerOptions *options, Scheduler **out, Error *error) {
    *out = NULL;
    const SchedulerOptions *o = options;
    if (o->rows_max == 0 || o->sequences_max == 0 || o->tokens_max < 2 || o->window == 0 ||
        o->rows_max < o->sequences_max || o->waiting_max > UINT32_MAX - o->sequences_max) {
        return error_set(error, E_ARGUMENT,
                         "scheduler: rows %u, sequences %u, tokens %u, window %u: each must be at "
                         "least 1 (tokens 2) and rows at least sequences",
                         o->rows_max, o->sequences_max, o->tokens_max, o->window);
    }
    Scheduler *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return error_set(error, E_MEMORY, "no memory for the scheduler");
    }
    s->options = *options;
    s->slot_count = o->sequences_max + o->waiting_max;
    Status status = OK;
    for (int kind = 0; kind < PAGE_KIND_COUNT && status == OK; kind++) {
        status = kv_pool_open(o->pages[kind], &s->pools[kind], error);
    }
    if (status == OK && !sched_take_memory(s)) {
        status = error_set(error, E_MEMORY,
                           "no memory for %u sequences of %u tokens; lower the batch, the queue or "
                           "the context",
                           s->slot_count, o->tokens_max);
    }
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
        kv_pool_close(&s->pools[kind]);
    }
    arena_free(&s->arena);
    free(s);
}

static Status sched_check(const SchedulerOptions *o, const SequenceRequest *r, Error *error) {
    if (r->token_count == 0 || r->new_tokens_max == 0 || r->stop_count > SCHED_STOP_MAX ||
        r->sampling.logprobs > BATCH_LOGPROBS_MAX) {
        return error_set(
            error, E_ARGUMENT,
            "a request needs a prompt, at least one new token, at most %d stop ids and "
            "at most %d logprobs",
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
    if (r->image_count > o->images_max) {
        return error_set(error, E_CONTEXT, "%u images in one request; at most %u are allowed",
                         r->image_count, o->images_max);
    }
    uint64_t previous_end = 0;
    for (uint32_t i = 0; i < r->image_count; i++) {
        const SequenceImage *image = &r->images[i];
        uint64_t end = (uint64_t)image->position_first + image->patch_count;
        if (image->patch_count == 0 || image->position_first < previous_end ||
            end > r->token_count) {
            return error_set(error, E_ARGUMENT,
                             "image %u covers positions %u to %llu, which overlap another image or "
                             "leave the prompt",
                             i + 1, image->position_first, (unsigned long long)end);
        }
        // Decode rows of the other sequences come first in every step; the image must fit beside
        // them.
        if (image->patch_count > o->rows_max - (o->sequences_max - 1)) {
            return error_set(error, E_CONTEXT,
                             "image %u takes %u rows and is never cut; a step has room for %u",
                             i + 1, image->patch_count, o->rows_max - (o->sequences_max - 1));
        }
        previous_end = end;
    }
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

Status sched_add(Scheduler *s, const SequenceRequest *r, uint64_t *handle, Error *error) {
    TRY(sched_check(&s->options, r, error));
    if (s->free.count == 0 ||
        s->waiting.count >= s->options.waiting_max + s->options.sequences_max) {
        return error_set(error, E_BUSY,
                         "%u sequences are running or waiting; try again when one ends",
                         s->slot_count);
    }
    uint32_t slot = s->free.slots[--s->free.count];
    Sequence *q = &s->slots[slot];
    q->state = SEQUENCE_WAITING;
    q->generation++;
    q->tag = r->tag;
    q->order = s->next_order++;
    q->prompt_count = r->token_count;
    q->new_tokens_max = r->new_tokens_max;
    q->image_count = r->image_count;
    q->stop_count = r->stop_count;
    q->sampling = r->sampling;
    q->token_count = r->token_count;
    q->cached_count = 0;
    q->planned_rows = 0;
    q->cancelled = false;
    memcpy(q->tokens, r->tokens, r->token_count * sizeof *q->tokens);
    if (r->image_count > 0) {
        memcpy(q->images, r->images, r->image_count * sizeof *q->images);
    }
    if (r->stop_count > 0) {
        memcpy(q->stop_ids, r->stop_ids, r->stop_count * sizeof *q->stop_ids);
    }
    list_insert_by_age(&s->waiting, s->slots, slot);
    *handle = (uint64_t)q->generation << 32 | slot;
    return OK;
}

void sched_cancel(Scheduler *s, uint64_t handle) {
    uint32_t slot = (uint32_t)handle;
    if (slot < s->slot_count && s->slots[slot].state != SEQUENCE_FREE &&
        s->slots[slot].generation == (uint32_t)(handle >> 32)) {
        s->slots[slot].cancelled = true;
    }
}

// Sends the youngest running sequence that is younger than `than` and not yet in this step back to
// waiting. False when there is none.
static bool sched_preempt_younger(Scheduler *s, const Sequence *than) {
    for (uint32_t i = s->running.count; i > 0; i--) {
        uint32_t slot = s->running.slots[i - 1];
        Sequence *q = &s->slots[slot];
        if (q->order <= than->order) {
            return false;
        }
        if (q->planned_rows > 0 || q->cancelled) {
            continue;
        }
        list_remove(&s->running, i - 1);
        sequence_drop_pages(q, s->pools);
        q->state = SEQUENCE_WAITING;
        list_insert_by_age(&s->waiting, s->slots, slot);
        s->stats.preemptions++;
        return true;
    }
    return false;
}

static bool sched_make_room(Scheduler *s, Sequence *q, uint32_t position_end) {
    while (!sequence_grow(q, s->pools, position_end)) {
        if (!sched_preempt_younger(s, q)) {
            return false;
        }
    }
    return true;
}

// Adds rows [cached_count, cached_count + row_count) of a sequence to the step.
static void sched_put_rows(Scheduler *s, uint32_t slot, uint32_t row_count) {
    Sequence *q = &s->slots[slot];
    Batch *b = &s->batch;
    uint32_t first = q->cached_count;
    uint32_t end = first + row_count;
    BatchSequence *out = &s->sequences[b->sequence_count];
    *out = (BatchSequence){
        .row_first = b->row_count,
        .row_count = row_count,
        .position_first = first,
        .sample = end == q->token_count,
        .sampling = q->sampling,
        .draw = q->token_count - q->prompt_count,
        .history = q->tokens,
        .history_count = q->token_count,
        .tag = (uint64_t)q->generation << 32 | slot,
    };
    for (uint32_t i = 0; i < row_count; i++) {
        uint32_t row = b->row_count + i;
        s->tokens[row] = q->tokens[first + i];
        s->positions[row] = first + i;
        s->sliding_end[row] = first + i + 1;
        s->row_sequence[row] = b->sequence_count;
    }
    for (uint32_t i = 0; i < q->image_count; i++) {
        const SequenceImage *image = &q->images[i];
        if (image->position_first < first || image->position_first >= end) {
            continue;
        }
        uint32_t row_first = b->row_count + (image->position_first - first);
        uint32_t image_end = image->position_first + image->patch_count;
        REQUIRE(image_end <= end);
        for (uint32_t row = row_first; row < row_first + image->patch_count; row++) {
            s->tokens[row] = -1;
            s->sliding_end[row] = image_end;
        }
        s->images[b->image_count++] =
            (BatchImage){row_first, image->patch_count, image->pixels, image->positions};
    }
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        const PageTable *table = &q->tables[kind];
        out->page_first[kind] = b->page_table_count[kind];
        out->page_count[kind] = table->count;
        out->page_skip[kind] = table->skip;
        memcpy(s->pages[kind] + b->page_table_count[kind], table->pages,
               table->count * sizeof *table->pages);
        b->page_table_count[kind] += table->count;
    }
    s->planned[b->sequence_count++] = slot;
    b->row_count += row_count;
    q->planned_rows = row_count;
}

static uint32_t sched_uncached(const Sequence *q) {
    return q->token_count - q->cached_count;
}

static void sched_plan_decodes(Scheduler *s) {
    for (uint32_t i = 0; i < s->running.count; i++) {
        uint32_t slot = s->running.slots[i];
        Sequence *q = &s->slots[slot];
        if (!q->cancelled && sched_uncached(q) == 1 && sched_make_room(s, q, q->token_count)) {
            sched_put_rows(s, slot, 1);
        }
    }
}

static void sched_plan_prefill(Scheduler *s, uint32_t slot) {
    Sequence *q = &s->slots[slot];
    uint32_t budget = s->options.rows_max - s->batch.row_count;
    uint32_t chunk = sequence_chunk(q, (uint32_t)num_min(sched_uncached(q), budget));
    if (chunk > 0 && sched_make_room(s, q, q->cached_count + chunk)) {
        sched_put_rows(s, slot, chunk);
    }
}

// Oldest first, while sequences and pages for the whole prompt and one page more are free.
static void sched_admit(Scheduler *s) {
    uint32_t at = 0;
    while (at < s->waiting.count && s->running.count < s->options.sequences_max &&
           s->batch.row_count < s->options.rows_max) {
        uint32_t slot = s->waiting.slots[at];
        Sequence *q = &s->slots[slot];
        if (q->cancelled) {
            at++;
            continue;
        }
        for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
            uint32_t need = sched_pages_needed(&s->options, kind, q->token_count);
            bool last_page = need == s->pools[kind].total;
            if (need + (last_page ? 0 : 1) > s->pools[kind].free_count) {
                return;
            }
        }
        list_remove(&s->waiting, at);
        q->state = SEQUENCE_RUNNING;
        list_insert_by_age(&s->running, s->slots, slot);
        sched_plan_prefill(s, slot);
    }
}

const Batch *sched_plan(Scheduler *s) {
    REQUIRE(!s->plan_open);
    Batch *b = &s->batch;
    *b = (Batch){
        .tokens = s->tokens,
        .positions = s->positions,
        .sliding_end = s->sliding_end,
        .row_sequence = s->row_sequence,
        .sequences = s->sequences,
        .pages = {s->pages[0], s->pages[1]},
        .images = s->images,
    };
    sched_plan_decodes(s);
    for (uint32_t i = 0; i < s->running.count; i++) {
        Sequence *q = &s->slots[s->running.slots[i]];
        if (!q->cancelled && q->planned_rows == 0 && sched_uncached(q) > 1) {
            sched_plan_prefill(s, s->running.slots[i]);
        }
    }
    sched_admit(s);
    if (b->row_count == 0) {
        return NULL;
    }
    s->plan_open = true;
    s->stats.steps++;
    return b;
}

static void sched_release(Scheduler *s, uint32_t slot) {
    Sequence *q = &s->slots[slot];
    SlotList *list = q->state == SEQUENCE_RUNNING ? &s->running : &s->waiting;
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->slots[i] == slot) {
            list_remove(list, i);
            break;
        }
    }
    sequence_drop_pages(q, s->pools);
    q->state = SEQUENCE_FREE;
    s->free.slots[s->free.count++] = slot;
}

static FinishReason sched_finish_reason(const Scheduler *s, const Sequence *q, int32_t token) {
    for (uint32_t i = 0; i < q->stop_count; i++) {
        if (q->stop_ids[i] == token) {
            return FINISH_STOP;
        }
    }
    bool full = q->token_count - q->prompt_count == q->new_tokens_max ||
                q->token_count == s->options.tokens_max;
    return full ? FINISH_LENGTH : FINISH_NONE;
}

// Takes one sequence of the step over the line; returns whether an event was written.
static bool sched_commit_sequence(Scheduler *s, uint32_t index, const StepSample *sample,
                                  bool failed, SchedulerEvent *event) {
    const BatchSequence *row = &s->sequences[index];
    uint32_t slot = s->planned[index];
    Sequence *q = &s->slots[slot];
    q->planned_rows = 0;
    q->cached_count += row->row_count;
    REQUIRE(q->cached_count <= q->token_count);
    if (failed || q->cancelled) {
        q->cancelled = true;
        return false; // swept by sched_sweep
    }
    sequence_slide(q, s->pools, s->options.window, q->cached_count);
    *(row->row_count == 1 ? &s->stats.decode_rows : &s->stats.prefill_rows) += row->row_count;
    if (!row->sample) {
        return false;
    }
    REQUIRE(sample != NULL && sample->tag == row->tag);
    q->tokens[q->token_count++] = sample->chosen.token;
    *event = (SchedulerEvent){
        .tag = q->tag,
        .handle = row->tag,
        .finish = sched_finish_reason(s, q, sample->chosen.token),
        .has_token = true,
        .chosen = sample->chosen,
        .top_count = sample->top_count,
    };
    memcpy(event->top, sample->top, sample->top_count * sizeof *event->top);
    if (event->finish != FINISH_NONE) {
        sched_release(s, slot);
    }
    return true;
}

static size_t sched_sweep_cancelled(Scheduler *s, SchedulerEvent *events, size_t events_max) {
    size_t count = 0;
    for (uint32_t slot = 0; slot < s->slot_count && count < events_max; slot++) {
        Sequence *q = &s->slots[slot];
        if (q->state != SEQUENCE_FREE && q->cancelled) {
            events[count++] = (SchedulerEvent){
                .tag = q->tag,
                .handle = (uint64_t)q->generation << 32 | slot,
                .finish = FINISH_CANCEL,
            };
            sched_release(s, slot);
        }
    }
    return count;
}

size_t sched_commit(Scheduler *s, const StepResult *result, SchedulerEvent *events,
                    size_t events_max) {
    size_t count = 0;
    if (s->plan_open) {
        REQUIRE(events_max >= s->batch.sequence_count);
        uint32_t sample = 0;
        for (uint32_t i = 0; i < s->batch.sequence_count; i++) {
            const StepSample *drawn = NULL;
            if (result != NULL && s->sequences[i].sample) {
                REQUIRE(sample < result->sample_count);
                drawn = &result->samples[sample++];
            }
            if (sched_commit_sequence(s, i, drawn, result == NULL, &events[count])) {
                count++;
            }
        }
        s->plan_open = false;
    }
    return count + sched_sweep_cancelled(s, events + count, events_max - count);
}

SchedulerStats sched_stats(const Scheduler *s) {
    SchedulerStats stats = s->stats;
    stats.running = s->running.count;
    stats.waiting = s->waiting.count;
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        stats.pages_total[kind] = s->pools[kind].total;
        stats.pages_used[kind] = s->pools[kind].total - s->pools[kind].free_count;
    }
    return stats;
}
