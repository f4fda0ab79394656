// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/world.h"

#include "base/check.h"
#include "base/hash.h"
#include "host/step/stepper.h"
#include "scheduler/replay.h"
#include "tests/sim/dice.h"
#include "tests/sim/fake_engine.h"

#include <stdlib.h>
#include <string.h>

enum {
    REQUESTS = 80,
    USERS = 5,
    TAGS = 40,
    TOKENS_MAX = 320,
    IMAGES_MAX = 2,
    PATCHES_MAX = 40,
    PATCH_BYTES = 4,
    PICTURES = 5,
    STOP_TOKEN = 7
};

typedef struct WorldRequest {
    bool live, cancelled;
    uint64_t deadline_ms;
    int32_t tokens[TOKENS_MAX];
    SequenceMedia images[IMAGES_MAX];
    SequenceRequest sequence;
    int32_t expected[TOKENS_MAX];
    uint32_t expected_count, got_count;
} WorldRequest;

typedef struct World {
    Dice dice;
    SchedulerOptions options;
    Scheduler *scheduler;
    Stepper *stepper;
    FakeEngine engine;
    uint8_t pixels[PICTURES][PATCHES_MAX * PATCH_BYTES];
    uint16_t positions[PATCHES_MAX][2];
    WorldRequest requests[TAGS]; // by tag
    uint32_t started, flood_user, flood_left;
    bool restless; // weights change and everything is cancelled now and then
    double now_ms;
    WorldReport *report;
} World;

// ---- Making -------------------------------------------------------------------------------------

static void world_options(World *w) {
    Dice *d = &w->dice;
    w->options = (SchedulerOptions){
        .rows_max = dice_between(d, 50, 160),
        .sequences_max = dice_between(d, 1, 9),
        .waiting_max = dice_below(d, 4) ? dice_between(d, 8, 80) : dice_below(d, 8),
        .tokens_max = dice_between(d, 60, TOKENS_MAX),
        .media_max = IMAGES_MAX,
        .window = dice_between(d, 8, 120),
        .users_max = dice_between(d, 1, USERS),
        .watermark_permille = dice_below(d, 120),
        .age_ms = dice_between(d, 1, 3000),
        .no_prefix_cache = dice_once_in(d, 8),
        .prefix_per_user = dice_once_in(d, 8),
        .prefix_seed = dice_below(d, UINT32_MAX),
    };
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) { // from hardly one sequence to plenty
        w->options.pages[kind] = dice_between(d, 8, 80);
    }
}

static void world_open(World *w, uint64_t seed, Buffer *recording) {
    w->dice = (Dice){.seed = seed};
    world_options(w);
    if (recording != NULL) {
        w->options.record = replay_record_to_buffer;
        w->options.record_context = recording;
    }
    const FakeModel model = {.window = w->options.window,
                             .patch_bytes = PATCH_BYTES,
                             .token_first = 10,
                             .token_count = 60,
                             .stop_token = STOP_TOKEN,
                             .stop_one_in = dice_below(&w->dice, 2) ? 25 : 0};
    Error error;
    REQUIRE_MESSAGE(sched_open(&w->options, &w->scheduler, &error) == OK, "%s", error.text);
    fake_engine_open(&model, dice_below(&w->dice, 2) ? &card_4090 : &card_3060, &w->options,
                     &w->now_ms, &w->engine);
    w->engine.fail_at_step = dice_once_in(&w->dice, 10) ? dice_between(&w->dice, 1, 300) : 0;
    w->engine.host_ms = dice_uniform(&w->dice) * 2;
    w->restless = dice_once_in(&w->dice, 4);
    w->report->ahead = dice_below(&w->dice, 2);
    const StepperOptions options = {.scheduler = w->scheduler,
                                    .sequences_max = w->options.sequences_max,
                                    .tags_max = TAGS,
                                    .begin = fake_engine_begin,
                                    .end = fake_engine_end,
                                    .context = &w->engine,
                                    .ahead = w->report->ahead};
    REQUIRE(stepper_open(&options, &w->stepper, &error) == OK);
    for (uint32_t i = 0; i < PICTURES; i++) {
        for (uint32_t j = 0; j < PATCHES_MAX * PATCH_BYTES; j++) {
            w->pixels[i][j] = (uint8_t)dice_below(&w->dice, 256);
        }
    }
    for (uint32_t i = 0; i < PATCHES_MAX; i++) {
        w->positions[i][0] = (uint16_t)(i % 8);
        w->positions[i][1] = (uint16_t)(i / 8);
    }
}

