// SPDX-License-Identifier: Apache-2.0
// The step: fills a Batch. sched.h has the rules, in the order in which sched_plan below follows
// them; commit.c takes the result.
#include "base/check.h"
#include "base/num.h"
#include "scheduler/record.h"
#include "scheduler/state.h"

#include <string.h>

// Tokens known and in no open plan.
static uint32_t unplanned(const Sequence *sequence) {
    uint32_t next = sequence_next(sequence);
    return sequence->token_count > next ? sequence->token_count - next : 0;
}

static bool is_in_this_plan(const Scheduler *scheduler, const Sequence *sequence) {
    return sequence->planned_rows[scheduler->making] > 0;
}

// ---- Pages --------------------------------------------------------------------------------------

// Pages of a kind that sequences with a reservation have not taken yet.
static uint32_t set_aside(const Scheduler *scheduler, int kind) {
    uint32_t total = 0;
    for (uint32_t i = 0; scheduler->reserved_count > 0 && i < scheduler->running.count; i++) {
        const Sequence *sequence = &scheduler->slots[scheduler->running.slots[i]];
        if (sequence->reserved) {
            uint32_t need = sched_pages_needed(&scheduler->options, kind,
                                               sequence->prompt_count + sequence->new_tokens_max);
            total += need > sequence->tables[kind].count ? need - sequence->tables[kind].count : 0;
        }
    }
    return total;
}

static uint32_t pages_open(const Scheduler *scheduler, int kind) {
    uint32_t available = kv_pool_available(&scheduler->pages.pools[kind]);
    uint32_t aside = set_aside(scheduler, kind);
    return available > aside ? available - aside : 0;
}

static bool can_grow(const Scheduler *scheduler, const Sequence *sequence, uint32_t position_end) {
    uint32_t pages_end = (uint32_t)num_ceil_div(position_end, KV_PAGE_TOKENS);
    for (int kind = 0; kind < PAGE_KIND_COUNT && !sequence->reserved; kind++) {
        uint32_t have = sequence->tables[kind].skip + sequence->tables[kind].count;
        if (pages_end > have && pages_end - have > pages_open(scheduler, kind)) {
            return false;
        }
    }
    return true;
}

static void preempt(Scheduler *scheduler, uint32_t slot) {
    Sequence *sequence = &scheduler->slots[slot];
    REQUIRE(sequence_planned(sequence) == 0 && !sequence->reserved);
    sched_list_remove(&scheduler->running, slot);
    policy_run_end(&scheduler->policy, sequence);
    scheduler->stats.recomputed_tokens += sequence->cached_count;
    sequence_drop_pages(sequence, &scheduler->pages);
    sequence->preemptions++;
    sched_wait_begin(scheduler, slot, true);
    scheduler->stats.preemptions++;
}

static bool may_go_back(const Sequence *sequence) {
    return !sequence->reserved && sequence->ending == FINISH_NONE;
}

// The running sequence of least rank that may be sent back when nothing is under way, or NO_SLOT.
// With `than`, only one of less rank than that.
static uint32_t find_victim(const Scheduler *scheduler, const Sequence *than) {
    for (uint32_t i = scheduler->running.count; i > 0; i--) {
        const Sequence *sequence = &scheduler->slots[scheduler->running.slots[i - 1]];
        if (sequence == than) {
            return NO_SLOT;
        }
        if (!is_in_this_plan(scheduler, sequence) && may_go_back(sequence)) {
            return scheduler->running.slots[i - 1];
        }
    }
    return NO_SLOT;
}

static bool make_room(Scheduler *scheduler, Sequence *sequence, uint32_t position_end) {
    while (!can_grow(scheduler, sequence, position_end) ||
           !sequence_grow(sequence, &scheduler->pages, position_end)) {
        uint32_t victim = find_victim(scheduler, sequence);
        if (victim == NO_SLOT) {
            return false;
        }
        if (scheduler->plan_count > 0) {
            scheduler->draining = true;
            return false;
        }
        preempt(scheduler, victim);
    }
    return true;
}

// ---- Rows ---------------------------------------------------------------------------------------

static void put_image(Plan *plan, const SequenceMedia *media, uint32_t row_first) {
    for (uint32_t row = row_first; row < row_first + media->row_count; row++) {
        plan->sliding_end[row] = media->position_first + media->row_count;
    }
    plan->images[plan->batch.image_count++] =
        (BatchImage){row_first, media->row_count, media->pixels, media->positions};
}

