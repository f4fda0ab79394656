// SPDX-License-Identifier: Apache-2.0
// Random runs against a fake engine that computes nothing but remembers everything: each page slot
// holds a hash of the sequence's tokens up to that position, copies copy it, rows write it, and
// every row checks that all positions it may see hold exactly the hashes of its own sequence. A
// page lost, shared wrongly, evicted early, copied late or slid away too soon shows as a wrong
// hash, with the seed. Half of the runs plan one step ahead; a step's rows are written when it
// ends, and rows of sequences that have ended meanwhile write rubbish. A third of the sequences
// draw every token from a set, which comes some steps after the token before it. Half have a
// picture or a frame, some a sound.
#include "scheduler/sched.h"

#include "base/prng.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 60, PAGES_MAX = 64, TOKENS_MAX = 256, SLOTS = 64 };

typedef struct Dice {
    uint64_t seed, thrown;
} Dice;

static uint32_t below(Dice *dice, uint32_t n) {
    return (uint32_t)(prng_u64(dice->seed, 0, dice->thrown++) % n);
}

typedef struct Expectation {
    bool live;
    uint64_t handle;
    int32_t tokens[TOKENS_MAX]; // prompt, then what was drawn
    uint32_t prompt_count, token_count, new_tokens_max;
    SequenceMedia media[2]; // a picture or a frame, a sound, or both in this order
    uint32_t media_count;
    bool stops;             // at stop_token
    bool constrained, owed; // every token is drawn from a set; the next one's is still to be told
    uint32_t sets[TOKENS_MAX]; // the set of token i is told by the address of sets[i]
} Expectation;

typedef struct World {
    uint64_t seed;
    SchedulerOptions options;
    Scheduler *scheduler;
    uint64_t kv[PAGE_KIND_COUNT][PAGES_MAX][KV_PAGE_TOKENS];
    Expectation expected[REQUESTS];
    StepSample drawn[8]; // by the last step that ended
    uint32_t drawn_count;
    uint32_t added, ended;
    uint64_t now_ms;
} World;

// What position p of a sequence must hold: a hash of all that came before and of itself. The row of
// a picture depends on the whole picture, as it attends to all of it.
static uint64_t content(const Expectation *e, uint32_t position, uint64_t previous) {
    uint64_t self[3] = {previous, (uint32_t)e->tokens[position], 0};
    for (uint32_t i = 0; i < e->media_count; i++) {
        const SequenceMedia *media = &e->media[i];
        uint32_t row = position - media->position_first;
        if (position >= media->position_first && row < media->row_count) {
            self[1] = hash64((Bytes){(const uint8_t *)&media->name, sizeof media->name}, row);
            self[2] = media->kind == MEDIA_SOUND ? UINT32_MAX : media->row_count;
        }
    }
    return hash64((Bytes){(const uint8_t *)self, sizeof self}, 7);
}

static uint64_t *kv_slot(World *w, const Batch *b, const BatchSequence *q, int kind,
                         uint32_t position) {
    uint32_t logical = position / KV_PAGE_TOKENS;
    cr_assert(logical >= q->page_skip[kind] && logical - q->page_skip[kind] < q->page_count[kind],
              "seed %llu: position %u has no page of kind %d", (unsigned long long)w->seed,
              position, kind);
    uint32_t page = b->pages[kind][q->page_first[kind] + logical - q->page_skip[kind]];
    cr_assert_lt(page, w->options.pages[kind]);
    return &w->kv[kind][page][position % KV_PAGE_TOKENS];
}

static const SequenceMedia *media_at(const Expectation *e, uint32_t position) {
    for (uint32_t i = 0; i < e->media_count; i++) {
        uint32_t first = e->media[i].position_first;
        if (position >= first && position < first + e->media[i].row_count) {
            return &e->media[i];
        }
    }
    return NULL;
}

