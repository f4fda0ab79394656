// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/fake_engine.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/prng.h"

#include <stdlib.h>
#include <string.h>

#define SLIDING_MARK UINT64_C(0x5111d1295111d129) // the two kinds must not be mixed up

void fake_engine_open(const FakeModel *model, const Card *card, const SchedulerOptions *options,
                      double *now_ms, FakeEngine *out) {
    *out = (FakeEngine){.model = *model, .card = card, .now_ms = now_ms};
    out->history = calloc(options->tokens_max, sizeof *out->history);
    out->drawn = calloc(options->sequences_max, sizeof *out->drawn);
    REQUIRE(out->history != NULL && out->drawn != NULL);
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        out->pages[kind] = options->pages[kind];
        out->kv[kind] = calloc((size_t)options->pages[kind] * KV_PAGE_TOKENS, sizeof(uint64_t));
        REQUIRE(out->kv[kind] != NULL);
    }
}

void fake_engine_close(FakeEngine *engine) {
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        free(engine->kv[kind]);
    }
    free(engine->history);
    free(engine->drawn);
    *engine = (FakeEngine){0};
}

// ---- What a position leaves behind --------------------------------------------------------------

static uint64_t image_hash(const FakeModel *model, const uint8_t *pixels, const uint16_t *positions,
                           uint32_t patch_count) {
    uint64_t hash = hash64((Bytes){pixels, (size_t)patch_count * model->patch_bytes}, 1);
    return hash64((Bytes){(const uint8_t *)positions, patch_count * 2 * sizeof *positions}, hash);
}

static uint64_t patch_word(uint64_t image, uint32_t patch) {
    uint64_t words[] = {image, patch};
    return hash64((Bytes){(const uint8_t *)words, sizeof words}, 2);
}

// The two positions besides the last that row `position` looks at: anywhere before it, and inside
// its window.
static void probes(const FakeModel *model, uint32_t position, uint32_t out[PAGE_KIND_COUNT]) {
    uint32_t from = position + 1 > model->window ? position + 1 - model->window : 0;
    uint64_t draw = prng_u64(3, position, 0);
    out[PAGE_FULL] = (uint32_t)(draw % position);
    out[PAGE_SLIDING] = from < position ? from + (uint32_t)((draw >> 32) % (position - from)) : 0;
}

// seen: the previous position and the probe of each kind; zeros for the first position.
static uint64_t position_value(const uint64_t seen[2 * PAGE_KIND_COUNT], uint64_t word) {
    uint64_t all[2 * PAGE_KIND_COUNT + 1];
    memcpy(all, seen, 2 * PAGE_KIND_COUNT * sizeof *all);
    all[2 * PAGE_KIND_COUNT] = word;
    return hash64((Bytes){(const uint8_t *)all, sizeof all}, 4);
}

static int32_t draw_token(const FakeModel *model, uint64_t last, const int32_t *history,
                          uint32_t history_count, const Sampling *sampling, uint64_t draw) {
    uint64_t all[] = {last, hash64((Bytes){(const uint8_t *)history, 4 * (size_t)history_count}, 5),
                      sampling->temperature > 0 ? sampling->seed : 0, draw};
    uint64_t hash = hash64((Bytes){(const uint8_t *)all, sizeof all}, 6);
    if (model->stop_one_in > 0 && hash % (uint64_t)model->stop_one_in == 0) {
        return model->stop_token;
    }
    return model->token_first + (int32_t)((hash >> 20) % (uint64_t)model->token_count);
}

// ---- A step -------------------------------------------------------------------------------------

static uint64_t *kv_at(FakeEngine *engine, const Batch *b, const BatchSequence *q, int kind,
                       uint32_t position) {
    uint32_t logical = position / KV_PAGE_TOKENS;
    REQUIRE_MESSAGE(logical >= q->page_skip[kind] &&
                        logical - q->page_skip[kind] < q->page_count[kind],
                    "position %u has no page of kind %d", position, kind);
    uint32_t page = b->pages[kind][q->page_first[kind] + logical - q->page_skip[kind]];
    REQUIRE(page < engine->pages[kind]);
    return &engine->kv[kind][(size_t)page * KV_PAGE_TOKENS + position % KV_PAGE_TOKENS];
}

