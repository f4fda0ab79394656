// SPDX-License-Identifier: Apache-2.0
// What a command line says of the model, of the server that answers instead, and of the question,
// as the structs that the rooms below take. Nothing below the commands knows Options.
#ifndef HOST_CLI_MODEL_OPTIONS_H
#define HOST_CLI_MODEL_OPTIONS_H

#include "host/asking/asker.h"
#include "host/cli/options.h"
#include "host/request/question.h"
#include "host/runtime/runtime.h"

// Reads the options that say which model, where and how. E_ARGUMENT (no model named),
// E_UNSUPPORTED.
Status model_options_runtime(const Options *options, RuntimeOptions *out, Error *error);

// Those that say how weights are read (--weights, --group, --threads).
WeightsOptions model_options_weights(const Options *options);

// Judges the words that go to the model, before there is one: the question, which `name` is called,
// the system and the stop texts. They are UTF-8 without zero bytes, the question is not empty.
// E_ARGUMENT names the text and the rule.
Status model_options_words(const Options *options, const char *name, Bytes question, Error *error);

// The options --system ... --logprobs of a command whose words were judged. What was not given is
// greedy, or with `as_model` what the model's generation_config.json says.
Question model_options_question(const Options *options, const ModelFacts *model, const char *text,
                                bool as_model);

// The pictures of --image in their order, for one request; free() ends them. E_MEMORY.
Status model_options_sources(const Options *options, RequestSource **out, Error *error);

// Where the server is (--server, else the environment variable TESSERA_SERVER, else the place the
// shipped unit uses) and who asks (--token-file, else TESSERA_TOKEN). E_ARGUMENT: the address or
// the token.
Status model_options_server(const Options *options, RemoteTarget *out, Error *error);
// The same for a command whose model the server runs. E_ARGUMENT: an option that only the server
// can decide is given.
Status model_options_answerer(const Options *options, RemoteTarget *out, Error *error);

// How long the server is looked for when it is lost (--reconnect), and the seed of the pauses.
void model_options_reconnect(const Options *options, uint32_t absent_s, AskerRemoteOptions *out);

#endif
