// SPDX-License-Identifier: Apache-2.0
// One step of the engine as plain arrays: the only header that scheduler and model share. A Batch
// is filled by sched_plan and read by the engine until the step ends; a StepResult goes the other
// way. About memory the two sides share one word, the page number: page n of a kind is
// KV_PAGE_TOKENS consecutive positions of one sequence in every layer of that kind.
//
// Rows are tokens computed in this step, sequence after sequence, positions ascending. What a row
// may attend to is a contiguous range of positions (docs/numerics.md, masks):
//   full layers     [0, position]
//   sliding layers  [max(0, position - window + 1), max(position, last position of its image)]
// so the mask travels as one number per row, `sliding_end`. All rows of an image are in one step; a
// sound may go on in the next one.
#ifndef SCHEDULER_BATCH_H
#define SCHEDULER_BATCH_H

#include <stdbool.h>
#include <stdint.h>

enum {
    KV_PAGE_TOKENS = 16,
    BATCH_LOGPROBS_MAX = 20,
    BATCH_TOKEN_MEDIA = -1,
};

// A step may be planned while the one before it still runs. A token that the earlier one is about
// to draw is named by its place among that step's samples: sample i is the token -2 - i.
static inline int32_t batch_token_drawn(uint32_t sample) {
    return -2 - (int32_t)sample;
}

// The sample a token of a Batch stands for; tokens from BATCH_TOKEN_MEDIA up stand for none.
static inline bool batch_token_is_drawn(int32_t token) {
    return token < BATCH_TOKEN_MEDIA;
}
static inline uint32_t batch_drawn_index(int32_t token) {
    return (uint32_t)(-2 - token);
}

typedef enum PageKind { PAGE_SLIDING, PAGE_FULL, PAGE_KIND_COUNT } PageKind; // as LayerKind

// A set of tokens is a bit string: token t is bit t % 32 of word t / 32. Bits behind the vocabulary
// mean nothing.
static inline uint32_t batch_token_words(uint32_t vocab_count) {
    return vocab_count / 32 + (vocab_count % 32 != 0);
}
static inline bool batch_token_in(const uint32_t *set, uint32_t token) {
    return (set[token / 32] >> token % 32 & 1) != 0;
}

// How to draw the next token. Order: penalty, suppression, the allowed set, temperature, top_k,
// top_p, min_p, draw.
typedef struct Sampling {
    float temperature;        // 0 = greedy
    uint32_t top_k;           // 0 = off
    float top_p;              // 1 = off
    float min_p;              // 0 = off
    float repetition_penalty; // 1 = off; over prompt and output tokens, as transformers does
    uint64_t seed;            // with `draw`, the only source of randomness
    uint32_t logprobs;        // alternatives to report, at most BATCH_LOGPROBS_MAX
} Sampling;

typedef struct BatchSequence {
    uint32_t row_first, row_count;
    uint32_t position_first; // of the first row = tokens already in the cache
    // Block table of each kind: Batch.pages[kind][page_first ..+ page_count]. Entry i holds
    // positions (page_skip + i) * KV_PAGE_TOKENS and on; pages before page_skip have left the
    // window.
    uint32_t page_first[PAGE_KIND_COUNT];
    uint32_t page_count[PAGE_KIND_COUNT];
    uint32_t page_skip[PAGE_KIND_COUNT];
    // A token is drawn after each of the last `sample_rows` rows: 1, or one more for every drafted
    // token among the rows; 0: none. `draw` and `history` are those of the last one (adr 9).
    uint32_t sample_rows;
    Sampling sampling;
    // The tokens that may be drawn, a set in host memory that stays until the step has ended; NULL:
    // all. Only where one row is sampled.
    const uint32_t *allowed;
    uint64_t draw;          // index of the token drawn in its sequence: the PRNG counter
    const int32_t *history; // prompt and output so far, for the penalty; soft tokens included
    uint32_t history_count;
    uint32_t history_drawn; // 1 + i: behind `history` comes what sample i of the step before drew;
                            // 0: nothing more
    uint64_t tag;           // the scheduler's own handle, handed back in the result
} BatchSequence;

// Soft tokens of one image (or of one video frame): rows [row_first, row_first + patch_count).
typedef struct BatchImage {
    uint32_t row_first;
    uint32_t patch_count;
    const uint8_t *pixels; // [patch_count][patch_values] u8; host memory, alive until the step ends
    const uint16_t *positions; // [patch_count][2] column, row
} BatchImage;

// Soft tokens of a sound, or of a part of it: rows [row_first, row_first + frame_count) are its
// frames from frame_first on, causal as text is.
typedef struct BatchAudio {
    uint32_t row_first;
    uint32_t frame_first, frame_count;
    const float *samples; // [..][audio_frame] of the whole sound, 16 kHz, -1 .. 1; as
                          // BatchImage.pixels
} BatchAudio;

typedef struct Batch {
    uint32_t row_count;
    const int32_t *tokens;        // [row_count]; BATCH_TOKEN_MEDIA where an image or audio supplies
                                  // the row; less than that: see batch_token_drawn
    const uint32_t *positions;    // [row_count]
    const uint32_t *sliding_end;  // [row_count] exclusive end of what sliding layers see
    const uint32_t *row_sequence; // [row_count] index into sequences
    uint32_t sequence_count;
    const BatchSequence *sequences;
    uint32_t page_table_count[PAGE_KIND_COUNT];
    const uint32_t *pages[PAGE_KIND_COUNT];
    uint32_t image_count;
    const BatchImage *images;
    uint32_t audio_count;
    const BatchAudio *audios;
    // Copy-on-write, done before the step: pages copy_from[i] -> copy_to[i] of a kind.
    uint32_t copy_count[PAGE_KIND_COUNT];
    const uint32_t *copy_from[PAGE_KIND_COUNT];
    const uint32_t *copy_to[PAGE_KIND_COUNT];
    float *all_logits; // NULL, or host memory [row_count][vocab] for raw logits of every row
} Batch;

typedef struct TokenChoice {
    int32_t token;
    float logprob; // natural log, of the softmax over the model's own logits (after soft cap,
                   // suppression, penalty and the allowed set, before temperature and cuts)
} TokenChoice;

typedef struct StepSample {
    uint64_t tag;
    TokenChoice chosen;
    uint32_t top_count;
    TokenChoice top[BATCH_LOGPROBS_MAX]; // descending
} StepSample;

typedef struct StepResult {
    uint32_t sample_count; // one per sampled row, in batch order
    StepSample *samples;   // memory of the caller, room for samples_max of the engine
} StepResult;

#endif