static void check_text_row(const World *w, const Batch *b, const Expectation *e, uint32_t row) {
    uint32_t p = b->positions[row];
    int32_t token = b->tokens[row];
    if (batch_token_is_drawn(token)) {
        uint32_t sample = batch_drawn_index(token);
        cr_assert_lt(sample, w->drawn_count);
        cr_assert_eq(w->drawn[sample].tag, e->handle);
        token = w->drawn[sample].chosen.token;
    }
    cr_assert_eq(token, e->tokens[p]);
    cr_assert_eq(b->sliding_end[row], p + 1);
}

// The step has the whole picture, and every row of it sees its end.
static void check_picture_row(const World *w, const Batch *b, const SequenceMedia *picture,
                              uint32_t row) {
    uint32_t patch = b->positions[row] - picture->position_first;
    bool covered = false;
    cr_assert_eq(b->sliding_end[row], picture->position_first + picture->row_count);
    for (uint32_t i = 0; i < b->image_count; i++) {
        covered |=
            b->images[i].row_first == row - patch && b->images[i].patch_count == picture->row_count;
    }
    cr_assert(covered, "seed %llu: a picture is cut", (unsigned long long)w->seed);
}

// One part of the sound in the step has the frame of this row, and it sees nothing behind itself.
static void check_sound_row(const World *w, const Batch *b, const SequenceMedia *sound,
                            uint32_t row) {
    uint32_t frame = b->positions[row] - sound->position_first, parts = 0;
    cr_assert_eq(b->sliding_end[row], b->positions[row] + 1);
    for (uint32_t i = 0; i < b->audio_count; i++) {
        const BatchAudio *part = &b->audios[i];
        parts += row >= part->row_first && row - part->row_first < part->frame_count &&
                 part->frame_first + (row - part->row_first) == frame &&
                 part->samples == sound->samples;
    }
    cr_assert_eq(parts, 1, "seed %llu: frame %u of a sound is in %u parts",
                 (unsigned long long)w->seed, frame, parts);
}

static void check_row(const World *w, const Batch *b, const Expectation *e, uint32_t row) {
    const SequenceMedia *media = media_at(e, b->positions[row]);
    if (media == NULL) {
        check_text_row(w, b, e, row);
        return;
    }
    cr_assert_eq(b->tokens[row], BATCH_TOKEN_MEDIA, "seed %llu: a row of media is a token",
                 (unsigned long long)w->seed);
    if (media->kind == MEDIA_SOUND) {
        check_sound_row(w, b, media, row);
    } else {
        check_picture_row(w, b, media, row);
    }
}

// The sequence whose rows these are; NULL when it has ended, or will without the token they wait
// for.
static const Expectation *owner(const World *w, const BatchSequence *q) {
    for (uint32_t i = 0; i < w->added; i++) {
        const Expectation *e = &w->expected[i];
        if (e->live && e->handle == q->tag) {
            return q->position_first + q->row_count <= e->token_count ? e : NULL;
        }
    }
    return NULL;
}

static void write_rubbish(World *w, const Batch *b, const BatchSequence *q) {
    for (uint32_t p = q->position_first; p < q->position_first + q->row_count; p++) {
        *kv_slot(w, b, q, PAGE_SLIDING, p) = 1;
        *kv_slot(w, b, q, PAGE_FULL, p) = 1;
    }
}

static void check_sequence(const World *w, const Batch *b, const BatchSequence *q,
                           const Expectation *e) {
    cr_assert_eq(q->history_count + (q->history_drawn > 0), e->token_count);
    cr_assert_eq(memcmp(q->history, e->tokens, q->history_count * sizeof *e->tokens), 0);
    cr_assert_eq(q->sample_rows, q->position_first + q->row_count == e->token_count);
    cr_assert_eq(q->draw, e->token_count - e->prompt_count);
    cr_assert(!q->sample_rows || !e->owed, "seed %llu: drawn without a set",
              (unsigned long long)w->seed);
    cr_assert_eq(q->allowed, q->sample_rows && e->constrained ? &e->sets[e->token_count] : NULL);
    if (q->history_drawn > 0) {
        cr_assert_eq(w->drawn[q->history_drawn - 1].tag, e->handle);
    }
    for (uint32_t r = 0; r < q->row_count; r++) {
        cr_assert_eq(b->positions[q->row_first + r], q->position_first + r);
        check_row(w, b, e, q->row_first + r);
    }
}

