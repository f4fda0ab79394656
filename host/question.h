// SPDX-License-Identifier: Apache-2.0
// What is asked of the model apart from the pictures: the words, how to draw tokens, when to stop.
// One Question serves many requests and never changes while they run. Texts are borrowed.
#ifndef HOST_QUESTION_H
#define HOST_QUESTION_H

#include "base/hash.h"
#include "host/model_facts.h"
#include "host/options.h"
#include "host/text/chat.h"
#include "host/text/stop.h"
#include "scheduler/batch.h"

typedef struct Question {
    const char *system; // NULL = no system turn
    const char *text;
    const Chat *chat; // a whole conversation instead of system and text; NULL = those two. The
                      // other fields of it that are set here too (thinking) are not read.
    bool thinking;
    uint32_t budget; // image tokens of a picture, at most
    uint32_t new_tokens_max;
    Sampling sampling;
    Bytes stops[STOP_STRINGS_MAX];
    uint32_t stop_count;
} Question;

// The options --system ... --logprobs of a command. What was not given is greedy, or with
// `as_model` what the model's generation_config.json says. E_ARGUMENT: a stop text.
Status question_read(const Options *options, const ModelFacts *model, const char *text,
                     bool as_model, Question *out, Error *error);

// Hash of the words, and of all else that can change an answer: drawing, stopping, image budget,
// numbers of weights, activations and cache. For the journal.
void question_hashes(const Question *question, const ModelFacts *model, char prompt[33],
                     char settings[33]);

#endif
