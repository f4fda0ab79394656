// SPDX-License-Identifier: Apache-2.0
// The log probabilities of an answer, as numbers: of every token its own, and the likeliest at its
// place. Who writes them somewhere (the journal, a message) gives them their form there. Memory is
// kept from answer to answer.
#ifndef HOST_REQUEST_LOGPROBS_H
#define HOST_REQUEST_LOGPROBS_H

#include "base/bytes.h"
#include "scheduler/batch.h"

typedef struct AnswerChoice {
    int32_t token;
    double logprob;
    Bytes text; // of the token alone, not always whole UTF-8
} AnswerChoice;

typedef struct AnswerLogprob { // of one token
    AnswerChoice chosen;
    AnswerChoice top[BATCH_LOGPROBS_MAX]; // [top_count] descending
    uint32_t top_count;
} AnswerLogprob;

// A list of AnswerLogprob that owns the texts. Starts as zeros.
typedef struct Logprobs {
    struct LogprobsChoice *choices; // [count] each chosen one is followed by its top ones
    uint32_t count, capacity;
    Buffer texts;
    bool failed; // there was no memory; later ones are dropped
} Logprobs;

void logprobs_add(Logprobs *logprobs, const AnswerLogprob *logprob); // copies the texts

// The one at `at`, which moves on to the next; it begins at 0. False: there is none. The texts are
// views until something is added.
bool logprobs_next(const Logprobs *logprobs, uint32_t *at, AnswerLogprob *out);

void logprobs_clear(Logprobs *logprobs); // keeps the memory
void logprobs_free(Logprobs *logprobs);

#endif
