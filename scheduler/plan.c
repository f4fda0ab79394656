// SPDX-License-Identifier: Apache-2.0
// The step: fills a Batch. sched.h has the rules, in the order in which sched_plan below follows
// them; commit.c takes the result.
#include "base/check.h"
#include "base/num.h"
#include "scheduler/record.h"
#include "scheduler/state.h"

#include <string.h>

// Tokens known and in no open plan.
static uint32_t unplanned(const Sequence *q) {
    uint32_t next = sequence_next(q);
    return q->token_count > next ? q->token_count - next : 0;
}

static bool is_in_this_plan(const Scheduler *s, const Sequence *q) {
    return q->planned_rows[s->making] > 0;
}

// ---- Pages --------------------------------------------------------------------------------------

// Pages of a kind that sequences with a reservation have not taken yet.
static uint32_t set_aside(const Scheduler *s, int kind) {
    uint32_t total = 0;
    for (uint32_t i = 0; s->reserved_count > 0 && i < s->running.count; i++) {
        const Sequence *q = &s->slots[s->running.slots[i]];
        if (q->reserved) {
            uint32_t need =
                sched_pages_needed(&s->options, kind, q->prompt_count + q->new_tokens_max);
            total += need > q->tables[kind].count ? need - q->tables[kind].count : 0;
        }
    }
    return total;
}

static uint32_t pages_open(const Scheduler *s, int kind) {
    uint32_t available = kv_pool_available(&s->pages.pools[kind]);
    uint32_t aside = set_aside(s, kind);
    return available > aside ? available - aside : 0;
}

static bool can_grow(const Scheduler *s, const Sequence *q, uint32_t position_end) {
    uint32_t pages_end = (uint32_t)num_ceil_div(position_end, KV_PAGE_TOKENS);
    for (int kind = 0; kind < PAGE_KIND_COUNT && !q->reserved; kind++) {
        uint32_t have = q->tables[kind].skip + q->tables[kind].count;
        if (pages_end > have && pages_end - have > pages_open(s, kind)) {
            return false;
        }
    }
    return true;
}

static void preempt(Scheduler *s, uint32_t slot) {
    Sequence *q = &s->slots[slot];
    REQUIRE(sequence_planned(q) == 0 && !q->reserved);
    sched_list_remove(&s->running, slot);
    policy_run_end(&s->policy, q);
    s->stats.recomputed_tokens += q->cached_count;
    sequence_drop_pages(q, &s->pages);
    q->preemptions++;
    sched_wait_begin(s, slot, true);
    s->stats.preemptions++;
}

static bool may_go_back(const Sequence *q) {
    return !q->reserved && q->ending == FINISH_NONE;
}

// The running sequence of least rank that may be sent back when nothing is under way, or NO_SLOT.
// With `than`, only one of less rank than that.
static uint32_t find_victim(const Scheduler *s, const Sequence *than) {
    for (uint32_t i = s->running.count; i > 0; i--) {
        const Sequence *q = &s->slots[s->running.slots[i - 1]];
        if (q == than) {
            return NO_SLOT;
        }
        if (!is_in_this_plan(s, q) && may_go_back(q)) {
            return s->running.slots[i - 1];
        }
    }
    return NO_SLOT;
}