static int32_t drawn_token(const FakeEngine *engine, uint32_t sample) {
    REQUIRE_MESSAGE(sample < engine->drawn_count, "sample %u of a step with %u", sample,
                    engine->drawn_count);
    return engine->drawn[sample];
}

static uint64_t row_word(FakeEngine *engine, const Batch *b, uint32_t row, uint32_t *next_image,
                         uint64_t *image) {
    uint32_t position = b->positions[row];
    if (*next_image < b->image_count && b->images[*next_image].row_first == row) {
        const BatchImage *now = &b->images[*next_image];
        *image = image_hash(&engine->model, now->pixels, now->positions, now->patch_count);
        engine->images++;
        ++*next_image;
    }
    const BatchImage *last = *next_image > 0 ? &b->images[*next_image - 1] : NULL;
    bool inside = last != NULL && row - last->row_first < last->patch_count;
    int32_t token = b->tokens[row];
    REQUIRE_MESSAGE((token == BATCH_TOKEN_MEDIA) == inside, "row %u: token %d, inside an image: %d",
                    row, token, inside);
    token = batch_token_is_drawn(token) ? drawn_token(engine, batch_drawn_index(token)) : token;
    uint32_t end = inside ? position - (row - last->row_first) + last->patch_count : position + 1;
    REQUIRE(b->sliding_end[row] == end);
    return inside ? patch_word(*image, row - last->row_first) : (uint32_t)token;
}

static uint64_t run_row(FakeEngine *engine, const Batch *b, const BatchSequence *q,
                        uint32_t position, uint64_t word) {
    uint64_t seen[2 * PAGE_KIND_COUNT] = {0};
    if (position > 0) {
        uint32_t at[PAGE_KIND_COUNT];
        probes(&engine->model, position, at);
        for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
            bool sees = kind == PAGE_FULL || engine->model.window > 1;
            seen[2 * kind] = sees ? *kv_at(engine, b, q, kind, position - 1) : 0;
            seen[2 * kind + 1] = sees ? *kv_at(engine, b, q, kind, at[kind]) : 0;
        }
    }
    uint64_t value = position_value(seen, word);
    *kv_at(engine, b, q, PAGE_FULL, position) = value;
    *kv_at(engine, b, q, PAGE_SLIDING, position) = value ^ SLIDING_MARK;
    return value;
}

static int32_t draw_for(FakeEngine *engine, const BatchSequence *q, uint64_t last) {
    const int32_t *history = q->history;
    uint32_t count = q->history_count;
    if (q->history_drawn > 0) {
        memcpy(engine->history, history, count * sizeof *history);
        engine->history[count++] = drawn_token(engine, q->history_drawn - 1);
        history = engine->history;
    }
    return draw_token(&engine->model, last, history, count, &q->sampling, q->draw);
}

static void run_copies(FakeEngine *engine, const Batch *b) {
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        for (uint32_t i = 0; i < b->copy_count[kind]; i++) {
            memcpy(engine->kv[kind] + (size_t)b->copy_to[kind][i] * KV_PAGE_TOKENS,
                   engine->kv[kind] + (size_t)b->copy_from[kind][i] * KV_PAGE_TOKENS,
                   KV_PAGE_TOKENS * sizeof(uint64_t));
        }
    }
}

static void run_batch(FakeEngine *engine, const Batch *b, StepResult *result) {
    run_copies(engine, b);
    uint32_t next_image = 0;
    uint64_t image = 0;
    for (uint32_t i = 0; i < b->sequence_count; i++) {
        const BatchSequence *q = &b->sequences[i];
        uint64_t value = 0;
        for (uint32_t row = q->row_first; row < q->row_first + q->row_count; row++) {
            REQUIRE(b->row_sequence[row] == i);
            REQUIRE(b->positions[row] == q->position_first + row - q->row_first);
            uint64_t word = row_word(engine, b, row, &next_image, &image);
            value = run_row(engine, b, q, b->positions[row], word);
        }
        if (q->sample_rows) {
            result->samples[result->sample_count++] =
                (StepSample){.tag = q->tag, .chosen = {.token = draw_for(engine, q, value)}};
        }
    }
    engine->rows += b->row_count;
    engine->drawn_count = result->sample_count;
    for (uint32_t i = 0; i < result->sample_count; i++) {
        engine->drawn[i] = result->samples[i].chosen.token;
    }
}

