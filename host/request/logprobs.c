// SPDX-License-Identifier: Apache-2.0
#include "host/request/logprobs.h"

#include <stdlib.h>

typedef struct LogprobsChoice {
    int32_t token;
    uint32_t top_count; // of a chosen one
    double logprob;
    size_t text_begin, text_length; // in texts
} LogprobsChoice;

static bool logprobs_fit(Logprobs *logprobs, uint32_t more) {
    if (more > UINT32_MAX / 2 - logprobs->count) {
        return false;
    }
    uint32_t need = logprobs->count + more;
    if (need > logprobs->capacity) {
        uint32_t capacity = need > 64 ? need * 2 : 128;
        LogprobsChoice *choices = realloc(logprobs->choices, capacity * sizeof *choices);
        if (choices == NULL) {
            return false;
        }
        logprobs->choices = choices;
        logprobs->capacity = capacity;
    }
    return true;
}

static void logprobs_push(Logprobs *logprobs, const AnswerChoice *choice, uint32_t top_count) {
    logprobs->choices[logprobs->count++] = (LogprobsChoice){
        .token = choice->token,
        .top_count = top_count,
        .logprob = choice->logprob,
        .text_begin = logprobs->texts.length,
        .text_length = choice->text.length,
    };
    buffer_append(&logprobs->texts, choice->text.data, choice->text.length);
}

void logprobs_add(Logprobs *logprobs, const AnswerLogprob *logprob) {
    if (logprobs->failed || !logprobs_fit(logprobs, 1 + logprob->top_count)) {
        logprobs->failed = true;
        return;
    }
    logprobs_push(logprobs, &logprob->chosen, logprob->top_count);
    for (uint32_t i = 0; i < logprob->top_count; i++) {
        logprobs_push(logprobs, &logprob->top[i], 0);
    }
    logprobs->failed = logprobs->texts.failed;
}

static AnswerChoice logprobs_choice(const Logprobs *logprobs, uint32_t at) {
    const LogprobsChoice *choice = &logprobs->choices[at];
    return (AnswerChoice){
        .token = choice->token,
        .logprob = choice->logprob,
        .text = {logprobs->texts.data + choice->text_begin, choice->text_length},
    };
}

bool logprobs_next(const Logprobs *logprobs, uint32_t *at, AnswerLogprob *out) {
    if (logprobs->failed || *at >= logprobs->count) {
        return false;
    }
    out->top_count = logprobs->choices[*at].top_count;
    out->chosen = logprobs_choice(logprobs, (*at)++);
    for (uint32_t i = 0; i < out->top_count; i++) {
        out->top[i] = logprobs_choice(logprobs, (*at)++);
    }
    return true;
}

void logprobs_clear(Logprobs *logprobs) {
    logprobs->count = 0;
    logprobs->failed = false;
    buffer_clear(&logprobs->texts);
}

void logprobs_free(Logprobs *logprobs) {
    free(logprobs->choices);
    buffer_free(&logprobs->texts);
    *logprobs = (Logprobs){0};
}
