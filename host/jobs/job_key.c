// SPDX-License-Identifier: Apache-2.0
#include "host/jobs/job_key.h"

#include "base/bytes.h"
#include "base/hash.h"

static void job_key_hash(const Buffer *text, char out[33]) {
    hash128_text(hash128((Bytes){text->data, text->length}), out);
}

JobKey job_key(const Question *question, const ModelFacts *model) {
    JobKey key;
    Buffer text = {0};
    buffer_printf(&text, "%s%c%s%c%d", question->system != NULL ? question->system : "", '\0',
                  question->text, '\0', question->chat.thinking);
    job_key_hash(&text, key.prompt);
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
    job_key_hash(&text, key.settings);
    buffer_free(&text);
    return key;
}
