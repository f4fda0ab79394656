// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/fairness.h"

#include "base/check.h"
#include "host/step/step_pace.h"
#include "tests/sim/dice.h"
#include "tests/sim/fake_engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    USERS = 10, // user 0 is the heavy one
    PLACES = 64,
    WAITING = 4000,
    ROWS = 512,
    PROMPT = 330,
    IMAGE_FIRST = 20,
    IMAGE = 280,
    OUTPUT = 80,
    LONGEST = 450
};

typedef struct Crowd {
    Dice dice;
    Scheduler *scheduler;
    FakeEngine engine;
    bool ahead;
    StepPace pace;
    double now_ms;
    double started_ms[PLACES + WAITING]; // by tag
    bool begun[PLACES + WAITING], first_seen[PLACES + WAITING];
    uint32_t tag_of[PLACES + WAITING];         // by slot of the scheduler
    uint32_t in_flight[USERS], waiting[USERS]; // of these the ones that no step had
    uint32_t user_of[PLACES + WAITING], free_tags[PLACES + WAITING], free_count;
    double *waits_ms; // time to first token of light users
    uint64_t wait_count, wait_max, tokens;
    SchedulerEvent events[2 * PLACES + WAITING];
    StepSample samples[PLACES];
} Crowd;

static uint8_t no_pixels[IMAGE];
static uint16_t no_positions[IMAGE][2];

static Crowd *crowd_open(uint64_t seed, bool ahead) {
    Crowd *c = calloc(1, sizeof *c);
    REQUIRE(c != NULL);
    c->dice = (Dice){.seed = seed};
    c->ahead = ahead;
    uint32_t pages = PLACES * (LONGEST / KV_PAGE_TOKENS + 1);
    const SchedulerOptions options = {.rows_max = ROWS,
                                      .sequences_max = PLACES,
                                      .waiting_max = WAITING,
                                      .tokens_max = LONGEST,
                                      .media_max = 1,
                                      .window = 1024,
                                      .pages = {pages, pages},
                                      .users_max = USERS};
    Error error;
    REQUIRE(sched_open(&options, &c->scheduler, &error) == OK);
    const FakeModel model = {
        .window = 1024, .patch_bytes = 1, .token_first = 1, .token_count = 100};
    fake_engine_open(&model, &card_4090, &options, &c->now_ms, &c->engine);
    for (uint32_t tag = 0; tag < PLACES + WAITING; tag++) {
        c->free_tags[c->free_count++] = tag;
    }
    c->wait_max = 2000;
    c->waits_ms = calloc(c->wait_max, sizeof *c->waits_ms);
    REQUIRE(c->waits_ms != NULL);
    return c;
}

static void crowd_close(Crowd *c) {
    sched_close(c->scheduler);
    fake_engine_close(&c->engine);
    free(c->waits_ms);
    free(c);
}

static void crowd_add(Crowd *c, uint32_t user, uint32_t prompt, uint32_t output, double came_ms) {
    int32_t tokens[LONGEST];
    for (uint32_t i = 0; i < prompt; i++) {
        tokens[i] = (int32_t)dice_below(&c->dice, 1000); // nobody shares a page
    }
    const SequenceMedia picture = {MEDIA_PICTURE,   IMAGE_FIRST, IMAGE, no_pixels,
                                   no_positions[0], NULL,        {0}};
    REQUIRE(c->free_count > 0);
    uint32_t tag = c->free_tags[--c->free_count];
    const SequenceRequest request = {.tokens = tokens,
                                     .token_count = prompt,
                                     .media = &picture,
                                     .media_count = 1,
                                     .new_tokens_max = output,
                                     .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f},
                                     .tag = tag,
                                     .user = user};
    uint64_t handle;
    Error error;
    REQUIRE_MESSAGE(sched_add(c->scheduler, &request, &handle, &error) == OK, "%s", error.text);
    c->started_ms[tag] = came_ms;
    c->begun[tag] = c->first_seen[tag] = false;
    c->tag_of[(uint32_t)handle] = tag;
    c->user_of[tag] = user;
    c->in_flight[user]++;
    c->waiting[user]++;
}

static void crowd_event(Crowd *c, const SchedulerEvent *event) {
    uint32_t tag = (uint32_t)event->tag, user = c->user_of[tag];
    c->tokens++;
    if (!c->first_seen[tag] && user > 0 && c->wait_count < c->wait_max) {
        c->waits_ms[c->wait_count++] = c->now_ms - c->started_ms[tag];
    }
    c->first_seen[tag] = true;
    if (event->finish != FINISH_NONE) {
        c->in_flight[user]--;
        c->free_tags[c->free_count++] = tag;
    }
}