// The media among the positions from `first` to `end`, which are the next rows of the step; of a
// sound the part that is there.
static void put_media(Plan *plan, const Sequence *sequence, uint32_t first, uint32_t end) {
    Batch *batch = &plan->batch;
    for (uint32_t i = 0; i < sequence->media_count; i++) {
        const SequenceMedia *media = &sequence->media[i];
        uint32_t from = (uint32_t)num_max(first, media->position_first);
        uint32_t to = (uint32_t)num_min(end, media->position_first + media->row_count);
        if (from >= to) {
            continue;
        }
        uint32_t row_first = batch->row_count + (from - first), row_count = to - from;
        for (uint32_t row = row_first; row < row_first + row_count; row++) {
            plan->tokens[row] = BATCH_TOKEN_MEDIA;
        }
        if (media_is_whole(media->kind)) {
            REQUIRE(row_count == media->row_count);
            put_image(plan, media, row_first);
        } else {
            plan->audios[batch->audio_count++] =
                (BatchAudio){row_first, from - media->position_first, row_count, media->samples};
        }
    }
}

// Prompt positions are charged to the user once, when they are first planned: computing them again
// after a preemption is on the house, and shared positions cost nothing.
static void charge_prompt(Scheduler *scheduler, Sequence *sequence, uint32_t first, uint32_t end) {
    uint32_t from = (uint32_t)num_max(first, sequence->charged_count);
    uint32_t to = (uint32_t)num_min(end, sequence->prompt_count);
    if (to > from) {
        policy_charge(&scheduler->policy, sequence->user, sequence->priority, to - from);
        sequence->charged_count = to;
    }
}

// Adds the next `row_count` rows of a sequence to the step. The last one may be of the token that
// the step before draws.
static void put_rows(Scheduler *scheduler, uint32_t slot, uint32_t row_count) {
    Sequence *sequence = &scheduler->slots[slot];
    Plan *plan = &scheduler->plans[scheduler->making];
    Batch *batch = &plan->batch;
    uint32_t first = sequence_next(sequence), end = first + row_count;
    bool ahead = end > sequence->token_count;
    REQUIRE(!ahead || (sequence->drawing > 0 && end == sequence->token_count + 1));
    BatchSequence *out = &plan->sequences[batch->sequence_count];
    *out = (BatchSequence){
        .row_first = batch->row_count,
        .row_count = row_count,
        .position_first = first,
        .sample_rows = end >= sequence->token_count,
        .sampling = sequence->sampling,
        .allowed = end >= sequence->token_count ? sequence->allowed : NULL,
        .draw = sequence->token_count + ahead - sequence->prompt_count,
        .history = sequence->tokens,
        .history_count = sequence->token_count,
        .history_drawn = ahead ? sequence->drawing : 0,
        .tag = sched_handle(scheduler, slot),
    };
    uint32_t row_first = batch->row_count;
    memcpy(plan->tokens + row_first, sequence->tokens + first,
           (row_count - ahead) * sizeof *sequence->tokens);
    if (ahead) {
        plan->tokens[row_first + row_count - 1] = batch_token_drawn(sequence->drawing - 1);
    }
    for (uint32_t i = 0; i < row_count; i++) {
        plan->positions[row_first + i] = first + i;
        plan->sliding_end[row_first + i] = first + i + 1;
        plan->row_sequence[row_first + i] = batch->sequence_count;
    }
    put_media(plan, sequence, first, end);
    charge_prompt(scheduler, sequence, first, end);
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        const PageTable *table = &sequence->tables[kind];
        out->page_first[kind] = batch->page_table_count[kind];
        out->page_count[kind] = table->count;
        out->page_skip[kind] = table->skip;
        memcpy(plan->pages_out[kind] + batch->page_table_count[kind], table->pages,
               table->count * sizeof *table->pages);
        batch->page_table_count[kind] += table->count;
    }
    plan->slots[batch->sequence_count++] = slot;
    batch->row_count += row_count;
    sequence->planned_rows[scheduler->making] = row_count;
    sequence->drawing = out->sample_rows > 0 ? ++plan->sample_count : 0;
}

