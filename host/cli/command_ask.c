// SPDX-License-Identifier: Apache-2.0
// tessera ask: one question, the answer as it is made.
#include "host/cli/command.h"

#include "base/check.h"
#include "base/json_write.h"
#include "base/standard.h"
#include "host/asking/asker.h"
#include "host/cli/model_options.h"
#include "host/cli/say.h"
#include "host/interrupt.h"
#include "host/jobs/logprobs_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ASK_PATIENCE_S = 10 }; // with a lost server, where --reconnect does not say

typedef struct AskCommand {
    const Options *options;
    bool remote; // --server: a server computes
    AskerLocalOptions local;
    AskerRemoteOptions server;
    Asker *asker;
    const ModelFacts *model;
    Question question;
    RequestSource *sources; // of --image
    const char *text;       // the question
    Buffer stdin_text;
    bool asked;
    bool cut;                          // --max-tokens ended the answer, which JSON says by itself
    bool line_open[ANSWER_PART_COUNT]; // the last byte printed of a part was not a newline
    Status status;                     // of the request
    Error error;
} AskCommand;

// All that can be judged before anything is read or opened.
static Status ask_settings(AskCommand *ask, Error *error) {
    if (ask->options->operand_count != 1) {
        return error_set(error, E_ARGUMENT, "give exactly one QUESTION, in quotes");
    }
    return ask->remote ? model_options_answerer(ask->options, &ask->server.target, error)
                       : model_options_runtime(ask->options, &ask->local.runtime, error);
}

// All of standard input, or more than a question may have of it.
static Status ask_read_stdin(Buffer *out, Error *error) {
    char chunk[4096];
    size_t count;
    while (out->length <= CALL_TEXT_BYTES_MAX &&
           (count = fread(chunk, 1, sizeof chunk, stdin)) > 0) {
        buffer_append(out, chunk, count);
    }
    if (ferror(stdin)) {
        return error_set(error, E_IO, "standard input cannot be read: %s", strerror(errno));
    }
    return out->failed ? error_set(error, E_MEMORY, "no memory for the question") : OK;
}

static Status ask_read_question(AskCommand *ask, Error *error) {
    ask->text = ask->options->operands[0];
    if (strcmp(ask->text, "-") != 0) {
        return model_options_words(ask->options, "QUESTION", bytes_of_text(ask->text), error);
    }
    TRY(ask_read_stdin(&ask->stdin_text, error));
    ask->text = (const char *)ask->stdin_text.data;
    return model_options_words(ask->options, "standard input",
                               (Bytes){ask->stdin_text.data, ask->stdin_text.length}, error);
}

static bool ask_next(void *context, Request *request) {
    AskCommand *ask = context;
    if (ask->asked) {
        return false;
    }
    ask->asked = true;
    request->question = &ask->question;
    request->sources = ask->sources;
    request->source_count = ask->options->values[OPT_IMAGE].list_count;
    return true;
}

static FILE *ask_file(AnswerPart part) {
    return part == ANSWER_TEXT ? stdout : stderr;
}

static void ask_end_line(AskCommand *ask, AnswerPart part) {
    if (ask->line_open[part]) {
        say_text(ask_file(part), bytes_of_text("\n"));
        ask->line_open[part] = false;
    }
}

static bool ask_text(void *context, Request *request, AnswerPart part, Bytes text) {
    AskCommand *ask = context;
    (void)request;
    if (ask->options->values[OPT_JSON].given || text.length == 0) {
        return true;
    }
    if (part == ANSWER_TEXT) {
        ask_end_line(ask, ANSWER_THOUGHT);
    }
    ask->line_open[part] = text.data[text.length - 1] != '\n';
    return say_text(ask_file(part), text);
}

static void ask_notice(void *context, const char *sentence) {
    (void)context;
    say("tessera ask: %s", sentence);
}