static void world_close(World *w) {
    SchedulerStats stats = sched_stats(w->scheduler);
    REQUIRE(!stepper_busy(w->stepper) && stats.running == 0 && stats.waiting == 0);
    REQUIRE(stats.pages_used[PAGE_SLIDING] == 0 && stats.pages_used[PAGE_FULL] == 0);
    REQUIRE(stats.queued_tokens == 0);
    w->report->scheduler = stats;
    w->report->steps = w->engine.steps;
    w->report->rows = w->engine.rows;
    w->report->virtual_ms = w->now_ms;
    w->report->busy_ms = w->engine.busy_ms;
    w->report->idle_ms = w->engine.idle_ms;
    stepper_close(w->stepper);
    sched_close(w->scheduler);
    fake_engine_close(&w->engine);
}

// ---- Requests -----------------------------------------------------------------------------------

// Prompts of a family begin alike, so that prefixes are shared; pictures are few.
static void make_prompt(World *w, WorldRequest *r, uint32_t token_count) {
    Dice *d = &w->dice;
    uint32_t family = dice_below(d, 3), differs_at = dice_below(d, 150);
    for (uint32_t i = 0; i < token_count; i++) {
        r->tokens[i] =
            (int32_t)(i < differs_at ? 10 + (family * 31 + i) % 60 : 10 + dice_below(d, 60));
    }
    uint32_t count = 0, next = dice_below(d, 2) ? 3 + family : dice_below(d, 60);
    for (uint32_t most = dice_below(d, IMAGES_MAX + 1); count < most; count++) {
        uint32_t patches = dice_between(d, 1, PATCHES_MAX), picture = dice_below(d, PICTURES);
        if (next + patches > token_count) {
            break;
        }
        Hash128 content = hash128((Bytes){w->pixels[picture], patches * PATCH_BYTES});
        r->images[count] = (SequenceMedia){MEDIA_PICTURE,
                                           next,
                                           patches,
                                           w->pixels[picture],
                                           w->positions[0],
                                           NULL,
                                           dice_once_in(d, 12) ? (Hash128){0} : content};
        next += patches + dice_below(d, 30);
    }
    r->sequence.tokens = r->tokens;
    r->sequence.token_count = token_count;
    r->sequence.media = r->images;
    r->sequence.media_count = count;
}

static const int32_t world_stop_ids[] = {1, STOP_TOKEN};

static void start_request(World *w, uint32_t tag, uint32_t user, uint32_t after_tag) {
    Dice *d = &w->dice;
    WorldRequest *r = &w->requests[tag];
    uint64_t now = (uint64_t)w->now_ms;
    *r = (WorldRequest){.live = true};
    bool wild = dice_once_in(d, 20); // may be too large for this scheduler
    make_prompt(w, r, dice_between(d, 1, wild ? TOKENS_MAX - 40 : w->options.tokens_max * 3 / 4));
    if (after_tag != STEPPER_NO_TAG) { // another sample of the same prompt
        const WorldRequest *first = &w->requests[after_tag];
        memcpy(r->tokens, first->tokens, sizeof r->tokens);
        memcpy(r->images, first->images, sizeof r->images);
        r->sequence.token_count = first->sequence.token_count;
        r->sequence.media_count = first->sequence.media_count;
    }
    r->deadline_ms = dice_once_in(d, 8) ? now + 1 + dice_below(d, 1500) : 0;
    r->sequence.new_tokens_max = dice_between(d, 1, 40);
    r->sequence.stop_ids = world_stop_ids;
    r->sequence.stop_count = 2;
    r->sequence.sampling = (Sampling){.temperature = dice_below(d, 2) ? 1.0f : 0.0f,
                                      .top_p = 1.0f,
                                      .repetition_penalty = 1.0f,
                                      .seed = dice_below(d, 1000)};
    r->sequence.tag = tag;
    r->sequence.user = user;
    r->sequence.priority = dice_once_in(d, 3) ? PRIORITY_BATCH : PRIORITY_INTERACTIVE;
    r->sequence.deadline_ms = r->deadline_ms;
    r->expected_count = fake_lone_run(&w->engine.model, &r->sequence, r->expected);
    const StepperCommand add = {
        .kind = STEPPER_ADD, .tag = tag, .sequence = &r->sequence, .after_tag = after_tag};
    stepper_command(w->stepper, &add);
    w->started++;
    w->report->requests++;
}

static void cancel_request(World *w, uint32_t tag) {
    w->requests[tag].cancelled = true;
    stepper_command(w->stepper, &(StepperCommand){.kind = STEPPER_CANCEL, .tag = tag});
}

static uint32_t free_tag(const World *w) {
    for (uint32_t tag = 0; tag < TAGS; tag++) {
        if (!w->requests[tag].live) {
            return tag;
        }
    }
    return STEPPER_NO_TAG;
}