// Can the row of a token that the step under way draws be planned? Not behind the last token, and
// not where the set of the token after it follows from that token.
static bool has_row_ahead(const Sequence *sequence) {
    return sequence->drawing > 0 && !sequence->constrained &&
           sequence->token_count + 1 < sequence->prompt_count + sequence->new_tokens_max;
}

// Plans the decodes, in rank order, and lists the sequences with more to compute.
static void plan_decodes(Scheduler *scheduler) {
    scheduler->prefilling.count = 0;
    for (uint32_t i = 0; i < scheduler->running.count; i++) {
        uint32_t slot = scheduler->running.slots[i];
        Sequence *sequence = &scheduler->slots[slot];
        if (sequence->ending != FINISH_NONE || sequence_waits_for_set(sequence) ||
            (unplanned(sequence) == 0 && !has_row_ahead(sequence))) {
            continue;
        }
        if (unplanned(sequence) > 1) {
            scheduler->prefilling.slots[scheduler->prefilling.count++] = slot;
        } else if (make_room(scheduler, sequence, sequence_next(sequence) + 1)) {
            put_rows(scheduler, slot, 1);
        }
    }
}

// Rows until a sequence's sliding pages span what sched_pages_needed promises. Pages leave the
// window at commits, so only a chunk planned ahead can meet this bound.
static uint32_t rows_to_sliding_bound(const Scheduler *scheduler, const Sequence *sequence) {
    uint32_t most = sched_pages_needed(&scheduler->options, PAGE_SLIDING,
                                       sequence->prompt_count + sequence->new_tokens_max);
    uint32_t end = (sequence->tables[PAGE_SLIDING].skip + most) * KV_PAGE_TOKENS;
    uint32_t next = sequence_next(sequence);
    return end > next ? end - next : 0;
}

static void plan_prefill(Scheduler *scheduler, uint32_t slot) {
    Sequence *sequence = &scheduler->slots[slot];
    uint32_t budget =
        scheduler->options.rows_max - scheduler->plans[scheduler->making].batch.row_count;
    uint32_t most = (uint32_t)num_min(budget, rows_to_sliding_bound(scheduler, sequence));
    uint32_t chunk = sequence_chunk(sequence, (uint32_t)num_min(unplanned(sequence), most));
    if (chunk > 0 && make_room(scheduler, sequence, sequence_next(sequence) + chunk)) {
        put_rows(scheduler, slot, chunk);
    }
}

// ---- Prefix cache -------------------------------------------------------------------------------

typedef struct PrefixHit {
    uint32_t tokens;                        // positions that need not be computed
    uint32_t skip;                          // first sliding page that rows after them can see
    uint32_t pages;                         // whole pages shared; then one to copy when tokens % 16
    uint32_t cached_pages[PAGE_KIND_COUNT]; // of the shared ones, those that count as available now
} PrefixHit;

static uint32_t first_sliding_page(const Scheduler *scheduler, uint32_t position) {
    uint32_t window = scheduler->options.window;
    return position + 1 > window ? (position + 1 - window) / KV_PAGE_TOKENS : 0;
}

// Is the page that holds positions up to `tokens` known for both kinds by this key?
static bool both_kinds_know(const Scheduler *scheduler, Hash128 key) {
    uint32_t page;
    return prefix_find(&scheduler->pages.prefixes[PAGE_FULL], key, &page) &&
           prefix_find(&scheduler->pages.prefixes[PAGE_SLIDING], key, &page);
}

