// SPDX-License-Identifier: Apache-2.0
// A golden model case (tests/golden/model/make_model.py) and a way to run it: the checkpoint, the
// prompt, and what transformers computed; an engine on a chosen instruction set; logits and greedy
// tokens through the paged cache in steps of a chosen size.
#ifndef TESTS_SUPPORT_MODEL_CASE_H
#define TESTS_SUPPORT_MODEL_CASE_H

#include "cpu/cpu.h"
#include "model/engine.h"
#include "tests/support/batch_builder.h"
#include "tests/support/npy.h"

// The last of all names is the deep one. It comes behind the others because what a rounding costs
// it says nothing of a level: 48 random layers enlarge it.
enum { CASE_GREEDY = 64, CASE_NAMES = 10, CASE_NAMES_DEEP = 11 };

extern const char *const model_case_names[CASE_NAMES_DEEP];

typedef struct ModelCase {
    Weights *weights;
    BuilderPrompt prompt;
    Npy tokens, spans, positions, pixels, clips, samples;
    Npy logits; // f32 [T][vocab]
    Npy greedy; // i32 [CASE_GREEDY]
    Npy distance;
    double bar; // what our logits may be off in f32: the larger of 2e-4 and three times what those
                // of transformers in f32 are off theirs in f64
} ModelCase;

// Opens tests/golden/model/NAME; LEVEL_COUNT is the level that holds its numbers exactly: as
// stored, but f32 for the case in f16, which would otherwise become bf16. E_* of whatever is
// missing.
Status model_case_open(const char *name, WeightLevel level, uint32_t group, ModelCase *out,
                       Error *error);
void model_case_close(ModelCase *model_case);

typedef struct RunOptions {
    const Backend *backend; // NULL: the CPU's, as the next two say; stays open
    CpuIsa isa;
    uint32_t threads; // 0 = 1
    bool eager;
    EngineActivation activation;
    EngineKv kv;
    uint32_t rows;      // of a prefill step; 0 = the whole prompt at once
    uint64_t page_seed; // order of the pages
} RunOptions;

// An engine and a builder of the same shape, with room for `sequences` times `tokens`.
enum { MODEL_RUN_DRAFTS = 4 }; // rows of one sequence that a step may sample

typedef struct ModelRun {
    Backend backend;
    bool backend_ours; // to close
    Engine *engine;
    BatchBuilder *builder;
    uint32_t vocab_count;
    StepSample *samples; // [sequences]
} ModelRun;

Status model_run_open(const Weights *weights, const RunOptions *options, uint32_t sequences,
                      uint32_t tokens, ModelRun *out, Error *error);
void model_run_close(ModelRun *run);

// Runs one step of what the builder holds. `all_logits` NULL, or [rows][vocab].
Status model_run_step(ModelRun *run, float *all_logits, StepResult *result, Error *error);

// Whole prompts in the first step, then a token of every sequence a step: counts[s] tokens are
// drawn of sequence s. Every other step takes the sequences in reverse order, so that a sample
// rarely has the place of the one before. `ahead`: the next step is begun before one ends. `out`
// has the samples of every step, one behind the other.
Status model_run_decode(ModelRun *run, uint32_t sequences, const uint32_t *counts, bool ahead,
                        StepSample *out, Error *error);

// What is wanted of a prompt alone: the logits of its positions and the tokens after it.
typedef struct CaseOutput {
    float *logits;   // [T][vocab], or NULL
    int32_t *tokens; // [token_count], or NULL
    uint32_t token_count;
} CaseOutput;

Status model_run_case(const Weights *weights, const BuilderPrompt *prompt,
                      const RunOptions *options, CaseOutput out, Error *error);

// Of the logits of one position, [vocab]: the largest difference over the largest of theirs. NaN
// where one of ours is NaN.
double model_position_error(const float *ours, const float *theirs, size_t vocab);

#endif
