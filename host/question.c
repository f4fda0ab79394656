// SPDX-License-Identifier: Apache-2.0
#include "host/question.h"

#include "base/bytes.h"

Status question_read(const Options *options, const ModelFacts *model, const char *text,
                     bool as_model, Question *out, Error *error) {
    const OptionValue *v = options->values;
    const Sampling *own = &model->sampling;
    bool drawn = as_model && own->temperature > 0 && !v[OPT_TEMPERATURE].given;
    Sampling sampling = {
        .temperature = drawn ? own->temperature : (float)v[OPT_TEMPERATURE].real,
        .top_k = drawn ? own->top_k : 0,
        .top_p = drawn ? own->top_p : 1.0f,
        .min_p = drawn && !v[OPT_MIN_P].given ? own->min_p : (float)v[OPT_MIN_P].real,
        .repetition_penalty = as_model && !v[OPT_REPETITION_PENALTY].given
                                  ? own->repetition_penalty
                                  : (float)v[OPT_REPETITION_PENALTY].real,
        .seed = v[OPT_SEED].number,
        .logprobs = (uint32_t)v[OPT_LOGPROBS].number,
    };
    if (v[OPT_TOP_K].given) {
        sampling.top_k = (uint32_t)v[OPT_TOP_K].number;
    }
    if (v[OPT_TOP_P].given) {
        sampling.top_p = (float)v[OPT_TOP_P].real;
    }
    *out = (Question){
        .system = v[OPT_SYSTEM].text,
        .text = text,
        .thinking = v[OPT_THINKING].given,
        .budget = v[OPT_BUDGET].given ? (uint32_t)v[OPT_BUDGET].number : model->budget,
        .new_tokens_max = (uint32_t)v[OPT_MAX_TOKENS].number,
        .sampling = sampling,
    };
    if (v[OPT_STOP].list_count > STOP_STRINGS_MAX) {
        return error_set(error, E_ARGUMENT, "--stop: %u texts are given, at most %d are allowed",
                         v[OPT_STOP].list_count, STOP_STRINGS_MAX);
    }
    for (uint32_t i = 0; i < v[OPT_STOP].list_count; i++) {
        Bytes stop = bytes_of_text(v[OPT_STOP].list[i]);
        if (stop.length == 0 || stop.length > STOP_BYTES_MAX) {
            return error_set(error, E_ARGUMENT, "--stop: a text of 1 to %d bytes is needed",
                             STOP_BYTES_MAX);
        }
        out->stops[out->stop_count++] = stop;
    }
    return OK;
}

static void question_hash_text(const Buffer *text, char out[33]) {
    hash128_text(hash128((Bytes){text->data, text->length}), out);
}

void question_hashes(const Question *question, const ModelFacts *model, char prompt[33],
                     char settings[33]) {
    Buffer text = {0};
    buffer_printf(&text, "%s%c%s%c%d", question->system != NULL ? question->system : "", '\0',
                  question->text, '\0', question->thinking);
    question_hash_text(&text, prompt);
    buffer_clear(&text);
    const Sampling *s = &question->sampling;
    buffer_printf(&text, "%u %u %a %u %a %a %a %llu %u %s %s %s", question->budget,
                  question->new_tokens_max, (double)s->temperature, s->top_k, (double)s->top_p,
                  (double)s->min_p, (double)s->repetition_penalty, (unsigned long long)s->seed,
                  s->logprobs, model->level, model->activations, model->kv);
    for (uint32_t i = 0; i < question->stop_count; i++) {
        buffer_append_byte(&text, '\0');
        buffer_append(&text, question->stops[i].data, question->stops[i].length);
    }
    question_hash_text(&text, settings);
    buffer_free(&text);
}