// Greatest number of tokens <= limit that the known pages cover: `pages` whole pages and, when a
// tail that ends inside the next page is known, that. s->keys[i] is the key of the first i + 1
// pages; the key of a tail goes to s->keys[pages].
static uint32_t longest_match(Scheduler *scheduler, const Sequence *sequence, uint32_t limit,
                              bool *tail) {
    Hash128 key = sequence_key_begin(sequence, &scheduler->pages);
    uint32_t pages = 0, best_pages = 0, sliding_run = 0;
    while ((pages + 1) * KV_PAGE_TOKENS <= limit) {
        uint32_t end = (pages + 1) * KV_PAGE_TOKENS, page;
        key = sequence_key(sequence, &scheduler->pages, key, end - KV_PAGE_TOKENS, end);
        if (!prefix_find(&scheduler->pages.prefixes[PAGE_FULL], key, &page)) {
            break;
        }
        bool sliding = prefix_find(&scheduler->pages.prefixes[PAGE_SLIDING], key, &page);
        sliding_run = sliding ? sliding_run + 1 : 0;
        scheduler->keys[pages++] = key;
        if (sliding_run >= pages - first_sliding_page(scheduler, end)) {
            best_pages = pages;
        }
    }
    *tail = false;
    uint32_t best = best_pages * KV_PAGE_TOKENS;
    if (best_pages == 0 || best_pages == pages) { // a tail continues the longest run only
        Hash128 base = best_pages == 0 ? sequence_key_begin(sequence, &scheduler->pages)
                                       : scheduler->keys[best_pages - 1];
        uint32_t first = best, tails[2] = {sequence->prompt_count, 0};
        for (uint32_t i = 0; i < sequence->media_count; i++) {
            uint32_t end = sequence->media[i].position_first + sequence->media[i].row_count;
            tails[1] = end > first && end < first + KV_PAGE_TOKENS ? end : tails[1];
        }
        for (int i = 0; i < 2; i++) {
            bool inside = tails[i] > best && tails[i] < first + KV_PAGE_TOKENS && tails[i] <= limit;
            if (inside && both_kinds_know(scheduler, sequence_key(sequence, &scheduler->pages, base,
                                                                  first, tails[i]))) {
                scheduler->keys[best_pages] =
                    sequence_key(sequence, &scheduler->pages, base, first, tails[i]);
                best = tails[i];
                *tail = true;
            }
        }
    }
    return best;
}

// The page known by the key of logical page `logical` (or of the tail in it).
static uint32_t known_page(const Scheduler *scheduler, int kind, uint32_t logical) {
    uint32_t page = KV_NO_PAGE;
    bool known = prefix_find(&scheduler->pages.prefixes[kind], scheduler->keys[logical], &page);
    REQUIRE(known);
    return page;
}

static PrefixHit find_prefix(Scheduler *scheduler, const Sequence *sequence) {
    PrefixHit hit = {0};
    bool tail;
    uint32_t limit = (uint32_t)num_min(sequence->token_count, sequence->shareable_end);
    uint32_t matched = longest_match(scheduler, sequence, limit, &tail);
    // At least the last token is computed, for its logits; a picture is computed whole or not at
    // all.
    uint32_t tokens = (uint32_t)num_min(matched, sequence->token_count - 1);
    const SequenceMedia *cut = sequence_cut_at(sequence, tokens);
    if (cut != NULL) {
        tokens = cut->position_first;
    }
    hit.tokens = tokens;
    hit.pages = tokens / KV_PAGE_TOKENS;
    hit.skip = (uint32_t)num_min(first_sliding_page(scheduler, tokens), hit.pages);
    // A shorter hit sees sliding pages that the longer match did not need; they may be gone.
    for (uint32_t i = hit.skip; i < num_ceil_div(tokens, KV_PAGE_TOKENS); i++) {
        uint32_t page;
        if (!prefix_find(&scheduler->pages.prefixes[PAGE_SLIDING], scheduler->keys[i], &page)) {
            return (PrefixHit){0};
        }
    }
    for (uint32_t i = 0; i < num_ceil_div(tokens, KV_PAGE_TOKENS); i++) {
        hit.cached_pages[PAGE_FULL] +=
            scheduler->pages.pools[PAGE_FULL].pages[known_page(scheduler, PAGE_FULL, i)].in_cache;
        if (i >= hit.skip) {
            hit.cached_pages[PAGE_SLIDING] += scheduler->pages.pools[PAGE_SLIDING]
                                                  .pages[known_page(scheduler, PAGE_SLIDING, i)]
                                                  .in_cache;
        }
    }
    return hit;
}