static bool make_room(Scheduler *s, Sequence *q, uint32_t position_end) {
    while (!can_grow(s, q, position_end) || !sequence_grow(q, &s->pages, position_end)) {
        uint32_t victim = find_victim(s, q);
        if (victim == NO_SLOT) {
            return false;
        }
        if (s->plan_count > 0) {
            s->draining = true;
            return false;
        }
        preempt(s, victim);
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
static void put_media(Plan *plan, const Sequence *q, uint32_t first, uint32_t end) {
    Batch *b = &plan->batch;
    for (uint32_t i = 0; i < q->media_count; i++) {
        const SequenceMedia *media = &q->media[i];
        uint32_t from = (uint32_t)num_max(first, media->position_first);
        uint32_t to = (uint32_t)num_min(end, media->position_first + media->row_count);
        if (from >= to) {
            continue;
        }
        uint32_t row_first = b->row_count + (from - first), row_count = to - from;
        for (uint32_t row = row_first; row < row_first + row_count; row++) {
            plan->tokens[row] = BATCH_TOKEN_MEDIA;
        }
        if (media_is_whole(media->kind)) {
            REQUIRE(row_count == media->row_count);
            put_image(plan, media, row_first);
        } else {
            plan->audios[b->audio_count++] =
                (BatchAudio){row_first, from - media->position_first, row_count, media->samples};
        }
    }
}

// Prompt positions are charged to the user once, when they are first planned: computing them again
// after a preemption is on the house, and shared positions cost nothing.
static void charge_prompt(Scheduler *s, Sequence *q, uint32_t first, uint32_t end) {
    uint32_t from = (uint32_t)num_max(first, q->charged_count);
    uint32_t to = (uint32_t)num_min(end, q->prompt_count);
    if (to > from) {
        policy_charge(&s->policy, q->user, q->priority, to - from);
        q->charged_count = to;
    }
}

// Adds the next `row_count` rows of a sequence to the step. The last one may be of the token that
// the step before draws.
static void put_rows(Scheduler *s, uint32_t slot, uint32_t row_count) {
    Sequence *q = &s->slots[slot];
    Plan *plan = &s->plans[s->making];
    Batch *b = &plan->batch;
    uint32_t first = sequence_next(q), end = first + row_count;
    bool ahead = end > q->token_count;
    REQUIRE(!ahead || (q->drawing > 0 && end == q->token_count + 1));
    BatchSequence *out = &plan->sequences[b->sequence_count];
    *out = (BatchSequence){
        .row_first = b->row_count,
        .row_count = row_count,
        .position_first = first,
        .sample_rows = end >= q->token_count,
        .sampling = q->sampling,
        .allowed = end >= q->token_count ? q->allowed : NULL,
        .draw = q->token_count + ahead - q->prompt_count,
        .history = q->tokens,
        .history_count = q->token_count,
        .history_drawn = ahead ? q->drawing : 0,
        .tag = sched_handle(s, slot),
    };
    uint32_t row_first = b->row_count;
    memcpy(plan->tokens + row_first, q->tokens + first, (row_count - ahead) * sizeof *q->tokens);
    if (ahead) {
        plan->tokens[row_first + row_count - 1] = batch_token_drawn(q->drawing - 1);
    }
    for (uint32_t i = 0; i < row_count; i++) {
        plan->positions[row_first + i] = first + i;
        plan->sliding_end[row_first + i] = first + i + 1;
        plan->row_sequence[row_first + i] = b->sequence_count;
    }
    put_media(plan, q, first, end);
    charge_prompt(s, q, first, end);
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        const PageTable *table = &q->tables[kind];
        out->page_first[kind] = b->page_table_count[kind];
        out->page_count[kind] = table->count;
        out->page_skip[kind] = table->skip;
        memcpy(plan->pages_out[kind] + b->page_table_count[kind], table->pages,
               table->count * sizeof *table->pages);
        b->page_table_count[kind] += table->count;
    }
    plan->slots[b->sequence_count++] = slot;
    b->row_count += row_count;
    q->planned_rows[s->making] = row_count;
    q->drawing = out->sample_rows > 0 ? ++plan->sample_count : 0;
}

// Can the row of a token that the step under way draws be planned? Not behind the last token, and
// not where the set of the token after it follows from that token.
static bool has_row_ahead(const Sequence *q) {
    return q->drawing > 0 && !q->constrained &&
           q->token_count + 1 < q->prompt_count + q->new_tokens_max;
}

// Plans the decodes, in rank order, and lists the sequences with more to compute.
static void plan_decodes(Scheduler *s) {
    s->prefilling.count = 0;
    for (uint32_t i = 0; i < s->running.count; i++) {
        uint32_t slot = s->running.slots[i];
        Sequence *q = &s->slots[slot];
        if (q->ending != FINISH_NONE || sequence_waits_for_set(q) ||
            (unplanned(q) == 0 && !has_row_ahead(q))) {
            continue;
        }
        if (unplanned(q) > 1) {
            s->prefilling.slots[s->prefilling.count++] = slot;
        } else if (make_room(s, q, sequence_next(q) + 1)) {
            put_rows(s, slot, 1);
        }
    }
}

// Rows until a sequence's sliding pages span what sched_pages_needed promises. Pages leave the
// window at commits, so only a chunk planned ahead can meet this bound.
static uint32_t rows_to_sliding_bound(const Scheduler *s, const Sequence *q) {
    uint32_t most =
        sched_pages_needed(&s->options, PAGE_SLIDING, q->prompt_count + q->new_tokens_max);
    uint32_t end = (q->tables[PAGE_SLIDING].skip + most) * KV_PAGE_TOKENS;
    uint32_t next = sequence_next(q);
    return end > next ? end - next : 0;
}

static void plan_prefill(Scheduler *s, uint32_t slot) {
    Sequence *q = &s->slots[slot];
    uint32_t budget = s->options.rows_max - s->plans[s->making].batch.row_count;
    uint32_t most = (uint32_t)num_min(budget, rows_to_sliding_bound(s, q));
    uint32_t chunk = sequence_chunk(q, (uint32_t)num_min(unplanned(q), most));
    if (chunk > 0 && make_room(s, q, sequence_next(q) + chunk)) {
        put_rows(s, slot, chunk);
    }
}

// ---- Prefix cache -------------------------------------------------------------------------------

typedef struct PrefixHit {
    uint32_t tokens;                        // positions that need not be computed
    uint32_t skip;                          // first sliding page that rows after them can see
    uint32_t pages;                         // whole pages shared; then one to copy when tokens % 16
    uint32_t cached_pages[PAGE_KIND_COUNT]; // of the shared ones, those that count as available now
} PrefixHit;

static uint32_t first_sliding_page(const Scheduler *s, uint32_t position) {
    uint32_t window = s->options.window;
    return position + 1 > window ? (position + 1 - window) / KV_PAGE_TOKENS : 0;
}

// Is the page that holds positions up to `tokens` known for both kinds by this key?
static bool both_kinds_know(const Scheduler *s, Hash128 key) {
    uint32_t page;
    return prefix_find(&s->pages.prefixes[PAGE_FULL], key, &page) &&
           prefix_find(&s->pages.prefixes[PAGE_SLIDING], key, &page);
}

// Greatest number of tokens <= limit that the known pages cover: `pages` whole pages and, when a
// tail that ends inside the next page is known, that. s->keys[i] is the key of the first i + 1
// pages; the key of a tail goes to s->keys[pages].
static uint32_t longest_match(Scheduler *s, const Sequence *q, uint32_t limit, bool *tail) {
    Hash128 key = sequence_key_begin(q, &s->pages);
    uint32_t pages = 0, best_pages = 0, sliding_run = 0;
    while ((pages + 1) * KV_PAGE_TOKENS <= limit) {
        uint32_t end = (pages + 1) * KV_PAGE_TOKENS, page;
        key = sequence_key(q, &s->pages, key, end - KV_PAGE_TOKENS, end);
        if (!prefix_find(&s->pages.prefixes[PAGE_FULL], key, &page)) {
            break;
        }
        bool sliding = prefix_find(&s->pages.prefixes[PAGE_SLIDING], key, &page);
        sliding_run = sliding ? sliding_run + 1 : 0;
        s->keys[pages++] = key;
        if (sliding_run >= pages - first_sliding_page(s, end)) {
            best_pages = pages;
        }
    }
    *tail = false;
    uint32_t best = best_pages * KV_PAGE_TOKENS;
    if (best_pages == 0 || best_pages == pages) { // a tail continues the longest run only
        Hash128 base = best_pages == 0 ? sequence_key_begin(q, &s->pages) : s->keys[best_pages - 1];
        uint32_t first = best, tails[2] = {q->prompt_count, 0};
        for (uint32_t i = 0; i < q->media_count; i++) {
            uint32_t end = q->media[i].position_first + q->media[i].row_count;
            tails[1] = end > first && end < first + KV_PAGE_TOKENS ? end : tails[1];
        }
        for (int i = 0; i < 2; i++) {
            bool inside = tails[i] > best && tails[i] < first + KV_PAGE_TOKENS && tails[i] <= limit;
            if (inside && both_kinds_know(s, sequence_key(q, &s->pages, base, first, tails[i]))) {
                s->keys[best_pages] = sequence_key(q, &s->pages, base, first, tails[i]);
                best = tails[i];
                *tail = true;
            }
        }
    }
    return best;
}

// The page known by the key of logical page `logical` (or of the tail in it).
static uint32_t known_page(const Scheduler *s, int kind, uint32_t logical) {
    uint32_t page = KV_NO_PAGE;
    bool known = prefix_find(&s->pages.prefixes[kind], s->keys[logical], &page);
    REQUIRE(known);
    return page;
}

static PrefixHit find_prefix(Scheduler *s, const Sequence *q) {
    PrefixHit hit = {0};
    bool tail;
    uint32_t limit = (uint32_t)num_min(q->token_count, q->shareable_end);
    uint32_t matched = longest_match(s, q, limit, &tail);
    // At least the last token is computed, for its logits; a picture is computed whole or not at
    // all.
    uint32_t tokens = (uint32_t)num_min(matched, q->token_count - 1);
    const SequenceMedia *cut = sequence_cut_at(q, tokens);
    if (cut != NULL) {
        tokens = cut->position_first;
    }
    hit.tokens = tokens;
    hit.pages = tokens / KV_PAGE_TOKENS;
    hit.skip = (uint32_t)num_min(first_sliding_page(s, tokens), hit.pages);
    // A shorter hit sees sliding pages that the longer match did not need; they may be gone.
    for (uint32_t i = hit.skip; i < num_ceil_div(tokens, KV_PAGE_TOKENS); i++) {
        uint32_t page;
        if (!prefix_find(&s->pages.prefixes[PAGE_SLIDING], s->keys[i], &page)) {
            return (PrefixHit){0};
        }
    }
    for (uint32_t i = 0; i < num_ceil_div(tokens, KV_PAGE_TOKENS); i++) {
        hit.cached_pages[PAGE_FULL] +=
            s->pages.pools[PAGE_FULL].pages[known_page(s, PAGE_FULL, i)].in_cache;
        if (i >= hit.skip) {
            hit.cached_pages[PAGE_SLIDING] +=
                s->pages.pools[PAGE_SLIDING].pages[known_page(s, PAGE_SLIDING, i)].in_cache;
        }
    }
    return hit;
}

// Gives an admitted sequence the pages of a hit. Pages were checked to be enough.
static void take_prefix(Scheduler *s, Sequence *q, const PrefixHit *hit) {
    uint32_t copies = hit->tokens % KV_PAGE_TOKENS > 0;
    Plan *plan = &s->plans[s->making];
    Batch *b = &plan->batch;
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        PageTable *table = &q->tables[kind];
        KvPool *pool = &s->pages.pools[kind];
        table->skip = kind == PAGE_SLIDING ? hit->skip : 0;
        for (uint32_t i = table->skip; i < hit->pages + copies; i++) {
            uint32_t page = known_page(s, kind, i);
            kv_pool_share(pool, page); // the source of the copy is held until commit
            if (i < hit->pages) {
                table->pages[table->count++] = page;
            } else {
                plan->copy_from[kind][b->copy_count[kind]] = page;
            }
        }
    }
    for (int kind = 0; kind < PAGE_KIND_COUNT && copies > 0; kind++) {
        PageTable *table = &q->tables[kind];
        bool taken = pages_take(&s->pages, kind, &table->pages[table->count]);
        REQUIRE(taken);
        plan->copy_to[kind][b->copy_count[kind]++] = table->pages[table->count++];
    }
    q->cached_count = hit->tokens;
    q->hit_tokens = (uint32_t)num_min(hit->tokens, q->prompt_count);
    q->queued_ms = (uint32_t)num_min(s->now_ms - q->added_ms, UINT32_MAX);
    q->chain_pages = hit->pages;
    q->chain = hit->pages > 0 ? s->keys[hit->pages - 1] : sequence_key_begin(q, &s->pages);
    s->stats.prefix_hit_tokens += hit->tokens;
    s->stats.prefix_asked_tokens += q->token_count;
}

