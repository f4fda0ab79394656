// SPDX-License-Identifier: Apache-2.0
// tessera caption: a captioning job (host/jobs/job.h) with its progress, lines and summary.
#include "host/cli/command.h"

#include "base/check.h"
#include "base/file_write.h"
#include "host/cli/model_options.h"
#include "host/cli/progress.h"
#include "host/cli/say.h"
#include "host/cli/summary.h"
#include "host/interrupt.h"
#include "host/jobs/job.h"

#include <inttypes.h>
#include <string.h>

enum {
    CAPTION_IN_FLIGHT = 64,   // requests at a server, where --batch does not say
    CAPTION_PATIENCE_S = 300, // with a lost server, where --reconnect does not say
};

typedef struct CaptionCommand {
    const Options *options;
    bool remote; // --server: a server computes
    AskerLocalOptions local;
    AskerRemoteOptions server;
    Asker *asker;
    Job job;
    Progress progress;
} CaptionCommand;

// ---- What people see ----------------------------------------------------------------------------

static void caption_count(CaptionCommand *caption) {
    const JobCounts *counts = &caption->job.counts;
    caption->progress.done = counts->settled;
    caption->progress.skipped = counts->earlier;
    caption->progress.errors = counts->errors;
}

static void caption_tick(void *context) {
    CaptionCommand *caption = context;
    caption_count(caption);
    progress_tick(&caption->progress);
}

static void caption_notice(void *context, const char *sentence) {
    CaptionCommand *caption = context;
    progress_clear(&caption->progress);
    say("tessera caption: %s", sentence);
}

// The line of a picture, or its error on stderr. False: standard output does not take it.
static bool caption_settled(void *context, const JobResult *result) {
    CaptionCommand *caption = context;
    const char *path = result->path;
    Bytes text = result->text;
    progress_clear(&caption->progress);
    if (result->is_error) {
        bool named = text.length >= strlen(path) && memcmp(text.data, path, strlen(path)) == 0;
        say("tessera caption: %s%s%.*s", named ? "" : path, named ? "" : ": ", (int)text.length,
            (const char *)text.data);
        return true;
    }
    const char *output = caption->options->values[OPT_OUTPUT].text;
    if (output != NULL && strcmp(output, "-") == 0) {
        return true; // standard output has the records
    }
    return say_row(path, text);
}

static void caption_summary(const Job *job, double seconds) {
    const JobCounts *counts = &job->counts;
    const AskerStats *stats = &job->stats;
    uint64_t worked = counts->settled - counts->earlier, left = job->options.sidecars.left;
    Buffer left_out = {0}, more = {0};
    inputs_left_out_text(&job->inputs, &left_out);
    if (left > 0) {
        buffer_printf(&left_out, "%s%" PRIu64 " sidecar%s with other text",
                      left_out.length > 0 ? ", " : "", left, left == 1 ? "" : "s");
    }
    if (worked > 0) {
        buffer_printf(&more, "%.2f pictures/s (%.3f s each), %.0f tokens/s in, %.0f tokens/s out",
                      (double)worked / seconds, seconds / (double)worked,
                      (double)stats->tokens_in / seconds, (double)stats->tokens_out / seconds);
    }
    const Summary summary = {
        .things = "pictures",
        .done = "captioned",
        .all = job->inputs.count,
        .good = counts->settled - counts->errors,
        .errors = counts->errors,
        .cut = counts->cut,
        .earlier = counts->earlier,
        .left_out = (const char *)left_out.data,
        .seconds = seconds,
        .more = (const char *)more.data,
    };
    summary_print(&summary);
    buffer_free(&left_out);
    buffer_free(&more);
}

static Exit caption_interrupted(const Job *job) {
    say("tessera caption: interrupted; %s",
        job->journal != NULL ? "the same command goes on where it stopped"
                             : "with -o FILE the same command would go on from here");
    return EXIT_INTERRUPTED;
}

static Exit caption_end(CaptionCommand *caption, Status status, Error *error) {
    const Job *job = &caption->job;
    const OptionValue *v = caption->options->values;
    double seconds = progress_seconds(&caption->progress);
    bool quiet = v[OPT_QUIET].given;
    progress_end(&caption->progress);
    if (!quiet) {
        caption_summary(job, seconds);
    }
    if (job->write_status != OK) {
        return command_fail("caption", &job->write_error, EXIT_START);
    }
    if (interrupt_asked()) {
        return caption_interrupted(job);
    }
    if (status != OK) {
        command_fail("caption", error, EXIT_START);
        if (caption->remote && job->journal != NULL && status != E_UNSUPPORTED) {
            say("tessera caption: the same command goes on where it stopped");
        }
        return EXIT_START;
    }
    uint64_t worked = job->counts.settled - job->counts.earlier;
    if (v[OPT_HTML].text != NULL && job_sheet(job, (double)worked / seconds, error) != OK) {
        return command_fail("caption", error, EXIT_START);
    }
    if (job->counts.earlier_errors > 0 && !quiet) {
        say("pictures with an error record are tried again with --retry-errors");
    }
    const Sidecars *sidecars = &job->options.sidecars;
    bool in_vain = sidecars->left > 0 && sidecars->existing == SIDECAR_UNSAID;
    if (in_vain) {
        say("tessera caption: %" PRIu64 " of the sidecars exist with other text and were left; "
            "--existing overwrite replaces them, --existing skip is content with them",
            sidecars->left);
    }
    return job->counts.errors > 0 || in_vain ? EXIT_ITEMS : EXIT_GOOD;
}

// ---- Starting -----------------------------------------------------------------------------------