static void look_back(World *w, const Batch *b, const BatchSequence *q, const uint64_t *hashes,
                      int kind, uint32_t row) {
    uint32_t p = b->positions[row], window = w->options.window;
    uint32_t from = kind == PAGE_SLIDING && p + 1 > window ? p + 1 - window : 0;
    uint32_t end = kind == PAGE_SLIDING ? b->sliding_end[row] : p + 1;
    for (uint32_t seen = from; seen < end; seen++) {
        cr_assert_eq(*kv_slot(w, b, q, kind, seen), hashes[seen],
                     "seed %llu: row at %u sees wrong content at %u of kind %d",
                     (unsigned long long)w->seed, p, seen, kind);
    }
}

static void run_copies(World *w, const Batch *b) {
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        for (uint32_t i = 0; i < b->copy_count[kind]; i++) {
            memcpy(w->kv[kind][b->copy_to[kind][i]], w->kv[kind][b->copy_from[kind][i]],
                   sizeof w->kv[kind][0]);
        }
    }
}

static void run_rows(World *w, const Batch *b) {
    cr_assert_leq(b->row_count, w->options.rows_max);
    cr_assert_leq(b->sequence_count, w->options.sequences_max);
    run_copies(w, b);
    for (uint32_t pass = 0; pass < 2; pass++) { // all rows write, then all rows look
        uint32_t row = 0;
        for (uint32_t i = 0; i < b->sequence_count; i++) {
            const BatchSequence *q = &b->sequences[i];
            const Expectation *e = owner(w, q);
            cr_assert_eq(q->row_first, row);
            cr_assert_gt(q->row_count, 0);
            row += q->row_count;
            if (e == NULL) {
                write_rubbish(w, b, q);
                continue;
            }
            check_sequence(w, b, q, e);
            uint64_t hashes[TOKENS_MAX], hash = 0;
            for (uint32_t p = 0; p < e->token_count; p++) {
                hashes[p] = hash = content(e, p, hash);
            }
            for (uint32_t r = q->row_first; r < row; r++) {
                cr_assert_eq(b->row_sequence[r], i);
                for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
                    if (pass == 0) {
                        *kv_slot(w, b, q, kind, b->positions[r]) = hashes[b->positions[r]];
                    } else {
                        look_back(w, b, q, hashes, kind, r);
                    }
                }
            }
        }
        cr_assert_eq(row, b->row_count);
    }
}

static const int32_t stop_token = 7;

// A picture, and behind it perhaps a sound that is longer than many a step.
static void make_media(Dice *dice, Expectation *e, uint32_t family) {
    static const float samples[3][2];
    uint32_t end = 0;
    if (below(dice, 2) && e->prompt_count > 30) {
        end = 15 + 2 * family;
        e->media[e->media_count++] =
            (SequenceMedia){.kind = below(dice, 2) ? MEDIA_PICTURE : MEDIA_FILM_FRAME,
                            .position_first = 3 + family,
                            .row_count = 12 + family,
                            .name = {below(dice, 4) ? 5 : 6, family + 1}};
        if (below(dice, 8) == 0) {
            e->media[0].name = (Hash128){0}; // not to be shared
        }
    }
    if (below(dice, 2) && e->prompt_count > end + 100) {
        e->media[e->media_count++] = (SequenceMedia){.kind = MEDIA_SOUND,
                                                     .position_first = end + 2,
                                                     .row_count = 50 + 20 * family,
                                                     .samples = samples[family],
                                                     .name = {below(dice, 4) ? 7 : 8, family + 1}};
    }
}