static void arrivals(World *w) {
    Dice *d = &w->dice;
    if (dice_once_in(d, 40)) {
        w->flood_user = dice_below(d, w->options.users_max);
        w->flood_left = dice_between(d, 5, 30);
    }
    uint32_t tag, last = STEPPER_NO_TAG;
    while (w->started < REQUESTS && (tag = free_tag(w)) != STEPPER_NO_TAG &&
           (w->flood_left > 0 || dice_once_in(d, 3))) {
        uint32_t user = w->flood_left > 0 ? w->flood_user : dice_below(d, w->options.users_max);
        w->flood_left -= w->flood_left > 0;
        bool sample = last != STEPPER_NO_TAG && dice_once_in(d, 3);
        start_request(w, tag, user, sample ? last : STEPPER_NO_TAG);
        last = tag;
    }
}

static void disturbances(World *w) {
    Dice *d = &w->dice;
    if (dice_once_in(d, 15)) {
        cancel_request(w, dice_below(d, TAGS)); // perhaps of nobody, perhaps for the second time
    }
    if (w->restless && dice_once_in(d, 60)) {
        for (uint32_t tag = 0; tag < TAGS; tag++) {
            cancel_request(w, tag);
        }
    }
    if (w->restless && dice_once_in(d, 20)) {
        const StepperCommand weight = {.kind = STEPPER_USER,
                                       .user = dice_below(d, w->options.users_max),
                                       .weight = 0.25 + dice_below(d, 8)};
        stepper_command(w->stepper, &weight);
    }
}

// ---- Endings ------------------------------------------------------------------------------------

static void take_token(WorldRequest *r, const SchedulerEvent *event) {
    REQUIRE_MESSAGE(r->got_count < r->expected_count, "more tokens than alone");
    REQUIRE_MESSAGE(event->chosen.token == r->expected[r->got_count], "token %u is %d and alone %d",
                    r->got_count, event->chosen.token, r->expected[r->got_count]);
    r->got_count++;
    bool last = r->got_count == r->expected_count;
    bool stop = event->chosen.token == STOP_TOKEN;
    REQUIRE(event->finish == (!last ? FINISH_NONE : stop ? FINISH_STOP : FINISH_LENGTH));
}

static void take_ending(World *w, WorldRequest *r, const StepperEvent *event) {
    FinishReason finish = event->event.finish;
    w->report->cancelled += finish == FINISH_CANCEL;
    w->report->expired += finish == FINISH_DEADLINE;
    w->report->failed += finish == FINISH_FAILED;
    REQUIRE(finish == FINISH_CANCEL || finish == FINISH_DEADLINE || finish == FINISH_FAILED);
    REQUIRE(finish != FINISH_CANCEL || r->cancelled);
    REQUIRE(finish != FINISH_DEADLINE ||
            (r->deadline_ms > 0 && r->deadline_ms <= (uint64_t)w->now_ms));
    REQUIRE(finish != FINISH_FAILED ||
            (event->status == E_DEVICE && stepper_error(w->stepper) != NULL));
}

static void take_event(World *w, const StepperEvent *event) {
    WorldRequest *r = &w->requests[event->tag];
    REQUIRE_MESSAGE(r->live, "tag %u: an event after its end", event->tag);
    if (event->kind == STEPPER_TOKEN) {
        take_token(r, &event->event);
        r->live = event->event.finish == FINISH_NONE;
        w->report->answered += !r->live;
        return;
    }
    if (event->kind == STEPPER_ENDED) {
        take_ending(w, r, event);
    } else {
        Status s = event->status;
        w->report->refused++;
        REQUIRE_MESSAGE(s == E_BUSY || s == E_CONTEXT, "refused with %s: %s", status_name(s),
                        event->text);
        REQUIRE(r->got_count == 0 && event->text[0] != '\0');
    }
    r->live = false;
}

static void world_step(World *w) {
    const StepperEvent *events;
    stepper_tick(w->stepper, (uint64_t)w->now_ms);
    size_t count = stepper_step(w->stepper, &events);
    for (size_t i = 0; i < count; i++) {
        take_event(w, &events[i]);
    }
    sched_check_all(w->scheduler);
    if (!stepper_busy(w->stepper)) {
        w->now_ms += dice_below(&w->dice, 400); // nobody is there for a while
        w->engine.ready_ms = w->now_ms;
    }
}

void world_run(uint64_t seed, Buffer *recording, WorldReport *report) {
    World *w = calloc(1, sizeof *w);
    REQUIRE(w != NULL);
    *report = (WorldReport){0};
    w->report = report;
    world_open(w, seed, recording);
    for (uint32_t turn = 0; w->started < REQUESTS || stepper_busy(w->stepper); turn++) {
        REQUIRE_MESSAGE(turn < 50000, "it does not end");
        arrivals(w);
        disturbances(w);
        world_step(w);
    }
    for (uint32_t tag = 0; tag < TAGS; tag++) {
        REQUIRE_MESSAGE(!w->requests[tag].live, "tag %u has no ending", tag);
    }
    world_close(w);
    free(w);
}
