// SPDX-License-Identifier: Apache-2.0
#include "tests/support/batch_builder.h"

#include "base/check.h"
#include "base/num.h"
#include "base/prng.h"

#include <stdlib.h>
#include <string.h>

typedef struct Sequence {
    int32_t *tokens; // [tokens_max]
    uint32_t token_count, computed;
    uint32_t prompt_count;
    BuilderImage images[BUILDER_IMAGES_MAX];
    uint32_t image_count;
    BuilderClip clips[BUILDER_CLIPS_MAX];
    uint32_t clip_count;
    Sampling sampling;
    uint32_t *pages[PAGE_KIND_COUNT]; // entry i: page of positions (skip + i) * KV_PAGE_TOKENS on
    uint32_t page_count[PAGE_KIND_COUNT], page_skip[PAGE_KIND_COUNT];
} Sequence;

struct BatchBuilder {
    BuilderOptions options;
    Sequence *sequences;
    uint32_t sequence_count;
    uint32_t *free_pages[PAGE_KIND_COUNT];
    uint32_t free_count[PAGE_KIND_COUNT];
    // The step being built.
    bool finished;
    uint32_t row_limit, table_limit;
    Batch batch;
    int32_t *tokens;
    uint32_t *positions, *sliding_end, *row_sequence;
    BatchSequence *batch_sequences;
    BatchImage *images;
    BatchAudio *audios;
    uint32_t *tables[PAGE_KIND_COUNT];
};

static void *take(size_t count, size_t bytes) {
    void *memory = calloc(count == 0 ? 1 : count, bytes);
    REQUIRE(memory != NULL);
    return memory;
}

Sampling batch_builder_greedy(void) {
    return (Sampling){.top_p = 1.0f, .repetition_penalty = 1.0f};
}

BatchBuilder *batch_builder_open(const BuilderOptions *options) {
    BatchBuilder *b = take(1, sizeof *b);
    b->options = *options;
    b->sequences = take(options->sequences_max, sizeof *b->sequences);
    b->row_limit = options->sequences_max * options->tokens_max;
    uint32_t pages_each = (uint32_t)num_ceil_div(options->tokens_max, KV_PAGE_TOKENS);
    b->table_limit = options->sequences_max * pages_each;
    b->tokens = take(b->row_limit, sizeof *b->tokens);
    b->positions = take(b->row_limit, sizeof *b->positions);
    b->sliding_end = take(b->row_limit, sizeof *b->sliding_end);
    b->row_sequence = take(b->row_limit, sizeof *b->row_sequence);
    b->batch_sequences = take(options->sequences_max, sizeof *b->batch_sequences);
    b->images = take((size_t)options->sequences_max * BUILDER_IMAGES_MAX, sizeof *b->images);
    b->audios = take((size_t)options->sequences_max * BUILDER_CLIPS_MAX, sizeof *b->audios);
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        b->tables[kind] = take(b->table_limit, sizeof *b->tables[kind]);
        b->free_count[kind] = options->pages[kind];
        b->free_pages[kind] = take(options->pages[kind], sizeof *b->free_pages[kind]);
        for (uint32_t p = 0; p < options->pages[kind]; p++) {
            // Fisher-Yates, inside out.
            uint32_t other =
                (uint32_t)(prng_u64(options->seed, (uint64_t)kind, p) % ((uint64_t)p + 1));
            b->free_pages[kind][p] = b->free_pages[kind][other];
            b->free_pages[kind][other] = p;
        }
    }
    b->finished = true;
    return b;
}

void batch_builder_close(BatchBuilder *b) {
    for (uint32_t s = 0; s < b->sequence_count; s++) {
        free(b->sequences[s].tokens);
        for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
            free(b->sequences[s].pages[kind]);
        }
    }
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        free(b->free_pages[kind]);
        free(b->tables[kind]);
    }
    free(b->sequences);
    free(b->tokens);
    free(b->positions);
    free(b->sliding_end);
    free(b->row_sequence);
    free(b->batch_sequences);
    free(b->images);
    free(b->audios);
    free(b);
}