// Prompts begin alike: the first tokens depend on one of three families, so that prefixes are
// shared.
static void make_request(World *w, Dice *dice, Expectation *e, SequenceRequest *r) {
    uint32_t family = below(dice, 3), differs_at = below(dice, 120);
    *e = (Expectation){0};
    e->prompt_count = 1 + below(dice, w->options.tokens_max - 20);
    e->new_tokens_max = 1 + below(dice, 19);
    for (uint32_t i = 0; i < e->prompt_count; i++) {
        e->tokens[i] = (int32_t)(i < differs_at ? family * 1000 + i : below(dice, 50));
    }
    make_media(dice, e, family);
    e->token_count = e->prompt_count;
    e->stops = below(dice, 2);
    e->constrained = below(dice, 3) == 0;
    *r = (SequenceRequest){
        .tokens = e->tokens,
        .token_count = e->prompt_count,
        .media = e->media,
        .media_count = e->media_count,
        .new_tokens_max = e->new_tokens_max,
        .stop_ids = &stop_token,
        .stop_count = e->stops,
        .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f},
        .allowed = e->constrained ? &e->sets[e->token_count] : NULL,
        .tag = w->added,
        .user = below(dice, w->options.users_max),
        .priority = below(dice, 2) ? PRIORITY_BATCH : PRIORITY_INTERACTIVE,
        .deadline_ms = below(dice, 12) == 0 ? w->now_ms + 1 + below(dice, 200) : 0,
        .after = w->added > 0 && below(dice, 4) == 0 ? w->expected[w->added - 1].handle : 0,
    };
}

static void add_requests(World *w, Dice *dice) {
    while (w->added < REQUESTS && below(dice, 2) == 0) {
        Expectation *e = &w->expected[w->added];
        SequenceRequest request;
        make_request(w, dice, e, &request);
        Error error = {0};
        Status status = sched_add(w->scheduler, &request, &e->handle, &error);
        if (status == E_BUSY) {
            return;
        }
        cr_assert(status == OK || status == E_CONTEXT, "seed %llu: %s", (unsigned long long)w->seed,
                  error.text);
        e->live = status == OK;
        w->ended += status != OK;
        w->added++;
        if (status == OK && below(dice, 12) == 0) {
            sched_cancel(w->scheduler, e->handle);
        }
    }
}

static void take_events(World *w, const SchedulerEvent *events, size_t count) {
    for (size_t i = 0; i < count; i++) {
        Expectation *e = &w->expected[events[i].tag];
        cr_assert(e->live, "seed %llu: an event after the end", (unsigned long long)w->seed);
        cr_assert_eq(events[i].handle, e->handle);
        if (events[i].has_token) {
            e->tokens[e->token_count++] = events[i].chosen.token;
        }
        uint32_t drawn = e->token_count - e->prompt_count;
        cr_assert_leq(drawn, e->new_tokens_max);
        bool stop = e->stops && events[i].has_token && events[i].chosen.token == stop_token;
        cr_assert_eq(events[i].finish == FINISH_STOP, stop);
        cr_assert_eq(events[i].finish == FINISH_LENGTH,
                     drawn == e->new_tokens_max && events[i].has_token && !stop);
        e->owed = e->constrained;
        if (events[i].finish != FINISH_NONE) {
            e->live = false;
            w->ended++;
        }
    }
}

static void tell_sets(World *w, Dice *dice) {
    for (uint32_t i = 0; i < w->added; i++) {
        Expectation *e = &w->expected[i];
        if (e->live && e->owed && below(dice, 2) == 0) {
            sched_allow(w->scheduler, e->handle, &e->sets[e->token_count]);
            e->owed = false;
        }
    }
}

static void cancel_some(World *w, Dice *dice) {
    const Expectation *e = &w->expected[below(dice, REQUESTS)];
    if (e->live && below(dice, 8) == 0) {
        sched_cancel(w->scheduler, e->handle);
    }
}