// ---- Admission ----------------------------------------------------------------------------------

// Open pages of a kind that admission asks for. One whose preemptions are used up needs room for
// all it may ever want.
static uint64_t pages_wanted(const Scheduler *s, const Sequence *q, const PrefixHit *hit,
                             int kind) {
    bool reserve = q->preemptions >= SCHED_PREEMPTIONS_MAX;
    uint32_t tokens = reserve ? q->prompt_count + q->new_tokens_max : q->token_count;
    uint32_t need = sched_pages_needed(&s->options, kind, tokens);
    uint32_t shared = hit->pages - (kind == PAGE_SLIDING ? hit->skip : 0);
    uint64_t want = need > shared ? need - shared : 0;
    want += hit->tokens % KV_PAGE_TOKENS > 0 && hit->cached_pages[kind] > 0; // the copy's source
    want += hit->cached_pages[kind];
    if (s->running.count > 0) {
        want += (uint64_t)s->pages.pools[kind].total * s->options.watermark_permille / 1000;
    }
    return want;
}

// Does the sequence fit beside what runs?
static bool has_pages(const Scheduler *s, const Sequence *q, const PrefixHit *hit) {
    return pages_wanted(s, q, hit, PAGE_SLIDING) <= pages_open(s, PAGE_SLIDING) &&
           pages_wanted(s, q, hit, PAGE_FULL) <= pages_open(s, PAGE_FULL);
}