static bool has_failed(const FakeEngine *engine) {
    return engine->fail_at_step > 0 && engine->steps >= engine->fail_at_step;
}

static Status say_failed(Error *error) {
    return error_set(error, E_DEVICE, "the simulated card fell off its bus");
}

Status fake_engine_begin(void *context, const Batch *b, Error *error) {
    FakeEngine *engine = context;
    REQUIRE(engine->begun_count < FAKE_STEPS_MAX);
    *engine->now_ms += engine->host_ms;
    if (has_failed(engine)) {
        return say_failed(error);
    }
    if (*engine->now_ms > engine->ready_ms) {
        engine->idle_ms += engine->steps > 0 ? *engine->now_ms - engine->ready_ms : 0;
        engine->ready_ms = *engine->now_ms;
    }
    double step_ms = card_step_ms(engine->card, b);
    engine->busy_ms += step_ms;
    engine->ready_ms += step_ms;
    engine->begun[engine->begun_count++] =
        (FakeStep){b, engine->ready_ms - step_ms, engine->ready_ms};
    return OK;
}

Status fake_engine_end(void *context, StepResult *result, Error *error) {
    FakeEngine *engine = context;
    REQUIRE(engine->begun_count > 0);
    FakeStep step = engine->begun[0];
    engine->begun[0] = engine->begun[1];
    engine->begun_count--;
    *engine->now_ms = *engine->now_ms > step.done_ms ? *engine->now_ms : step.done_ms;
    engine->steps++;
    result->sample_count = 0;
    if (has_failed(engine)) {
        return say_failed(error);
    }
    run_batch(engine, step.batch, result);
    return OK;
}

// ---- Alone --------------------------------------------------------------------------------------

static uint64_t lone_value(const FakeModel *model, const uint64_t *values, uint32_t position,
                           uint64_t word) {
    uint64_t seen[2 * PAGE_KIND_COUNT] = {0};
    if (position > 0) {
        uint32_t at[PAGE_KIND_COUNT];
        probes(model, position, at);
        seen[2 * PAGE_FULL] = values[position - 1];
        seen[2 * PAGE_FULL + 1] = values[at[PAGE_FULL]];
        if (model->window > 1) {
            seen[2 * PAGE_SLIDING] = values[position - 1] ^ SLIDING_MARK;
            seen[2 * PAGE_SLIDING + 1] = values[at[PAGE_SLIDING]] ^ SLIDING_MARK;
        }
    }
    return position_value(seen, word);
}

static bool is_stop(const SequenceRequest *request, int32_t token) {
    for (uint32_t i = 0; i < request->stop_count; i++) {
        if (request->stop_ids[i] == token) {
            return true;
        }
    }
    return false;
}

uint32_t fake_lone_run(const FakeModel *model, const SequenceRequest *r, int32_t *out) {
    uint32_t total = r->token_count + r->new_tokens_max;
    uint64_t *values = calloc(total, sizeof *values);
    int32_t *history = calloc(total, sizeof *history);
    REQUIRE(values != NULL && history != NULL);
    memcpy(history, r->tokens, r->token_count * sizeof *history);
    uint32_t image = 0, drawn = 0;
    uint64_t content = 0;
    for (uint32_t p = 0; p < r->token_count; p++) {
        if (image < r->media_count &&
            p >= r->media[image].position_first + r->media[image].row_count) {
            image++;
        }
        const SequenceMedia *here = image < r->media_count ? &r->media[image] : NULL;
        uint64_t word = (uint32_t)r->tokens[p];
        if (here != NULL && p >= here->position_first) {
            if (p == here->position_first) {
                content = image_hash(model, here->pixels, here->positions, here->row_count);
            }
            word = patch_word(content, p - here->position_first);
        }
        values[p] = lone_value(model, values, p, word);
    }
    for (uint32_t p = r->token_count;; p++) {
        int32_t token = draw_token(model, values[p - 1], history, p, &r->sampling, drawn);
        out[drawn++] = token;
        if (drawn == r->new_tokens_max || is_stop(r, token)) {
            break;
        }
        history[p] = token;
        values[p] = lone_value(model, values, p, (uint32_t)token);
    }
    free(values);
    free(history);
    return drawn;
}