static void crowd_begin(Crowd *c) {
    const Batch *batch = sched_plan(c->scheduler);
    Error error;
    for (uint32_t i = 0; batch != NULL && i < batch->sequence_count; i++) {
        uint32_t tag = c->tag_of[(uint32_t)batch->sequences[i].tag];
        c->waiting[c->user_of[tag]] -= !c->begun[tag];
        c->begun[tag] = true;
    }
    if (batch != NULL) {
        REQUIRE(fake_engine_begin(&c->engine, batch, &error) == OK);
    }
}

// As the server's step thread: the next plan is made late in the step under way.
static void crowd_wait(Crowd *c) {
    if (c->engine.begun_count > 0) {
        const FakeStep *step = &c->engine.begun[0];
        uint64_t wait_ns = step_pace_wait_ns(&c->pace, step->batch->row_count);
        c->now_ms = fmax(c->now_ms, step->begin_ms + (double)wait_ns * 1e-6);
    }
}

// False when nothing could run.
static bool crowd_step(Crowd *c) {
    sched_tick(c->scheduler, (uint64_t)c->now_ms);
    for (uint32_t i = c->engine.begun_count; i < (c->ahead ? SCHED_PLANS_MAX : 1); i++) {
        crowd_begin(c);
    }
    if (c->engine.begun_count == 0) {
        return false;
    }
    const FakeStep step = c->engine.begun[0];
    step_pace_note(&c->pace, step.batch->row_count,
                   (uint64_t)((step.done_ms - step.begin_ms) * 1e6));
    StepResult result = {.samples = c->samples};
    Error error;
    REQUIRE(fake_engine_end(&c->engine, &result, &error) == OK);
    size_t count = sched_commit(c->scheduler, &result, c->events, 2 * PLACES + WAITING);
    for (size_t i = 0; i < count; i++) {
        crowd_event(c, &c->events[i]);
    }
    return true;
}

// ---- The gap ------------------------------------------------------------------------------------

FairnessGap fairness_gap(uint64_t seed, bool ahead) {
    Crowd *c = crowd_open(seed, ahead);
    FairnessGap gap = {.bound = 2.0 * PLACES * LONGEST};
    for (uint32_t step = 0; step < 3000; step++) {
        for (uint32_t user = 0; user < USERS; user++) {
            uint32_t keep = user == 0 ? 100 : 10;
            while (c->waiting[user] < keep) {
                uint32_t prompt = user == 0 ? LONGEST - 120 : IMAGE_FIRST + IMAGE + 10;
                crowd_add(c, user, prompt, user == 0 ? 120 : 20 + 8 * user, c->now_ms);
            }
        }
        crowd_step(c);
        double low = HUGE_VAL, high = 0;
        for (uint32_t user = 0; user < USERS; user++) {
            double service = sched_user_service(c->scheduler, user);
            low = fmin(low, service);
            high = fmax(high, service);
        }
        gap.gap = fmax(gap.gap, high - low);
        gap.service = low;
    }
    crowd_close(c);
    return gap;
}

// ---- The wait for a first token -----------------------------------------------------------------

static int compare_double(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

FairnessLatency fairness_latency(uint64_t seed, bool ahead, double think_ms, bool with_heavy) {
    Crowd *c = crowd_open(seed, ahead);
    Dice arrivals = {.seed = seed + 1}; // the same with and without the heavy user
    double next_ms[USERS];
    for (uint32_t user = 1; user < USERS; user++) {
        next_ms[user] = dice_uniform(&arrivals) * think_ms;
    }
    while (c->wait_count < c->wait_max) {
        crowd_wait(c);
        double soonest_ms = HUGE_VAL;
        for (uint32_t user = 1; user < USERS; user++) {
            bool busy = c->in_flight[user] > 0;
            if (!busy && next_ms[user] < 0) { // its answer has come: it thinks
                next_ms[user] = c->now_ms - log(1.0 - dice_uniform(&arrivals)) * think_ms;
            }
            if (!busy && next_ms[user] <= c->now_ms) {
                uint32_t output = OUTPUT / 2 + dice_below(&arrivals, OUTPUT);
                crowd_add(c, user, PROMPT, output, next_ms[user]);
                next_ms[user] = -1;
            }
            soonest_ms = fmin(soonest_ms, busy || next_ms[user] < 0 ? HUGE_VAL : next_ms[user]);
        }
        while (with_heavy && c->waiting[0] < 100) {
            crowd_add(c, 0, PROMPT, OUTPUT / 2 + dice_below(&c->dice, OUTPUT), c->now_ms);
        }
        if (!crowd_step(c)) {
            c->now_ms = soonest_ms;
        }
    }
    qsort(c->waits_ms, c->wait_count, sizeof *c->waits_ms, compare_double);
    FairnessLatency out = {
        .count = c->wait_count,
        .first_token_p50_ms = c->waits_ms[c->wait_count / 2],
        .first_token_p99_ms = c->waits_ms[c->wait_count * 99 / 100],
        .tokens_per_second = (double)c->tokens / c->now_ms * 1e3,
    };
    crowd_close(c);
    return out;
}