static void admit_one(Scheduler *s, uint32_t slot, const PrefixHit *hit) {
    Sequence *q = &s->slots[slot];
    sched_wait_end(s, slot);
    policy_run_begin(&s->policy, q);
    q->state = SEQUENCE_RUNNING;
    sched_list_insert_by_rank(s, slot);
    take_prefix(s, q, hit);
    if (q->preemptions >= SCHED_PREEMPTIONS_MAX) {
        q->reserved = true;
        s->reserved_count++;
    }
    plan_prefill(s, slot);
}

// ---- Prefills and admissions --------------------------------------------------------------------

// Of the running sequences with more to compute the next, taken off the list: by class, then the
// user with the least counter, then the oldest. One that was preempted meanwhile is passed over.
static uint32_t next_prefilling(Scheduler *s) {
    uint32_t best = NO_SLOT, at = 0;
    for (uint32_t i = 0; i < s->prefilling.count; i++) {
        uint32_t slot = s->prefilling.slots[i];
        const Sequence *q = &s->slots[slot];
        if (q->state == SEQUENCE_RUNNING &&
            (best == NO_SLOT || policy_before(&s->policy, q, &s->slots[best]))) {
            best = slot;
            at = i;
        }
    }
    if (best != NO_SLOT) {
        s->prefilling.slots[at] = s->prefilling.slots[--s->prefilling.count];
    }
    return best;
}

