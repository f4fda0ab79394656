// SPDX-License-Identifier: Apache-2.0
// tessera logits: the raw logits of every position of one prompt as a NumPy file.
#include "host/cli/command.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file_write.h"
#include "host/asking/asker.h"
#include "host/cli/model_options.h"
#include "host/cli/npy.h"
#include "host/cli/summary.h"
#include "host/interrupt.h"

#include <stdlib.h>

typedef struct LogitsCommand {
    const Options *options;
    Asker *asker;
    const ModelFacts *model;
    Question question;
    RequestSource *sources; // of --image
    bool asked;
    NpyWriter npy;
    bool npy_begun;
    uint32_t position_count;
    Exit result; // of the request
    Error error;
} LogitsCommand;

static bool logits_next(void *context, Request *request) {
    LogitsCommand *job = context;
    if (job->asked) {
        return false;
    }
    job->asked = true;
    request->question = &job->question;
    request->sources = job->sources;
    request->source_count = job->options->values[OPT_IMAGE].list_count;
    return true;
}

static bool logits_fails(LogitsCommand *job, Status status) {
    job->result = status == OK ? EXIT_GOOD : EXIT_START;
    return status != OK;
}

static bool logits_rows(void *context, const Request *request, const float *rows,
                        uint32_t row_count) {
    LogitsCommand *job = context;
    if (!job->npy_begun) {
        job->position_count = request->prompt.token_count;
        job->npy_begun =
            !logits_fails(job, npy_open(job->options->values[OPT_OUTPUT].text, job->position_count,
                                        job->model->vocabulary, &job->npy, &job->error));
    }
    return job->npy_begun &&
           !logits_fails(job, npy_append(&job->npy, rows, row_count, &job->error));
}

// What the request itself is refused for: the pictures, the prompt, then the size of both.
static Exit logits_refused(const Request *request) {
    if (request->prompt.token_count > 0) {
        return EXIT_START;
    }
    return request->status == E_ARGUMENT ? EXIT_USAGE : EXIT_ITEMS;
}

static bool logits_finished(void *context, Request *request) {
    LogitsCommand *job = context;
    if (request->status != OK) {
        job->error = request->error;
        job->result = logits_refused(request);
    } else {
        logits_fails(job, npy_finish(&job->npy, &job->error));
    }
    return true;
}

// All that can be judged before anything is opened.
static Status logits_settings(const LogitsCommand *job, AskerLocalOptions *local, Error *error) {
    const OptionValue *v = job->options->values;
    if (v[OPT_TEXT].given == v[OPT_TOKENS].given || v[OPT_OUTPUT].text == NULL ||
        job->options->operand_count > 0) {
        return error_set(error, E_ARGUMENT, "give one of --text and --tokens, and -o FILE.npy");
    }
    TRY(model_options_runtime(job->options, &local->runtime, error));
    local->runtime.without_text = v[OPT_TOKENS].given;
    return file_write_check(v[OPT_OUTPUT].text, error);
}

static Status logits_start(LogitsCommand *job, const AskerLocalOptions *local, Error *error) {
    const OptionValue *v = job->options->values;
    TRY(asker_open_local(local, &job->asker, error));
    job->model = asker_model(job->asker);
    job->question = (Question){
        .form = v[OPT_TOKENS].given ? QUESTION_IDS : QUESTION_TEXT,
        .text = v[OPT_TOKENS].given ? v[OPT_TOKENS].text : v[OPT_TEXT].text,
        .budget = job->model->budget,
        .new_tokens_max = 1, // the last step draws one, which ends the request
        .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f},
    };
    TRY(model_options_sources(job->options, &job->sources, error));
    const AskerNeed need = {.question = &job->question,
                            .media = v[OPT_IMAGE].list_count,
                            .requests = 1,
                            .logits = true};
    return asker_start(job->asker, &need, error);
}

static Exit logits_work(LogitsCommand *job) {
    const AskerRun run = {
        .next = logits_next, .finished = logits_finished, .rows = logits_rows, .context = job};
    AskerStats stats;
    Error error = {0};
    job->result = EXIT_GOOD;
    Status status = asker_run(job->asker, &run, &stats, &error);
    if (status != OK && job->result == EXIT_GOOD) {
        job->error = error;
        job->result = EXIT_START;
    }
    return job->result;
}

static Exit logits_run(LogitsCommand *job) {
    AskerLocalOptions local = {0};
    Status status = logits_settings(job, &local, &job->error);
    if (status != OK) {
        return command_start_exit(status);
    }
    interrupt_install_ending();
    status = logits_start(job, &local, &job->error);
    return status == OK ? logits_work(job) : command_start_exit(status);
}

static void logits_summary(const LogitsCommand *job, bool good, double seconds) {
    char more[64] = "";
    if (good) {
        snprintf(more, sizeof more, "%u positions of %u tokens", job->position_count,
                 job->model->vocabulary);
    }
    summary_print_file("written", good, seconds, more);
}

Exit command_logits(const Options *options) {
    LogitsCommand job = {.options = options};
    uint64_t begin_ns = clock_ns();
    Exit result = logits_run(&job);
    if (result != EXIT_GOOD) {
        command_fail("logits", &job.error, result);
    }
    if (result != EXIT_USAGE && !options->values[OPT_QUIET].given) {
        logits_summary(&job, result == EXIT_GOOD, (double)(clock_ns() - begin_ns) * 1e-9);
    }
    if (job.npy_begun) {
        npy_drop(&job.npy);
    }
    asker_close(job.asker);
    free(job.sources);
    return result;
}