// Gives an admitted sequence the pages of a hit. Pages were checked to be enough.
static void take_prefix(Scheduler *scheduler, Sequence *sequence, const PrefixHit *hit) {
    uint32_t copies = hit->tokens % KV_PAGE_TOKENS > 0;
    Plan *plan = &scheduler->plans[scheduler->making];
    Batch *batch = &plan->batch;
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        PageTable *table = &sequence->tables[kind];
        KvPool *pool = &scheduler->pages.pools[kind];
        table->skip = kind == PAGE_SLIDING ? hit->skip : 0;
        for (uint32_t i = table->skip; i < hit->pages + copies; i++) {
            uint32_t page = known_page(scheduler, kind, i);
            kv_pool_share(pool, page); // the source of the copy is held until commit
            if (i < hit->pages) {
                table->pages[table->count++] = page;
            } else {
                plan->copy_from[kind][batch->copy_count[kind]] = page;
            }
        }
    }
    for (int kind = 0; kind < PAGE_KIND_COUNT && copies > 0; kind++) {
        PageTable *table = &sequence->tables[kind];
        bool taken = pages_take(&scheduler->pages, kind, &table->pages[table->count]);
        REQUIRE(taken);
        plan->copy_to[kind][batch->copy_count[kind]++] = table->pages[table->count++];
    }
    sequence->cached_count = hit->tokens;
    sequence->hit_tokens = (uint32_t)num_min(hit->tokens, sequence->prompt_count);
    sequence->queued_ms = (uint32_t)num_min(scheduler->now_ms - sequence->added_ms, UINT32_MAX);
    sequence->chain_pages = hit->pages;
    sequence->chain = hit->pages > 0 ? scheduler->keys[hit->pages - 1]
                                     : sequence_key_begin(sequence, &scheduler->pages);
    scheduler->stats.prefix_hit_tokens += hit->tokens;
    scheduler->stats.prefix_asked_tokens += sequence->token_count;
}

// ---- Admission ----------------------------------------------------------------------------------

// Open pages of a kind that admission asks for. One whose preemptions are used up needs room for
// all it may ever want.
static uint64_t pages_wanted(const Scheduler *scheduler, const Sequence *sequence,
                             const PrefixHit *hit, int kind) {
    bool reserve = sequence->preemptions >= SCHED_PREEMPTIONS_MAX;
    uint32_t tokens =
        reserve ? sequence->prompt_count + sequence->new_tokens_max : sequence->token_count;
    uint32_t need = sched_pages_needed(&scheduler->options, kind, tokens);
    uint32_t shared = hit->pages - (kind == PAGE_SLIDING ? hit->skip : 0);
    uint64_t want = need > shared ? need - shared : 0;
    want += hit->tokens % KV_PAGE_TOKENS > 0 && hit->cached_pages[kind] > 0; // the copy's source
    want += hit->cached_pages[kind];
    if (scheduler->running.count > 0) {
        want += (uint64_t)scheduler->pages.pools[kind].total *
                scheduler->options.watermark_permille / 1000;
    }
    return want;
}

// Does the sequence fit beside what runs?
static bool has_pages(const Scheduler *scheduler, const Sequence *sequence, const PrefixHit *hit) {
    return pages_wanted(scheduler, sequence, hit, PAGE_SLIDING) <=
               pages_open(scheduler, PAGE_SLIDING) &&
           pages_wanted(scheduler, sequence, hit, PAGE_FULL) <= pages_open(scheduler, PAGE_FULL);
}

static void admit_one(Scheduler *scheduler, uint32_t slot, const PrefixHit *hit) {
    Sequence *sequence = &scheduler->slots[slot];
    sched_wait_end(scheduler, slot);
    policy_run_begin(&scheduler->policy, sequence);
    sequence->state = SEQUENCE_RUNNING;
    sched_list_insert_by_rank(scheduler, slot);
    take_prefix(scheduler, sequence, hit);
    if (sequence->preemptions >= SCHED_PREEMPTIONS_MAX) {
        sequence->reserved = true;
        scheduler->reserved_count++;
    }
    plan_prefill(scheduler, slot);
}

// ---- Prefills and admissions --------------------------------------------------------------------

// Of the running sequences with more to compute the next, taken off the list: by class, then the
// user with the least counter, then the oldest. One that was preempted meanwhile is passed over.
static uint32_t next_prefilling(Scheduler *scheduler) {
    uint32_t best = NO_SLOT, at = 0;
    for (uint32_t i = 0; i < scheduler->prefilling.count; i++) {
        uint32_t slot = scheduler->prefilling.slots[i];
        const Sequence *sequence = &scheduler->slots[slot];
        if (sequence->state == SEQUENCE_RUNNING &&
            (best == NO_SLOT ||
             policy_before(&scheduler->policy, sequence, &scheduler->slots[best]))) {
            best = slot;
            at = i;
        }
    }
    if (best != NO_SLOT) {
        scheduler->prefilling.slots[at] =
            scheduler->prefilling.slots[--scheduler->prefilling.count];
    }
    return best;
}

