// SPDX-License-Identifier: Apache-2.0
// What an answer depends on besides the picture, as two hashes: the words, and all else that can
// change it. A journal finds a record again by them.
#ifndef HOST_JOBS_JOB_KEY_H
#define HOST_JOBS_JOB_KEY_H

#include "host/asking/model_facts.h"
#include "host/request/question.h"

typedef struct JobKey {
    char prompt[33];   // of system and question text, and whether the model thinks
    char settings[33]; // drawing, stopping, image budget, numbers of weights, activations and cache
} JobKey;

JobKey job_key(const Question *question, const ModelFacts *model);

#endif