static void ask_print_json(const AskCommand *ask, const Request *request) {
    const Answer *answer = &request->answer;
    Buffer out = {0};
    JsonWriter json = {.out = &out};
    json_write_open(&json, NULL, '{');
    json_write_text(&json, "answer", answer_trimmed(answer));
    if (ask->question.chat.thinking) {
        json_write_text(&json, "thoughts", answer_thoughts(answer));
    }
    json_write_text(&json, "finish", bytes_of_text(answer->finish));
    json_write_unsigned(&json, "tokens_in", request->prompt.token_count);
    json_write_unsigned(&json, "tokens_image", request->prompt.image_token_count);
    json_write_unsigned(&json, "tokens_out", answer->token_count);
    json_write_real(&json, "ms", (double)(request->finished_ns - request->started_ns) * 1e-6, 6);
    json_write_text(&json, "model", bytes_of_text(ask->model->identity));
    json_write_text(&json, "weights", bytes_of_text(ask->model->level));
    json_write_unsigned(&json, "seed", ask->question.sampling.seed);
    if (answer->logprobs.count > 0) {
        buffer_append_text(&out, ",\"logprobs\":");
        logprobs_json(&answer->logprobs, &out);
    }
    json_write_close(&json, '}');
    buffer_append_byte(&out, '\n');
    standard_print(out.data, out.length);
    buffer_free(&out);
}

static bool ask_finished(void *context, Request *request) {
    AskCommand *ask = context;
    ask->status = request->status;
    ask->error = request->error;
    ask->cut = request->status == OK && strcmp(request->answer.finish, "length") == 0 &&
               !ask->options->values[OPT_JSON].given;
    if (request->status == OK && ask->options->values[OPT_JSON].given) {
        ask_print_json(ask, request);
    }
    ask_end_line(ask, ANSWER_THOUGHT);
    ask_end_line(ask, ANSWER_TEXT);
    return true;
}

// The model is known: what is asked of it.
static Status ask_question(AskCommand *ask, Error *error) {
    if (ask->options->values[OPT_IMAGE].list_count > 0 && !ask->model->vision) {
        return error_set(error, E_UNSUPPORTED,
                         "%s: this model cannot read pictures (no vision tensors)",
                         ask->model->name);
    }
    ask->question = model_options_question(ask->options, ask->model, ask->text, true);
    return OK;
}

static Status ask_start(AskCommand *ask, Error *error) {
    model_options_reconnect(ask->options, ASK_PATIENCE_S, &ask->server);
    TRY(ask->remote ? asker_open_remote(&ask->server, &ask->asker, error)
                    : asker_open_local(&ask->local, &ask->asker, error));
    ask->model = asker_model(ask->asker);
    TRY(ask_question(ask, error));
    TRY(model_options_sources(ask->options, &ask->sources, error));
    const AskerNeed need = {.question = &ask->question,
                            .media = ask->options->values[OPT_IMAGE].list_count,
                            .requests = 1};
    return asker_start(ask->asker, &need, error);
}

static Exit ask_run(AskCommand *ask) {
    Error error = {0};
    AskerStats stats;
    const AskerRun run = {.next = ask_next,
                          .text = ask_text,
                          .finished = ask_finished,
                          .notice = ask_notice,
                          .context = ask};
    interrupt_install();
    Status status = ask_settings(ask, &error);
    if (status == OK) {
        status = ask_read_question(ask, &error);
    }
    if (status == OK) {
        status = ask_start(ask, &error);
    }
    if (status != OK && interrupt_asked()) {
        return EXIT_INTERRUPTED;
    }
    if (status != OK) {
        return command_fail("ask", &error, command_start_exit(status));
    }
    status = asker_run(ask->asker, &run, &stats, &error);
    if (interrupt_asked()) {
        ask_end_line(ask, ANSWER_THOUGHT);
        ask_end_line(ask, ANSWER_TEXT);
        return EXIT_INTERRUPTED;
    }
    if (ferror(stdout)) {
        return EXIT_GOOD; // stopped because nobody reads: command_main says so
    }
    if (status != OK) {
        return command_fail("ask", &error, EXIT_START);
    }
    if (ask->cut) {
        say("tessera ask: the answer is cut at --max-tokens %u", ask->question.new_tokens_max);
    }
    return ask->status == OK ? EXIT_GOOD : command_fail("ask", &ask->error, EXIT_ITEMS);
}

Exit command_ask(const Options *options) {
    AskCommand ask = {
        .options = options,
        .remote = options->values[OPT_SERVER].given,
        .server.in_flight = 1,
    };
    Exit result = ask_run(&ask);
    asker_close(ask.asker);
    free(ask.sources);
    buffer_free(&ask.stdin_text);
    return result;
}