// All that can be judged before anything is read or opened: what is asked for has its place.
static Status caption_settings(CaptionCommand *caption, Error *error) {
    const OptionValue *v = caption->options->values;
    const char *html = v[OPT_HTML].text;
    if (caption->options->operand_count == 0) {
        return error_set(error, E_ARGUMENT,
                         "no PATH: name pictures, folders or patterns, or - for a list");
    }
    if (v[OPT_EXISTING].given && !v[OPT_SIDECAR].given) {
        return error_set(error, E_ARGUMENT, "--existing is about sidecars; add --sidecar");
    }
    if (html != NULL && strcmp(html, "-") == 0) {
        return error_set(error, E_ARGUMENT,
                         "--html -: standard output has the captions; name a file");
    }
    TRY(model_options_words(caption->options, "--prompt", bytes_of_text(v[OPT_PROMPT].text),
                            error));
    TRY(caption->remote ? model_options_answerer(caption->options, &caption->server.target, error)
                        : model_options_runtime(caption->options, &caption->local.runtime, error));
    return html != NULL ? file_write_check(html, error) : OK;
}

static Status caption_nothing(const CaptionCommand *caption, Error *error) {
    const Options *options = caption->options;
    bool is_list = strcmp(options->operands[0], "-") == 0;
    Buffer left_out = {0};
    inputs_left_out_text(&caption->job.inputs, &left_out);
    error_set(error, E_ARGUMENT, "there is no picture (" MEDIA_EXTENSIONS_TEXT ") in %s%s%s%s",
              is_list ? "the list on standard input" : options->operands[0],
              options->operand_count > 1 ? " and the others" : "",
              left_out.length > 0 ? "; left out: " : "",
              left_out.length > 0 ? (const char *)left_out.data : "");
    buffer_free(&left_out);
    return E_ARGUMENT;
}

static Sidecars caption_sidecars(const Options *options) {
    const char *existing = options->values[OPT_EXISTING].text;
    return (Sidecars){
        .wanted = options->values[OPT_SIDECAR].given,
        .journal = options->values[OPT_OUTPUT].text,
        .existing = existing == NULL                ? SIDECAR_UNSAID
                    : strcmp(existing, "skip") == 0 ? SIDECAR_SKIP
                                                    : SIDECAR_OVERWRITE,
    };
}

static Status caption_gather(CaptionCommand *caption, Error *error) {
    const Options *options = caption->options;
    Inputs *inputs = &caption->job.inputs;
    char end = options->values[OPT_NUL].given ? '\0' : '\n';
    for (uint32_t i = 0; i < options->operand_count; i++) {
        TRY(inputs_add(inputs, options->operands[i], stdin, end, error));
    }
    const JobOptions job = {
        .journal = options->values[OPT_OUTPUT].text,
        .sheet = options->values[OPT_HTML].text,
        .sidecars = caption_sidecars(options),
        .retry_errors = options->values[OPT_RETRY_ERRORS].given,
        .settled = caption_settled,
        .tick = caption_tick,
        .notice = caption_notice,
        .context = caption,
    };
    return inputs->count > 0 ? job_open(&caption->job, &job, error)
                             : caption_nothing(caption, error);
}

static Status caption_open_asker(CaptionCommand *caption, Error *error) {
    const OptionValue *v = caption->options->values;
    caption->local.prep_threads = (uint32_t)v[OPT_PREP_THREADS].number;
    caption->server.in_flight =
        v[OPT_BATCH].given ? (uint32_t)v[OPT_BATCH].number : CAPTION_IN_FLIGHT;
    caption->server.batch = true;
    model_options_reconnect(caption->options, CAPTION_PATIENCE_S, &caption->server);
    return caption->remote ? asker_open_remote(&caption->server, &caption->asker, error)
                           : asker_open_local(&caption->local, &caption->asker, error);
}

static Status caption_start(CaptionCommand *caption, Error *error) {
    Job *job = &caption->job;
    TRY(job_open_journal(job, error));
    TRY(caption_open_asker(caption, error));
    const ModelFacts *model = asker_model(caption->asker);
    if (!model->vision) {
        return error_set(error, E_UNSUPPORTED,
                         "%s: this model cannot read pictures (no vision tensors)", model->name);
    }
    job->question = model_options_question(caption->options, model,
                                           caption->options->values[OPT_PROMPT].text, false);
    const AskerNeed need = {.question = &job->question, .media = 1, .requests = job->inputs.count};
    return asker_start(caption->asker, &need, error);
}

static Exit caption_run(CaptionCommand *caption) {
    Error error = {0};
    Status status = caption_settings(caption, &error);
    if (status == OK && (status = caption_gather(caption, &error)) == E_NOT_FOUND) {
        return command_fail("caption", &error, EXIT_USAGE); // a pattern that matches nothing
    }
    interrupt_install();
    if (status == OK) {
        status = caption_start(caption, &error);
    }
    if (status != OK && interrupt_asked()) {
        return caption_interrupted(&caption->job);
    }
    if (status != OK) {
        return command_fail("caption", &error, command_start_exit(status));
    }
    progress_begin(&caption->progress, caption->job.inputs.count,
                   !caption->options->values[OPT_QUIET].given);
    status = job_run(&caption->job, caption->asker, &error);
    return caption_end(caption, status, &error);
}

Exit command_caption(const Options *options) {
    CaptionCommand caption = {.options = options, .remote = options->values[OPT_SERVER].given};
    Exit result = caption_run(&caption);
    Error error = {0};
    if (job_close(&caption.job, &error) != OK) {
        result = command_fail("caption", &error, EXIT_START);
    }
    asker_close(caption.asker);
    return result;
}
