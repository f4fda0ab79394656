// SPDX-License-Identifier: Apache-2.0
// What a command needs to know of the model that answers it, be it in this process or behind a
// server: enough to fill in a question and to name the model in records.
#ifndef HOST_ASKING_MODEL_FACTS_H
#define HOST_ASKING_MODEL_FACTS_H

#include "host/runtime/runtime.h"
#include "rpc/client/client.h"

typedef struct ModelFacts {
    char name[256];       // as people call it
    char identity[40];    // hash of the weights
    char level[16];       // "bf16", "int4 g32"
    char activations[16]; // as asked for: "auto", "int8", ...
    char kv[16];
    bool vision;
    uint32_t budget;     // image tokens of a picture
    uint32_t vocabulary; // 0: not known
    Sampling sampling;   // as the model itself asks for; temperature 0: greedy. seed and logprobs 0
} ModelFacts;

ModelFacts model_facts_local(const Runtime *runtime); // after runtime_open
ModelFacts model_facts_remote(const ClientModel *model);

#endif
