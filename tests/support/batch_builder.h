// SPDX-License-Identifier: Apache-2.0
// Batches by hand, for tests and benches of the engine without the scheduler. The caller says how
// many rows of which sequence the next step computes; the builder fills every array of the Batch,
// takes pages (in a scrambled order, so that no test passes because pages happen to be consecutive)
// and gives sliding pages back once the window has passed them.
//
//     BatchBuilder *b = batch_builder_open(&options);
//     uint32_t s = batch_builder_add(b, &prompt);
//     batch_builder_rows(b, s, 7);                      // the next 7 tokens of s
//     engine_step(engine, batch_builder_batch(b), ...); // samples when its last token is computed
//     batch_builder_push(b, s, token);                  // one more token to compute
#ifndef TESTS_SUPPORT_BATCH_BUILDER_H
#define TESTS_SUPPORT_BATCH_BUILDER_H

#include "scheduler/batch.h"

typedef struct BatchBuilder BatchBuilder;

typedef struct BuilderOptions {
    uint32_t sequences_max;
    uint32_t tokens_max; // of one sequence
    uint32_t window;
    uint32_t patch_values;
    uint32_t pages[PAGE_KIND_COUNT];
    uint64_t seed; // of the page order
} BuilderOptions;

typedef struct BuilderImage {
    uint32_t position_first;
    uint32_t patch_count;
    const uint8_t *pixels;     // [patch_count][patch_values], borrowed
    const uint16_t *positions; // [patch_count][2], borrowed
} BuilderImage;

typedef struct BuilderClip {
    uint32_t position_first;
    uint32_t frame_count;
    const float *samples; // [frame_count][audio_frame], borrowed
} BuilderClip;

enum { BUILDER_IMAGES_MAX = 8, BUILDER_CLIPS_MAX = 4 };

typedef struct BuilderPrompt {
    const int32_t *tokens; // copied
    uint32_t token_count;
    BuilderImage images[BUILDER_IMAGES_MAX];
    uint32_t image_count;
    BuilderClip clips[BUILDER_CLIPS_MAX]; // of audio; a step may end inside one
    uint32_t clip_count;
    Sampling sampling;
} BuilderPrompt;

// Greedy, everything else off.
Sampling batch_builder_greedy(void);

// Aborts when there is no memory or no page left: a test's own mistake.
BatchBuilder *batch_builder_open(const BuilderOptions *options);
void batch_builder_close(BatchBuilder *builder);
uint32_t batch_builder_add(BatchBuilder *builder, const BuilderPrompt *prompt); // its index
void batch_builder_push(BatchBuilder *builder, uint32_t sequence, int32_t token);
// What the last token, pushed as a batch_token_drawn, turned out to be.
void batch_builder_settle(BatchBuilder *builder, uint32_t sequence, int32_t token);
void batch_builder_drop(BatchBuilder *builder, uint32_t sequence); // gives its pages back

uint32_t batch_builder_length(const BatchBuilder *builder, uint32_t sequence); // tokens so far

// Tokens of the sequence that are not computed yet.
uint32_t batch_builder_left(const BatchBuilder *builder, uint32_t sequence);

// Rows the next step may take without cutting an image: the largest count of at most `want`, but at
// least a whole image when the next token starts one.
uint32_t batch_builder_chunk(const BatchBuilder *builder, uint32_t sequence, uint32_t want);

// Adds the next `count` rows of a sequence to the step being built.
void batch_builder_rows(BatchBuilder *builder, uint32_t sequence, uint32_t count);

// The last `count` of the rows just added are sampled, since the tokens behind them are drafts.
void batch_builder_draft(BatchBuilder *builder, uint32_t count);

// The step; valid until the next batch_builder_rows, which starts a new one. Samples come in the
// order of the batch_builder_rows calls, for the sequences whose last token was in the step; their
// tag is the sequence's index.
Batch *batch_builder_batch(BatchBuilder *builder);

#endif