// May the waiting one compute before the running one goes on? One that has aged is not overtaken
// by another class.
static bool overtakes(const Scheduler *s, uint32_t waiting, uint32_t running) {
    const Sequence *w = &s->slots[waiting], *r = &s->slots[running];
    bool aged = s->now_ms - r->added_ms >= s->options.age_ms;
    return w->user != r->user && !(aged && w->priority != r->priority) &&
           policy_before(&s->policy, w, r);
}

// Admits a waiting sequence when there are pages. With `whole`, only if all of its prompt is
// computed in this step. False: it stays where it is.
static bool admit(Scheduler *s, uint32_t slot, bool whole) {
    const Sequence *q = &s->slots[slot];
    if (sequence_waits_for_set(q)) {
        return false; // what a step computes of it may be its last row alone
    }
    PrefixHit hit = find_prefix(s, q);
    if (!has_pages(s, q, &hit)) {
        hit = (PrefixHit){0}; // sharing pins cached pages; without it all of them can be taken
        if (!has_pages(s, q, &hit)) {
            return false;
        }
    }
    uint32_t budget = s->options.rows_max - s->plans[s->making].batch.row_count;
    if (whole && q->token_count - hit.tokens > budget) {
        return false;
    }
    admit_one(s, slot, &hit);
    return true;
}

static uint32_t next_waiting(const Scheduler *s, uint32_t first) {
    bool open = s->running.count < s->options.sequences_max &&
                s->plans[s->making].batch.row_count < s->options.rows_max;
    if (!open || first != NO_SLOT) {
        return open ? first : NO_SLOT;
    }
    return policy_next(&s->policy, s->slots, s->now_ms);
}

// Shares what the decodes left of the budget. A running prefill goes on, after those waiting that
// are before it and fit beside it whole. Then the others come in turn; but while a prefill is
// unfinished only whole prompts, so that no crowd of begun ones stands before the next user. The
// turn of one that does not fit stays its turn: nobody overtakes it in the queue.
static void plan_prefills(Scheduler *s, uint32_t first) {
    bool unfinished = false;
    for (;;) {
        uint32_t running = next_prefilling(s), waiting;
        while ((waiting = next_waiting(s, first)) != NO_SLOT &&
               (running == NO_SLOT || overtakes(s, waiting, running)) &&
               admit(s, waiting, unfinished || running != NO_SLOT)) {
            const Sequence *q = &s->slots[waiting];
            unfinished = unfinished || unplanned(q) > 0;
            first = NO_SLOT;
        }
        if (running == NO_SLOT) {
            return;
        }
        plan_prefill(s, running);
        const Sequence *q = &s->slots[running];
        unfinished = unfinished || unplanned(q) > 0;
    }
}

