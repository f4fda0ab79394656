// SPDX-License-Identifier: Apache-2.0
// tessera serve: options -> runtime -> server.
#include "host/cli/command.h"

#include "base/check.h"
#include "base/log.h"
#include "base/num.h"
#include "host/cli/model_options.h"
#include "host/server/server.h"
#include "host/server/signals.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { SERVE_CONTEXT_DEFAULT = 4096, MIB = 1024 * 1024 };

typedef struct Serve {
    const Options *options;
    Server *server;
    Runtime runtime;
    PromptMaker maker;
    ModelFacts model;
} Serve;

static uint32_t serve_number(const Serve *serve, OptionId id) {
    return (uint32_t)serve->options->values[id].number;
}

static const char *serve_socket(const Serve *serve) {
    const OptionValue *v = serve->options->values;
    if (v[OPT_SOCKET].text == NULL && v[OPT_LISTEN].text == NULL) {
        return "/run/tessera/tessera.sock"; // where clients look when they are told nothing
    }
    return v[OPT_SOCKET].text;
}

static ModelResult serve_model(Serve *serve) {
    const Runtime *runtime = &serve->runtime;
    serve->model = model_facts_local(runtime);
    const ModelFacts *model = &serve->model;
    return (ModelResult){
        .name = bytes_of_text(model->name),
        .identity = bytes_of_text(model->identity),
        .weights = bytes_of_text(model->level),
        .activations = bytes_of_text(model->activations),
        .kv = bytes_of_text(model->kv),
        .context = runtime->sizes.context,
        .images = runtime->sizes.media,
        .vision = model->vision,
        .budget = model->budget,
        .sampling =
            {
                .temperature = (double)model->sampling.temperature,
                .top_k = model->sampling.top_k,
                .top_p = (double)model->sampling.top_p,
                .min_p = (double)model->sampling.min_p,
                .repetition_penalty = (double)model->sampling.repetition_penalty,
            },
    };
}

static SessionLimits serve_limits(const Serve *serve) {
    SessionLimits limits = session_limits_default();
    limits.frame.message_bytes_max = (uint64_t)serve_number(serve, OPT_MESSAGE) * MIB;
    limits.frame.binary_bytes_max = limits.frame.message_bytes_max;
    limits.idle_ms = serve_number(serve, OPT_IDLE) * 1000;
    return limits;
}

static Status serve_start(Serve *serve, RuntimeOptions *options, Error *error) {
    options->device.niceness = SERVER_NICENESS;
    Secret secret;
    TRY(secret_make(&secret, error));
    options->prefix_seed = secret_seed(&secret);
    options->prefix_per_user = serve->options->values[OPT_CACHE_PER_USER].given;
    TRY(runtime_open(options, &serve->runtime, error));
    serve->maker = prompt_maker(serve->runtime.tokenizer, &serve->runtime.weights->config);
    serve->maker.secret = secret;
    const Gemma4Config *config = &serve->runtime.weights->config;
    uint32_t requests = serve_number(serve, OPT_REQUESTS);
    const ServingSizes sizes = {
        .batch = options->batch,
        .batch_least = options->batch_given ? 0 : 1,
        .context_least = options->context != 0 ? 0 : runtime_context_least(&serve->runtime),
        // The door (admission.h) lets in `requests`; the scheduler must never be the narrower one,
        // nor keep places for others that the door has given away.
        .waiting = 2 * requests,
        .media = config->has_vision ? serve_number(serve, OPT_IMAGES) : 0,
        .context = options->context != 0
                       ? options->context
                       : (uint32_t)num_min(SERVE_CONTEXT_DEFAULT, config->position_max),
        // The only user there is keeps no place free for others.
        .users = serve->options->values[OPT_USERS].text != NULL ? USERS_MAX : 1,
    };
    return runtime_start(&serve->runtime, &sizes, error);
}

static ServerOptions serve_options(const Serve *serve) {
    const OptionValue *v = serve->options->values;
    uint32_t threads = serve_number(serve, OPT_PREP_THREADS);
    return (ServerOptions){
        .socket_path = serve_socket(serve),
        .socket_mode = (uint32_t)strtoul(v[OPT_SOCKET_MODE].text, NULL, 8),
        .listen = v[OPT_LISTEN].text,
        .users_path = v[OPT_USERS].text,
        .metrics = v[OPT_METRICS_PORT].given,
        .metrics_port = (uint16_t)v[OPT_METRICS_PORT].number,
        .metrics_file = v[OPT_METRICS_FILE].text,
        .prep_threads =
            threads != 0 ? threads : (uint32_t)num_max(uv_available_parallelism() / 4, 1),
        .drain_ms = serve_number(serve, OPT_DRAIN) * 1000,
        .connections_max = serve_number(serve, OPT_CONNECTIONS),
    };
}

static ServiceOptions serve_service(Serve *serve) {
    const OptionValue *v = serve->options->values;
    return (ServiceOptions){
        .maker = &serve->maker,
        .model = serve_model(serve),
        .session = serve_limits(serve),
        .media = media_limits_default(),
        .samples_max = serve_number(serve, OPT_REQUESTS),
        .media_max = serve->runtime.sizes.media,
        .context = serve->runtime.sizes.context,
        .queued_tokens_max = v[OPT_QUEUE_TOKENS].number,
        .blob_bytes_max = v[OPT_BLOBS].number * MIB,
        .held_bytes_max = (uint64_t)serve->options->values[OPT_HELD_BYTES].number * MIB,
        .log_prompts = v[OPT_LOG_PROMPTS].given,
        .metrics_users = v[OPT_METRICS_USERS].given,
    };
}

// The server's part comes before the model: a wrong address is not told after minutes.
static Status serve_all(Serve *serve, Error *error) {
    RuntimeOptions runtime;
    TRY(model_options_runtime(serve->options, &runtime, error));
    const ServerOptions options = serve_options(serve);
    TRY(server_open(&options, &serve->server, error));
    TRY(serve_start(serve, &runtime, error));
    const ServiceOptions service = serve_service(serve);
    return server_run(serve->server, &serve->runtime, &service, error);
}

static Exit serve_run(Serve *serve) {
    Error error = {0};
    if (serve->options->operand_count > 0) {
        error_set(&error, E_ARGUMENT, "%s: serve takes options only", serve->options->operands[0]);
        return command_fail("serve", &error, EXIT_USAGE);
    }
    if (serve_number(serve, OPT_HELD_BYTES) < 8 * (uint64_t)serve_number(serve, OPT_MESSAGE)) {
        error_set(
            &error, E_ARGUMENT,
            "--held-bytes: %u MiB are less than 8 messages of %u; raise it, or lower --message",
            serve_number(serve, OPT_HELD_BYTES), serve_number(serve, OPT_MESSAGE));
        return command_fail("serve", &error, EXIT_USAGE);
    }
    Status status = serve_all(serve, &error);
    return status == OK ? EXIT_GOOD : command_fail("serve", &error, command_start_exit(status));
}

Exit command_serve(const Options *options) {
    signals_begin();
    Serve serve = {.options = options};
    if (!options->values[OPT_LOG_LEVEL].given) {
        log_set_level("info");
    }
    Exit result = serve_run(&serve);
    server_close(serve.server);
    runtime_close(&serve.runtime);
    return result;
}