// May the waiting one compute before the running one goes on? One that has aged is not overtaken
// by another class.
static bool overtakes(const Scheduler *scheduler, uint32_t waiting, uint32_t running) {
    const Sequence *w = &scheduler->slots[waiting], *r = &scheduler->slots[running];
    bool aged = scheduler->now_ms - r->added_ms >= scheduler->options.age_ms;
    return w->user != r->user && !(aged && w->priority != r->priority) &&
           policy_before(&scheduler->policy, w, r);
}

// Admits a waiting sequence when there are pages. With `whole`, only if all of its prompt is
// computed in this step. False: it stays where it is.
static bool admit(Scheduler *scheduler, uint32_t slot, bool whole) {
    const Sequence *sequence = &scheduler->slots[slot];
    if (sequence_waits_for_set(sequence)) {
        return false; // what a step computes of it may be its last row alone
    }
    PrefixHit hit = find_prefix(scheduler, sequence);
    if (!has_pages(scheduler, sequence, &hit)) {
        hit = (PrefixHit){0}; // sharing pins cached pages; without it all of them can be taken
        if (!has_pages(scheduler, sequence, &hit)) {
            return false;
        }
    }
    uint32_t budget =
        scheduler->options.rows_max - scheduler->plans[scheduler->making].batch.row_count;
    if (whole && sequence->token_count - hit.tokens > budget) {
        return false;
    }
    admit_one(scheduler, slot, &hit);
    return true;
}

static uint32_t next_waiting(const Scheduler *scheduler, uint32_t first) {
    bool open = scheduler->running.count < scheduler->options.sequences_max &&
                scheduler->plans[scheduler->making].batch.row_count < scheduler->options.rows_max;
    if (!open || first != NO_SLOT) {
        return open ? first : NO_SLOT;
    }
    return policy_next(&scheduler->policy, scheduler->slots, scheduler->now_ms);
}

// Shares what the decodes left of the budget. A running prefill goes on, after those waiting that
// are before it and fit beside it whole. Then the others come in turn; but while a prefill is
// unfinished only whole prompts, so that no crowd of begun ones stands before the next user. The
// turn of one that does not fit stays its turn: nobody overtakes it in the queue.
static void plan_prefills(Scheduler *scheduler, uint32_t first) {
    bool unfinished = false;
    for (;;) {
        uint32_t running = next_prefilling(scheduler), waiting;
        while ((waiting = next_waiting(scheduler, first)) != NO_SLOT &&
               (running == NO_SLOT || overtakes(scheduler, waiting, running)) &&
               admit(scheduler, waiting, unfinished || running != NO_SLOT)) {
            const Sequence *sequence = &scheduler->slots[waiting];
            unfinished = unfinished || unplanned(sequence) > 0;
            first = NO_SLOT;
        }
        if (running == NO_SLOT) {
            return;
        }
        plan_prefill(scheduler, running);
        const Sequence *sequence = &scheduler->slots[running];
        unfinished = unfinished || unplanned(sequence) > 0;
    }
}

// ---- Making room --------------------------------------------------------------------------------

static bool yields(const Scheduler *scheduler, const Sequence *running, const Sequence *waiting) {
    return may_go_back(running) && policy_yields(&scheduler->policy, running, waiting,
                                                 scheduler->stats.steps - waiting->waits_from);
}

// Would the waiting sequence fit if every sequence that yields to it left?
static bool yielding_helps(const Scheduler *scheduler, const Sequence *waiting) {
    PrefixHit none = {0};
    uint32_t victims = 0;
    uint64_t pages[PAGE_KIND_COUNT] = {pages_open(scheduler, PAGE_SLIDING),
                                       pages_open(scheduler, PAGE_FULL)};
    for (uint32_t i = 0; i < scheduler->running.count; i++) {
        const Sequence *sequence = &scheduler->slots[scheduler->running.slots[i]];
        if (yields(scheduler, sequence, waiting)) {
            victims++;
            pages[PAGE_SLIDING] += sequence->tables[PAGE_SLIDING].count;
            pages[PAGE_FULL] += sequence->tables[PAGE_FULL].count;
        }
    }
    return victims > 0 &&
           pages_wanted(scheduler, waiting, &none, PAGE_SLIDING) <= pages[PAGE_SLIDING] &&
           pages_wanted(scheduler, waiting, &none, PAGE_FULL) <= pages[PAGE_FULL];
}

