// SPDX-License-Identifier: Apache-2.0
#include "host/jobs/logprobs_json.h"

#include "base/json_write.h"

static void logprobs_json_choice(JsonWriter *json, const AnswerChoice *choice) {
    json_write_unsigned(json, "id", (uint64_t)choice->token);
    json_write_text(json, "text", choice->text);
    json_write_real(json, "logprob", choice->logprob, 7);
}

static void logprobs_json_token(JsonWriter *json, const AnswerLogprob *logprob) {
    json_write_open(json, NULL, '{');
    logprobs_json_choice(json, &logprob->chosen);
    json_write_open(json, "top", '[');
    for (uint32_t i = 0; i < logprob->top_count; i++) {
        json_write_open(json, NULL, '{');
        logprobs_json_choice(json, &logprob->top[i]);
        json_write_close(json, '}');
    }
    json_write_close(json, ']');
    json_write_close(json, '}');
}

void logprobs_json(const Logprobs *logprobs, Buffer *out) {
    AnswerLogprob logprob;
    uint32_t at = 0;
    if (logprobs->count == 0) {
        return;
    }
    JsonWriter json = {.out = out};
    json_write_open(&json, NULL, '[');
    while (logprobs_next(logprobs, &at, &logprob)) {
        logprobs_json_token(&json, &logprob);
    }
    json_write_close(&json, ']');
}