uint32_t batch_builder_add(BatchBuilder *b, const BuilderPrompt *prompt) {
    REQUIRE(b->sequence_count < b->options.sequences_max);
    REQUIRE(prompt->token_count <= b->options.tokens_max);
    Sequence *sequence = &b->sequences[b->sequence_count];
    sequence->tokens = take(b->options.tokens_max, sizeof *sequence->tokens);
    memcpy(sequence->tokens, prompt->tokens, prompt->token_count * sizeof *prompt->tokens);
    sequence->token_count = sequence->prompt_count = prompt->token_count;
    memcpy(sequence->images, prompt->images, sizeof sequence->images);
    sequence->image_count = prompt->image_count;
    memcpy(sequence->clips, prompt->clips, sizeof sequence->clips);
    sequence->clip_count = prompt->clip_count;
    sequence->sampling = prompt->sampling;
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        sequence->pages[kind] =
            take(num_ceil_div(b->options.tokens_max, KV_PAGE_TOKENS), sizeof(uint32_t));
    }
    return b->sequence_count++;
}

void batch_builder_push(BatchBuilder *b, uint32_t index, int32_t token) {
    Sequence *sequence = &b->sequences[index];
    REQUIRE(sequence->token_count < b->options.tokens_max);
    sequence->tokens[sequence->token_count++] = token;
}

void batch_builder_settle(BatchBuilder *b, uint32_t index, int32_t token) {
    Sequence *sequence = &b->sequences[index];
    REQUIRE(batch_token_is_drawn(sequence->tokens[sequence->token_count - 1]));
    sequence->tokens[sequence->token_count - 1] = token;
}

static void give_front(BatchBuilder *b, Sequence *sequence, int kind, uint32_t count) {
    for (uint32_t p = 0; p < count; p++) {
        b->free_pages[kind][b->free_count[kind]++] = sequence->pages[kind][p];
    }
    sequence->page_count[kind] -= count;
    sequence->page_skip[kind] += count;
    memmove(sequence->pages[kind], sequence->pages[kind] + count,
            sequence->page_count[kind] * sizeof(uint32_t));
}

void batch_builder_drop(BatchBuilder *b, uint32_t index) {
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        give_front(b, &b->sequences[index], kind, b->sequences[index].page_count[kind]);
    }
}

uint32_t batch_builder_length(const BatchBuilder *b, uint32_t index) {
    return b->sequences[index].token_count;
}

uint32_t batch_builder_left(const BatchBuilder *b, uint32_t index) {
    return b->sequences[index].token_count - b->sequences[index].computed;
}

static const BuilderImage *image_at(const Sequence *sequence, uint32_t position) {
    for (uint32_t i = 0; i < sequence->image_count; i++) {
        const BuilderImage *image = &sequence->images[i];
        if (position >= image->position_first &&
            position < image->position_first + image->patch_count) {
            return image;
        }
    }
    return NULL;
}

uint32_t batch_builder_chunk(const BatchBuilder *b, uint32_t index, uint32_t want) {
    const Sequence *sequence = &b->sequences[index];
    uint32_t end = sequence->computed + (uint32_t)num_min(want, batch_builder_left(b, index));
    const BuilderImage *cut = image_at(sequence, end);
    if (cut != NULL && end > cut->position_first) {
        end = cut->position_first > sequence->computed ? cut->position_first
                                                       : cut->position_first + cut->patch_count;
    }
    return end - sequence->computed;
}

static void cover(BatchBuilder *b, Sequence *sequence, uint32_t first, uint32_t end) {
    uint32_t window = b->options.window;
    uint32_t seen = first + 1 > window ? first + 1 - window : 0;
    uint32_t passed = seen / KV_PAGE_TOKENS;
    if (passed > sequence->page_skip[PAGE_SLIDING]) {
        give_front(b, sequence, PAGE_SLIDING, passed - sequence->page_skip[PAGE_SLIDING]);
    }
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        while ((sequence->page_skip[kind] + sequence->page_count[kind]) * KV_PAGE_TOKENS < end) {
            REQUIRE_MESSAGE(b->free_count[kind] > 0, "no free page of kind %d", kind);
            sequence->pages[kind][sequence->page_count[kind]++] =
                b->free_pages[kind][--b->free_count[kind]];
        }
    }
}