static bool has_room(const Scheduler *scheduler, const Sequence *waiting) {
    PrefixHit none = {0};
    return scheduler->running.count < scheduler->options.sequences_max &&
           has_pages(scheduler, waiting, &none);
}

// The one that yields: of another class the one of least rank, else the youngest of the user who
// runs the most.
static uint32_t find_yielding(const Scheduler *scheduler, const Sequence *waiting) {
    uint32_t best = NO_SLOT;
    for (uint32_t i = scheduler->running.count; i > 0; i--) {
        uint32_t slot = scheduler->running.slots[i - 1];
        const Sequence *sequence = &scheduler->slots[slot];
        if (!yields(scheduler, sequence, waiting)) {
            continue;
        }
        if (sequence->priority != waiting->priority) {
            return slot;
        }
        if (best == NO_SLOT ||
            policy_runs_more(&scheduler->policy, sequence->user, scheduler->slots[best].user)) {
            best = slot;
        }
    }
    return best;
}

// The waiting sequence whose turn it is, if there is nothing free for it, takes the place and the
// pages of others that yield to it. Returns it when places were made, for admission in this very
// step, else NO_SLOT.
static uint32_t make_places(Scheduler *scheduler) {
    uint32_t slot = policy_next_of(&scheduler->policy, scheduler->slots, PRIORITY_INTERACTIVE);
    if (slot == NO_SLOT) {
        slot = policy_next_of(&scheduler->policy, scheduler->slots, PRIORITY_BATCH);
    }
    if (slot == NO_SLOT || sequence_waits_for_set(&scheduler->slots[slot]) ||
        has_room(scheduler, &scheduler->slots[slot]) ||
        !yielding_helps(scheduler, &scheduler->slots[slot])) {
        return NO_SLOT;
    }
    uint32_t made_room_for = NO_SLOT;
    while (!has_room(scheduler, &scheduler->slots[slot])) {
        uint32_t victim = find_yielding(scheduler, &scheduler->slots[slot]);
        if (victim == NO_SLOT) {
            break;
        }
        if (scheduler->plan_count > 0) {
            scheduler->draining = true;
            break;
        }
        preempt(scheduler, victim);
        made_room_for = slot;
    }
    return made_room_for;
}

// An empty plan behind the open ones.
static Batch *plan_begin(Scheduler *scheduler) {
    REQUIRE(scheduler->plan_count < SCHED_PLANS_MAX);
    scheduler->plan_oldest = scheduler->plan_count > 0 ? scheduler->plan_oldest
                                                       : 0; // the same arrays, warm in the caches
    scheduler->making = (scheduler->plan_oldest + scheduler->plan_count) % SCHED_PLANS_MAX;
    Plan *plan = &scheduler->plans[scheduler->making];
    plan->sample_count = 0;
    plan->batch = (Batch){
        .tokens = plan->tokens,
        .positions = plan->positions,
        .sliding_end = plan->sliding_end,
        .row_sequence = plan->row_sequence,
        .sequences = plan->sequences,
        .pages = {plan->pages_out[0], plan->pages_out[1]},
        .images = plan->images,
        .audios = plan->audios,
        .copy_from = {plan->copy_from[0], plan->copy_from[1]},
        .copy_to = {plan->copy_to[0], plan->copy_to[1]},
    };
    return &plan->batch;
}

const Batch *sched_plan(Scheduler *scheduler) {
    Batch *batch = plan_begin(scheduler);
    sched_expire(scheduler);
    scheduler->draining = scheduler->draining && scheduler->plan_count > 0;
    uint32_t first = make_places(scheduler);
    if (!scheduler->draining) {
        plan_decodes(scheduler);
    }
    if (!scheduler->draining) {
        plan_prefills(scheduler, first);
    }
    if (batch->row_count == 0) {
        REQUIRE(batch->copy_count[PAGE_FULL] == 0);
        record_plan(scheduler, NULL);
        return NULL;
    }
    scheduler->plan_count++;
    scheduler->stats.steps++;
    record_plan(scheduler, batch);
    return batch;
}
