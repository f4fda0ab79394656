// SPDX-License-Identifier: Apache-2.0
#include "host/model_options.h"

#include "base/check.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

static WeightLevel model_options_level(const char *name) {
    for (int level = 0; level < LEVEL_COUNT; level++) {
        if (name != NULL && strcmp(name, weight_level_name((WeightLevel)level)) == 0) {
            return (WeightLevel)level;
        }
    }
    return LEVEL_COUNT;
}

WeightsOptions model_options_weights(const Options *options) {
    const OptionValue *v = options->values;
    return (WeightsOptions){
        .level = model_options_level(v[OPT_WEIGHTS].text),
        // Not given: 32 when quantizing, whatever a packed file has when opening one.
        .group = v[OPT_GROUP].given ? (uint32_t)v[OPT_GROUP].number : 0,
        .threads = (uint32_t)v[OPT_THREADS].number,
    };
}

Status model_options_runtime(const Options *options, RuntimeOptions *out, Error *error) {
    const OptionValue *v = options->values;
    const char *model = v[OPT_MODEL].text != NULL ? v[OPT_MODEL].text : getenv("TESSERA_MODEL");
    if (model == NULL || *model == '\0') {
        return error_set(error, E_ARGUMENT,
                         "no model: give --model FOLDER (a Hugging Face folder, a packed file or "
                         "synthetic:gemma-4-12b) or set TESSERA_MODEL");
    }
    DeviceChoice device;
    int isa;
    TRY(device_choose(v[OPT_DEVICE].text, &device, error));
    TRY(device_isa(v[OPT_ISA].text, &isa, error));
    *out = (RuntimeOptions){
        .model = model,
        .weights = model_options_weights(options),
        .activation = engine_activation_named(v[OPT_ACTIVATIONS].text),
        .kv = engine_kv_named(v[OPT_KV].text),
        .device = {.choice = device,
                   .isa = isa,
                   .threads = (uint32_t)v[OPT_THREADS].number,
                   .kernels = v[OPT_KERNELS].text,
                   .cublaslt = strcmp(v[OPT_BF16_PRODUCTS].text, "cublaslt") == 0},
        .batch = v[OPT_BATCH].text != NULL ? (uint32_t)v[OPT_BATCH].number : 1,
        .batch_given = v[OPT_BATCH].given,
        .context = (uint32_t)v[OPT_CONTEXT].number,
        .budget = (uint32_t)v[OPT_BUDGET].number,
        .step_tokens = (uint32_t)v[OPT_STEP_TOKENS].number,
        .memory_bytes = v[OPT_MEMORY].number * 1024 * 1024,
        .record = v[OPT_RECORD].text,
    };
    return OK;
}

Status model_options_question(const Options *options, const ModelFacts *model, const char *text,
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

static const char *model_options_address(const Options *options) {
    const char *given = options->values[OPT_SERVER].text;
    const char *set = getenv("TESSERA_SERVER");
    return given != NULL                   ? given
           : set != NULL && set[0] != '\0' ? set
                                           : "unix:/run/tessera/tessera.sock";
}

// The token as one line, from the file or the environment; empty: none.
static Status model_options_token(const Options *options, Buffer *out, Error *error) {
    const char *path = options->values[OPT_TOKEN_FILE].text;
    if (path == NULL) {
        const char *set = getenv("TESSERA_TOKEN");
        buffer_append_text(out, set != NULL ? set : "");
        return OK;
    }
    TRY(file_read(path, 4096, out, error));
    while (out->length > 0 && strchr(" \t\r\n", out->data[out->length - 1]) != NULL) {
        out->length--;
    }
    if (out->length == 0 || out->length > CALL_TOKEN_BYTES_MAX ||
        memchr(out->data, '\n', out->length) != NULL) {
        return error_set(error, E_ARGUMENT, "%s: does not hold one line with a token", path);
    }
    return OK;
}

// What is decided where the model runs is no option with --server.
static Status model_options_check_local(const Options *options, Error *error) {
    static const OptionId local[] = {OPT_MODEL,       OPT_WEIGHTS, OPT_GROUP,  OPT_ACTIVATIONS,
                                     OPT_KV,          OPT_CONTEXT, OPT_MEMORY, OPT_DEVICE,
                                     OPT_STEP_TOKENS, OPT_ISA,     OPT_THREADS};
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++) {
        if (options->values[local[i]].given) {
            return error_set(error, E_ARGUMENT,
                             "--%s says how a model is run here; with --server the server decides",
                             option_rows[local[i]].name);
        }
    }
    return OK;
}

Status model_options_server(const Options *options, RemoteTarget *out, Error *error) {
    Buffer token = {0};
    *out = (RemoteTarget){.address = model_options_address(options)};
    Status status = model_options_token(options, &token, error);
    if (status == OK && token.length > CALL_TOKEN_BYTES_MAX) {
        status = error_set(error, E_ARGUMENT, "the token has %zu bytes; at most %d are allowed",
                           token.length, CALL_TOKEN_BYTES_MAX);
    }
    if (status == OK) {
        memcpy(out->token, token.data, token.length);
        out->token_length = token.length;
    }
    buffer_free(&token);
    return status;
}

Status model_options_answerer(const Options *options, RemoteTarget *out, Error *error) {
    TRY(model_options_check_local(options, error));
    return model_options_server(options, out, error);
}
