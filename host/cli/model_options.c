// SPDX-License-Identifier: Apache-2.0
#include "host/cli/model_options.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"

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
    if (v[OPT_RECONNECT].given) {
        return error_set(error, E_ARGUMENT,
                         "--reconnect is about a server that answers; add --server");
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

Question model_options_question(const Options *options, const ModelFacts *model, const char *text,
                                bool as_model) {
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
    Question out = {
        .system = v[OPT_SYSTEM].text,
        .text = text,
        .chat.thinking = v[OPT_THINKING].given,
        .budget = v[OPT_BUDGET].given ? (uint32_t)v[OPT_BUDGET].number : model->budget,
        .new_tokens_max = (uint32_t)v[OPT_MAX_TOKENS].number,
        .sampling = sampling,
    };
    for (uint32_t i = 0; i < v[OPT_STOP].list_count; i++) {
        out.stops[out.stop_count++] = bytes_of_text(v[OPT_STOP].list[i]);
    }
    return out;
}

Status model_options_sources(const Options *options, RequestSource **out, Error *error) {
    const OptionValue *image = &options->values[OPT_IMAGE];
    *out = calloc((size_t)image->list_count + 1, sizeof **out);
    if (*out == NULL) {
        return error_set(error, E_MEMORY, "no memory for %u pictures", image->list_count);
    }
    for (uint32_t i = 0; i < image->list_count; i++) {
        (*out)[i] = (RequestSource){.kind = MEDIA_PICTURE, .path = image->list[i]};
    }
    return OK;
}

// UTF-8 without zero bytes, which most often are UTF-16.
static Status model_options_text(const char *name, Bytes text, size_t bytes_max, Error *error) {
    size_t at;
    if (text.length == 0 || text.length > bytes_max) {
        return error_set(error, E_ARGUMENT, "%s: a text of 1 to %zu bytes is needed", name,
                         bytes_max);
    }
    if (memchr(text.data, '\0', text.length) != NULL) {
        return error_set(error, E_ARGUMENT,
                         "%s: the text has zero bytes; it must be UTF-8, which UTF-16 is not",
                         name);
    }
    if (!text_is_utf8(text, &at)) {
        return error_set(error, E_ARGUMENT, "%s: the text is not UTF-8 at byte %zu", name, at + 1);
    }
    return OK;
}

Status model_options_words(const Options *options, const char *name, Bytes question, Error *error) {
    const OptionValue *v = options->values;
    TRY(model_options_text(name, question, CALL_TEXT_BYTES_MAX, error));
    if (text_trim(question).length == 0) {
        return error_set(error, E_ARGUMENT, "%s: the text is empty; write a question", name);
    }
    if (v[OPT_SYSTEM].text != NULL && v[OPT_SYSTEM].text[0] != '\0') {
        TRY(model_options_text("--system", bytes_of_text(v[OPT_SYSTEM].text), CALL_TEXT_BYTES_MAX,
                               error));
    }
    if (v[OPT_STOP].list_count > STOP_STRINGS_MAX) {
        return error_set(error, E_ARGUMENT, "--stop: %u texts are given, at most %d are allowed",
                         v[OPT_STOP].list_count, STOP_STRINGS_MAX);
    }
    for (uint32_t i = 0; i < v[OPT_STOP].list_count; i++) {
        TRY(model_options_text("--stop", bytes_of_text(v[OPT_STOP].list[i]), STOP_BYTES_MAX,
                               error));
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

// The token from the file, NULL: from the environment; empty: none.
static Status model_options_token(const char *path, Buffer *out, Error *error) {
    if (path == NULL) {
        const char *set = getenv("TESSERA_TOKEN");
        buffer_append_text(out, set != NULL ? set : "");
        return OK;
    }
    return file_read(path, 4096, out, error);
}

// One word of UTF-8. None is fine where no file was named.
static bool model_options_is_token(Bytes line, bool needed) {
    for (size_t i = 0; i < line.length; i++) {
        if (line.data[i] <= ' ' || line.data[i] == 0x7f) {
            return false;
        }
    }
    return line.length <= CALL_TOKEN_BYTES_MAX && (line.length > 0 || !needed) &&
           text_is_utf8(line, NULL);
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
    TRY(socket_check(out->address, error));
    const char *path = options->values[OPT_TOKEN_FILE].text;
    Status status = model_options_token(path, &token, error);
    Bytes line = text_trim(text_skip_mark((Bytes){token.data, token.length}));
    if (status == OK && !model_options_is_token(line, path != NULL)) {
        status = error_set(error, E_ARGUMENT, "%s: does not hold one line with a token",
                           path != NULL ? path : "TESSERA_TOKEN");
    }
    if (status == OK && line.length > 0) {
        memcpy(out->token, line.data, line.length);
        out->token_length = line.length;
    }
    buffer_free(&token);
    return status;
}

Status model_options_answerer(const Options *options, RemoteTarget *out, Error *error) {
    TRY(model_options_check_local(options, error));
    return model_options_server(options, out, error);
}

void model_options_reconnect(const Options *options, uint32_t absent_s, AskerRemoteOptions *out) {
    const OptionValue *given = &options->values[OPT_RECONNECT];
    out->patience_ms = (given->given ? given->number : absent_s) * 1000;
    out->seed = clock_ns();
}
