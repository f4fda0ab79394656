// SPDX-License-Identifier: Apache-2.0
#include "host/asking/model_facts.h"

#include "base/num.h"

#include <string.h>

static void facts_copy(char *out, size_t room, Bytes text) {
    size_t length = num_min(text.length, room - 1);
    memcpy(out, text.data, length);
    out[length] = '\0';
}

static const char *facts_base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

ModelFacts model_facts_local(const Runtime *runtime) {
    const GenerationDefaults *model = &runtime->weights->config.generation;
    bool drawn = model->do_sample;
    ModelFacts facts = {
        .vision = runtime->weights->config.has_vision,
        .budget = runtime_image_budget(runtime),
        .vocabulary = runtime->weights->config.vocab_count,
        .sampling =
            {
                .temperature = drawn ? model->temperature : 0,
                .top_k = drawn ? model->top_k : 0,
                .top_p = drawn ? model->top_p : 1,
                .min_p = drawn ? model->min_p : 0,
                .repetition_penalty = model->repetition_penalty,
            },
    };
    runtime_level_text(runtime, facts.level);
    facts_copy(facts.name, sizeof facts.name,
               bytes_of_text(facts_base_name(runtime->options.model)));
    facts_copy(facts.identity, sizeof facts.identity, bytes_of_text(runtime->weights->identity));
    facts_copy(facts.activations, sizeof facts.activations,
               bytes_of_text(engine_activation_name(runtime->options.activation)));
    facts_copy(facts.kv, sizeof facts.kv, bytes_of_text(engine_kv_name(runtime->options.kv)));
    return facts;
}

ModelFacts model_facts_remote(const ClientModel *model) {
    ModelFacts facts = {
        .vision = model->vision,
        .budget = model->budget,
        .sampling =
            {
                .temperature = (float)model->sampling.temperature,
                .top_k = (uint32_t)model->sampling.top_k,
                .top_p = (float)model->sampling.top_p,
                .min_p = (float)model->sampling.min_p,
                .repetition_penalty = (float)model->sampling.repetition_penalty,
            },
    };
    facts_copy(facts.name, sizeof facts.name, model->name);
    facts_copy(facts.identity, sizeof facts.identity, model->identity);
    facts_copy(facts.level, sizeof facts.level, model->weights);
    facts_copy(facts.activations, sizeof facts.activations, model->activations);
    facts_copy(facts.kv, sizeof facts.kv, model->kv);
    return facts;
}