// ---- Making room --------------------------------------------------------------------------------

static bool yields(const Scheduler *s, const Sequence *running, const Sequence *waiting) {
    return may_go_back(running) &&
           policy_yields(&s->policy, running, waiting, s->stats.steps - waiting->waits_from);
}

// Would the waiting sequence fit if every sequence that yields to it left?
static bool yielding_helps(const Scheduler *s, const Sequence *waiting) {
    PrefixHit none = {0};
    uint32_t victims = 0;
    uint64_t pages[PAGE_KIND_COUNT] = {pages_open(s, PAGE_SLIDING), pages_open(s, PAGE_FULL)};
    for (uint32_t i = 0; i < s->running.count; i++) {
        const Sequence *q = &s->slots[s->running.slots[i]];
        if (yields(s, q, waiting)) {
            victims++;
            pages[PAGE_SLIDING] += q->tables[PAGE_SLIDING].count;
            pages[PAGE_FULL] += q->tables[PAGE_FULL].count;
        }
    }
    return victims > 0 && pages_wanted(s, waiting, &none, PAGE_SLIDING) <= pages[PAGE_SLIDING] &&
           pages_wanted(s, waiting, &none, PAGE_FULL) <= pages[PAGE_FULL];
}

static bool has_room(const Scheduler *s, const Sequence *waiting) {
    PrefixHit none = {0};
    return s->running.count < s->options.sequences_max && has_pages(s, waiting, &none);
}

// The one that yields: of another class the one of least rank, else the youngest of the user who
// runs the most.
static uint32_t find_yielding(const Scheduler *s, const Sequence *waiting) {
    uint32_t best = NO_SLOT;
    for (uint32_t i = s->running.count; i > 0; i--) {
        uint32_t slot = s->running.slots[i - 1];
        const Sequence *q = &s->slots[slot];
        if (!yields(s, q, waiting)) {
            continue;
        }
        if (q->priority != waiting->priority) {
            return slot;
        }
        if (best == NO_SLOT || policy_runs_more(&s->policy, q->user, s->slots[best].user)) {
            best = slot;
        }
    }
    return best;
}

// The waiting sequence whose turn it is, if there is nothing free for it, takes the place and the
// pages of others that yield to it. Returns it when places were made, for admission in this very
// step, else NO_SLOT.
static uint32_t make_places(Scheduler *s) {
    uint32_t slot = policy_next_of(&s->policy, s->slots, PRIORITY_INTERACTIVE);
    if (slot == NO_SLOT) {
        slot = policy_next_of(&s->policy, s->slots, PRIORITY_BATCH);
    }
    if (slot == NO_SLOT || sequence_waits_for_set(&s->slots[slot]) ||
        has_room(s, &s->slots[slot]) || !yielding_helps(s, &s->slots[slot])) {
        return NO_SLOT;
    }
    uint32_t made_room_for = NO_SLOT;
    while (!has_room(s, &s->slots[slot])) {
        uint32_t victim = find_yielding(s, &s->slots[slot]);
        if (victim == NO_SLOT) {
            break;
        }
        if (s->plan_count > 0) {
            s->draining = true;
            break;
        }
        preempt(s, victim);
        made_room_for = slot;
    }
    return made_room_for;
}

// An empty plan behind the open ones.
static Batch *plan_begin(Scheduler *s) {
    REQUIRE(s->plan_count < SCHED_PLANS_MAX);
    s->plan_oldest = s->plan_count > 0 ? s->plan_oldest : 0; // the same arrays, warm in the caches
    s->making = (s->plan_oldest + s->plan_count) % SCHED_PLANS_MAX;
    Plan *plan = &s->plans[s->making];
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

const Batch *sched_plan(Scheduler *s) {
    Batch *b = plan_begin(s);
    sched_expire(s);
    s->draining = s->draining && s->plan_count > 0;
    uint32_t first = make_places(s);
    if (!s->draining) {
        plan_decodes(s);
    }
    if (!s->draining) {
        plan_prefills(s, first);
    }
    if (b->row_count == 0) {
        REQUIRE(b->copy_count[PAGE_FULL] == 0);
        record_plan(s, NULL);
        return NULL;
    }
    s->plan_count++;
    s->stats.steps++;
    record_plan(s, b);
    return b;
}