// Ends the oldest step, `b`; NULL: nothing runs.
static void take_step(World *w, Dice *dice, const Batch *b, bool failed) {
    StepSample samples[8];
    StepResult result = {.samples = samples};
    if (b != NULL) {
        run_rows(w, b);
        for (uint32_t i = 0; i < b->sequence_count; i++) {
            if (b->sequences[i].sample_rows) {
                samples[result.sample_count++] = (StepSample){
                    .tag = b->sequences[i].tag, .chosen = {.token = (int32_t)below(dice, 50)}};
            }
        }
        memcpy(w->drawn, samples, sizeof samples);
        w->drawn_count = result.sample_count;
    }
    SchedulerEvent events[SLOTS];
    size_t count = sched_commit(w->scheduler, b != NULL && !failed ? &result : NULL, events, SLOTS);
    take_events(w, events, count);
}

static SchedulerStats random_run(uint64_t seed) {
    static World world;
    World *w = &world;
    memset(w, 0, sizeof *w);
    w->seed = seed;
    Dice dice = {.seed = seed};
    w->options = (SchedulerOptions){
        .rows_max = 24 + below(&dice, 60),
        .sequences_max = 1 + below(&dice, 6),
        .waiting_max = below(&dice, 10),
        .tokens_max = 32 + below(&dice, 200),
        .media_max = 2,
        .window = 8 + below(&dice, 80),
        .pages = {7 + below(&dice, 25), 7 + below(&dice, 25)},
        .users_max = 1 + below(&dice, 3),
        .age_ms = 1 + below(&dice, 500),
        .watermark_permille = below(&dice, 100),
    };
    Error error;
    cr_assert_eq(sched_open(&w->options, &w->scheduler, &error), OK, "%s", error.text);
    const uint32_t plans_max = 1 + below(&dice, SCHED_PLANS_MAX);
    const Batch *open[SCHED_PLANS_MAX];
    uint32_t open_count = 0;
    bool failed = false; // what is open behind a failed step fails too
    for (uint32_t step = 0; w->ended < w->added || w->added < REQUESTS || open_count > 0; step++) {
        cr_assert_lt(step, 20000, "seed %llu does not end: %u of %u", (unsigned long long)seed,
                     w->ended, w->added);
        w->now_ms += below(&dice, 20);
        sched_tick(w->scheduler, w->now_ms);
        add_requests(w, &dice);
        tell_sets(w, &dice);
        while (open_count < plans_max && !failed &&
               (open[open_count] = sched_plan(w->scheduler)) != NULL) {
            open_count++;
            sched_check_all(w->scheduler);
            cancel_some(w, &dice);
        }
        sched_check_all(w->scheduler);
        failed = open_count > 0 && (failed || below(&dice, 200) == 0);
        take_step(w, &dice, open_count > 0 ? open[0] : NULL, failed);
        open_count -= open_count > 0;
        open[0] = open[1];
        failed = failed && open_count > 0;
        sched_check_all(w->scheduler);
    }
    SchedulerStats stats = sched_stats(w->scheduler);
    cr_assert_eq(stats.pages_used[0] + stats.pages_used[1], 0, "seed %llu leaks pages",
                 (unsigned long long)seed);
    cr_assert_eq(stats.running + stats.waiting, 0);
    sched_close(w->scheduler);
    return stats;
}

Test(sched, every_row_sees_its_own_past_and_every_sequence_ends_in_random_runs) {
    uint64_t preemptions = 0, hits = 0, dead = 0;
    const char *one = getenv("TESSERA_SEED");
    uint64_t first = one != NULL ? strtoull(one, NULL, 10) : 1, last = one != NULL ? first : 1000;
    for (uint64_t seed = first; seed <= last; seed++) {
        SchedulerStats stats = random_run(seed);
        preemptions += stats.preemptions;
        hits += stats.prefix_hit_tokens;
        dead += stats.dead_rows;
    }
    if (one == NULL) { // the runs must be hard enough to mean something
        cr_assert_gt(preemptions, 1000, "%llu preemptions", (unsigned long long)preemptions);
        cr_assert_gt(hits, 100000, "%llu tokens from the prefix cache", (unsigned long long)hits);
        cr_assert_gt(dead, 1000, "%llu dead rows", (unsigned long long)dead);
    }
}