static void begin(BatchBuilder *b) {
    b->batch = (Batch){.tokens = b->tokens,
                       .positions = b->positions,
                       .sliding_end = b->sliding_end,
                       .row_sequence = b->row_sequence,
                       .sequences = b->batch_sequences,
                       .images = b->images,
                       .audios = b->audios};
    b->finished = false;
}

// The part of every clip that lies in `count` rows from position `first` on, `row` being its row.
static void add_clips(BatchBuilder *b, const Sequence *sequence, uint32_t row, uint32_t first,
                      uint32_t count) {
    for (uint32_t i = 0; i < sequence->clip_count; i++) {
        const BuilderClip *clip = &sequence->clips[i];
        size_t from = num_max(first, clip->position_first);
        size_t end = num_min(first + count, clip->position_first + clip->frame_count);
        if (from >= end) {
            continue;
        }
        b->audios[b->batch.audio_count++] =
            (BatchAudio){.row_first = row + (uint32_t)(from - first),
                         .frame_first = (uint32_t)(from - clip->position_first),
                         .frame_count = (uint32_t)(end - from),
                         .samples = clip->samples};
        for (size_t position = from; position < end; position++) {
            b->tokens[row + position - first] = -1;
        }
    }
}

static void add_tables(BatchBuilder *b, const Sequence *sequence, BatchSequence *out) {
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        out->page_first[kind] = b->batch.page_table_count[kind];
        out->page_count[kind] = sequence->page_count[kind];
        out->page_skip[kind] = sequence->page_skip[kind];
        memcpy(b->tables[kind] + b->batch.page_table_count[kind], sequence->pages[kind],
               sequence->page_count[kind] * sizeof(uint32_t));
        b->batch.page_table_count[kind] += sequence->page_count[kind];
        b->batch.pages[kind] = b->tables[kind];
    }
}

void batch_builder_rows(BatchBuilder *b, uint32_t index, uint32_t count) {
    if (b->finished) {
        begin(b);
    }
    Sequence *sequence = &b->sequences[index];
    uint32_t first = sequence->computed;
    REQUIRE(count > 0 && count <= batch_builder_left(b, index));
    REQUIRE(b->batch.row_count + count <= b->row_limit);
    cover(b, sequence, first, first + count);
    BatchSequence *out = &b->batch_sequences[b->batch.sequence_count];
    *out = (BatchSequence){.row_first = b->batch.row_count,
                           .row_count = count,
                           .position_first = first,
                           .sample_rows = first + count == sequence->token_count,
                           .sampling = sequence->sampling,
                           .draw = sequence->token_count - sequence->prompt_count,
                           .history = sequence->tokens,
                           .history_count = sequence->token_count,
                           .tag = index};
    int32_t last = sequence->tokens[sequence->token_count - 1];
    if (batch_token_is_drawn(last)) {
        out->history_count--;
        out->history_drawn = 1 + batch_drawn_index(last);
    }
    add_tables(b, sequence, out);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t position = first + i;
        uint32_t row = b->batch.row_count + i;
        const BuilderImage *image = image_at(sequence, position);
        b->tokens[row] = image == NULL ? sequence->tokens[position] : -1;
        b->positions[row] = position;
        b->sliding_end[row] =
            image == NULL ? position + 1 : image->position_first + image->patch_count;
        b->row_sequence[row] = b->batch.sequence_count;
        if (image != NULL && position == image->position_first) {
            REQUIRE(i + image->patch_count <= count);
            b->images[b->batch.image_count++] = (BatchImage){.row_first = row,
                                                             .patch_count = image->patch_count,
                                                             .pixels = image->pixels,
                                                             .positions = image->positions};
        }
    }
    add_clips(b, sequence, b->batch.row_count, first, count);
    b->batch.row_count += count;
    b->batch.sequence_count++;
    sequence->computed += count;
}

void batch_builder_draft(BatchBuilder *b, uint32_t count) {
    BatchSequence *last = &b->batch_sequences[b->batch.sequence_count - 1];
    REQUIRE(last->sample_rows == 1 && count <= last->row_count);
    last->sample_rows = count;
}

Batch *batch_builder_batch(BatchBuilder *b) {
    b->finished = true;
    return &b->batch;
}
