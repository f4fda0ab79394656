// SPDX-License-Identifier: Apache-2.0
// tessera caption: inputs -> asker -> journal, lines on stdout, sidecars, contact sheet.
#include "host/cli/command.h"

#include "base/check.h"
#include "base/file.h"
#include "base/file_write.h"
#include "base/log.h"
#include "host/asking/asker.h"
#include "host/cli/model_options.h"
#include "host/cli/progress.h"
#include "host/cli/say.h"
#include "host/cli/summary.h"
#include "host/interrupt.h"
#include "host/jobs/html.h"
#include "host/jobs/inputs.h"
#include "host/jobs/job_key.h"
#include "host/jobs/journal.h"
#include "host/jobs/sidecar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef enum OutcomeState { OUTCOME_OPEN, OUTCOME_CAPTION, OUTCOME_ERROR } OutcomeState;

// What became of one input. Written by the main thread; `place` by the prep thread that found the
// record of an earlier run, before the request comes back.
typedef struct Outcome {
    OutcomeState state;
    Bytes text; // caption or error, in the arena; kept only when a report needs it
    uint32_t tokens_in, tokens_out;
    double ms;
    JournalPlace place;
} Outcome;

enum { CAPTION_IN_FLIGHT = 64 }; // requests at a server, where --batch does not say

typedef struct Caption {
    const Options *options;
    Inputs inputs;
    Journal *journal; // NULL without -o
    bool remote;      // --server: a server computes
    AskerLocalOptions local;
    AskerRemoteOptions server;
    Asker *asker;
    const ModelFacts *model;
    Question question;
    JobKey key;
    Outcome *outcomes; // [inputs.count]
    size_t next;
    uint64_t cut; // captions that --max-tokens ended
    Arena texts;
    Progress progress;
    Sidecars sidecars;
    uint64_t old_errors; // error records of an earlier run that stand
    Status write_status; // what could not be written ends the run
    Error write_error;
} Caption;

// The key fields of a record of one input.
static Record caption_record(const Caption *job, const Request *request) {
    return (Record){
        .file = job->inputs.paths[request->tag],
        .id = request->content[0] != '\0' ? request->content : NULL,
        .prompt = job->key.prompt,
        .settings = job->key.settings,
        .model = job->model->identity,
        .weights = job->model->level,
        .seed = job->question.sampling.seed,
    };
}

static bool caption_next(void *context, Request *request) {
    Caption *job = context;
    if (job->next == job->inputs.count) {
        return false;
    }
    request->question = &job->question;
    request->image_paths = &job->inputs.paths[job->next];
    request->image_count = 1;
    request->fault = job->inputs.faults[job->next];
    request->tag = job->next++;
    return true;
}

// On a prep thread: the record of an earlier run makes the work unnecessary.
static bool caption_wanted(void *context, const Request *request) {
    Caption *job = context;
    if (job->journal == NULL) {
        return true;
    }
    const Record key = caption_record(job, request);
    JournalPlace place;
    if (!journal_find(job->journal, &key, &place) ||
        (place.is_error && job->options->values[OPT_RETRY_ERRORS].given)) {
        return true;
    }
    job->outcomes[request->tag].place = place;
    return false;
}

static bool caption_fails(Caption *job, Status status) {
    job->write_status = status;
    return status != OK;
}

// Keeps a text for the contact sheet.
static void caption_keep(Caption *job, Outcome *outcome, Bytes text) {
    if (job->options->values[OPT_HTML].text == NULL) {
        return;
    }
    char *copy = arena_copy_text(&job->texts, (const char *)text.data, text.length);
    if (copy != NULL) {
        outcome->text = (Bytes){(const uint8_t *)copy, text.length};
    }
}

// The line of a picture, or its error on stderr. False: standard output does not take it.
static bool caption_print(Caption *job, const char *path, bool is_error, Bytes text) {
    progress_clear(&job->progress);
    if (is_error) {
        bool named = text.length >= strlen(path) && memcmp(text.data, path, strlen(path)) == 0;
        say("tessera caption: %s%s%.*s", named ? "" : path, named ? "" : ": ", (int)text.length,
            (const char *)text.data);
        return true;
    }
    const char *output = job->options->values[OPT_OUTPUT].text;
    if (output != NULL && strcmp(output, "-") == 0) {
        return true; // standard output has the records
    }
    return say_row(path, text);
}

// False ends the run.
static bool caption_settle(Caption *job, size_t index, bool is_error, Bytes text) {
    Outcome *outcome = &job->outcomes[index];
    outcome->state = is_error ? OUTCOME_ERROR : OUTCOME_CAPTION;
    caption_keep(job, outcome, text);
    job->progress.done++;
    job->progress.errors += is_error;
    if (caption_print(job, job->inputs.paths[index], is_error, text)) {
        return true;
    }
    return !caption_fails(job, error_set(&job->write_error, E_IO,
                                         "standard output cannot be written: %s", strerror(errno)));
}

// A caption is known, or why there is none. A sidecar that cannot be written is an error of this
// picture in this run; the record keeps the caption, and the next run tries the sidecar again.
static bool caption_deliver(Caption *job, size_t index, bool is_error, Bytes text) {
    Error error;
    if (!is_error && job->sidecars.wanted &&
        sidecar_write(&job->sidecars, job->inputs.paths[index], text, &error) != OK) {
        return caption_settle(job, index, true, bytes_of_text(error.text));
    }
    return caption_settle(job, index, is_error, text);
}

// A record of an earlier run stands for the work.
static bool caption_take_old(Caption *job, const Request *request) {
    Outcome *outcome = &job->outcomes[request->tag];
    JournalEntry entry;
    if (caption_fails(job, journal_read(job->journal, outcome->place, &entry, &job->write_error))) {
        return false;
    }
    outcome->tokens_in = entry.tokens_in;
    outcome->tokens_out = entry.tokens_out;
    outcome->ms = entry.ms;
    const Buffer *text = outcome->place.is_error ? &entry.error_text : &entry.caption;
    job->progress.skipped++;
    job->old_errors += outcome->place.is_error;
    bool more = caption_deliver(job, request->tag, outcome->place.is_error,
                                (Bytes){text->data, text->length});
    journal_entry_free(&entry);
    return more;
}

static bool caption_finished(void *context, Request *request) {
    Caption *job = context;
    if (request->unwanted) {
        return caption_take_old(job, request);
    }
    bool is_error = request->status != OK;
    uint64_t end_ns = is_error ? request->prepared_ns : request->finished_ns;
    Outcome *outcome = &job->outcomes[request->tag];
    Record record = caption_record(job, request);
    outcome->ms = record.ms = (double)(end_ns - request->started_ns) * 1e-6;
    Bytes text;
    if (is_error) {
        record.error = request->status;
        record.error_text = request->error.text;
        text = bytes_of_text(request->error.text);
    } else {
        record.caption = text = answer_trimmed(&request->answer);
        record.finish = request->answer.finish;
        job->cut += strcmp(record.finish, "length") == 0;
        outcome->tokens_in = record.tokens_in = request->prompt.token_count;
        outcome->tokens_out = record.tokens_out = request->answer.token_count;
        record.tokens_image = request->prompt.image_token_count;
        record.logprobs = answer_logprobs(&request->answer);
    }
    if (job->journal != NULL &&
        caption_fails(job, journal_append(job->journal, &record, &job->write_error))) {
        return false;
    }
    return caption_deliver(job, request->tag, is_error, text);
}

static void caption_tick(void *context) {
    Caption *job = context;
    progress_tick(&job->progress);
}

static Status caption_nothing(const Caption *job, Error *error) {
    const Options *options = job->options;
    bool is_list = strcmp(options->operands[0], "-") == 0;
    Buffer left_out = {0};
    inputs_left_out_text(&job->inputs, &left_out);
    error_set(error, E_ARGUMENT, "there is no picture (" MEDIA_EXTENSIONS_TEXT ") in %s%s%s%s",
              is_list ? "the list on standard input" : options->operands[0],
              options->operand_count > 1 ? " and the others" : "",
              left_out.length > 0 ? "; left out: " : "",
              left_out.length > 0 ? (const char *)left_out.data : "");
    buffer_free(&left_out);
    return E_ARGUMENT;
}

// All that can be judged before anything is read or opened: what is asked for has its place.
static Status caption_settings(Caption *job, Error *error) {
    const OptionValue *v = job->options->values;
    const char *html = v[OPT_HTML].text;
    if (job->options->operand_count == 0) {
        return error_set(error, E_ARGUMENT,
                         "no PATH: name pictures, folders or patterns, or - for a list");
    }
    if (v[OPT_EXISTING].given && !job->sidecars.wanted) {
        return error_set(error, E_ARGUMENT, "--existing is about sidecars; add --sidecar");
    }
    if (html != NULL && strcmp(html, "-") == 0) {
        return error_set(error, E_ARGUMENT,
                         "--html -: standard output has the captions; name a file");
    }
    TRY(model_options_words(job->options, "--prompt", bytes_of_text(v[OPT_PROMPT].text), error));
    TRY(job->remote ? model_options_answerer(job->options, &job->server.target, error)
                    : model_options_runtime(job->options, &job->local.runtime, error));
    return html != NULL ? file_write_check(html, error) : OK;
}

static Status caption_gather(Caption *job, Error *error) {
    const Options *options = job->options;
    char end = options->values[OPT_NUL].given ? '\0' : '\n';
    for (uint32_t i = 0; i < options->operand_count; i++) {
        TRY(inputs_add(&job->inputs, options->operands[i], stdin, end, error));
    }
    if (job->inputs.count == 0) {
        return caption_nothing(job, error);
    }
    if (job->sidecars.wanted) {
        TRY(sidecar_check(&job->inputs, error));
    }
    job->outcomes = calloc(job->inputs.count, sizeof *job->outcomes);
    return job->outcomes != NULL ? OK : error_set(error, E_MEMORY, "no memory for the list");
}

static Status caption_open_journal(Caption *job, Error *error) {
    const char *output = job->options->values[OPT_OUTPUT].text;
    const char *html = job->options->values[OPT_HTML].text;
    if (output == NULL) {
        return OK;
    }
    TRY(journal_open(output, &job->journal, error));
    if (journal_cut_bytes(job->journal) > 0) {
        log_event(LOG_WARN, "journal_cut", "file=%s bytes=%" PRIu64, output,
                  journal_cut_bytes(job->journal));
    }
    if (html != NULL && file_is_same(html, output)) {
        return error_set(error, E_ARGUMENT, "--html %s: is the journal; name another file", html);
    }
    return OK;
}

// The model is known: what is asked of it.
static Status caption_question(Caption *job, Error *error) {
    if (!job->model->vision) {
        return error_set(error, E_UNSUPPORTED,
                         "%s: this model cannot read pictures (no vision tensors)",
                         job->model->name);
    }
    job->question = model_options_question(job->options, job->model,
                                           job->options->values[OPT_PROMPT].text, false);
    job->key = job_key(&job->question, job->model);
    return OK;
}

static Status caption_start(Caption *job, Error *error) {
    const OptionValue *v = job->options->values;
    TRY(caption_open_journal(job, error));
    job->local.prep_threads = (uint32_t)v[OPT_PREP_THREADS].number;
    job->server.in_flight = v[OPT_BATCH].given ? (uint32_t)v[OPT_BATCH].number : CAPTION_IN_FLIGHT;
    job->server.batch = true;
    TRY(job->remote ? asker_open_remote(&job->server, &job->asker, error)
                    : asker_open_local(&job->local, &job->asker, error));
    job->model = asker_model(job->asker);
    TRY(caption_question(job, error));
    const AskerNeed need = {.question = &job->question, .images = 1, .requests = job->inputs.count};
    return asker_start(job->asker, &need, error);
}

static Status caption_html(const Caption *job, double pictures_per_second, Error *error) {
    HtmlRow *rows = calloc(job->inputs.count, sizeof *rows);
    if (rows == NULL) {
        return error_set(error, E_MEMORY, "no memory for the contact sheet");
    }
    for (size_t i = 0; i < job->inputs.count; i++) {
        const Outcome *outcome = &job->outcomes[i];
        rows[i] = (HtmlRow){
            .path = job->inputs.paths[i],
            .caption = outcome->text,
            .error = outcome->state == OUTCOME_ERROR ? (const char *)outcome->text.data : NULL,
            .tokens_in = outcome->tokens_in,
            .tokens_out = outcome->tokens_out,
            .ms = outcome->ms,
        };
    }
    const HtmlSheet sheet = {
        .model = job->model->name,
        .weights = job->model->level,
        .prompt = job->question.text,
        .rows = rows,
        .row_count = job->inputs.count,
        .errors = (size_t)job->progress.errors,
        .pictures_per_second = pictures_per_second,
    };
    Status status = html_write(job->options->values[OPT_HTML].text, &sheet, error);
    free(rows);
    return status;
}

static void caption_summary(const Caption *job, const AskerStats *stats, double seconds) {
    const Progress *p = &job->progress;
    uint64_t worked = p->done - p->skipped;
    Buffer left_out = {0}, more = {0};
    inputs_left_out_text(&job->inputs, &left_out);
    if (job->sidecars.left > 0) {
        buffer_printf(&left_out, "%s%" PRIu64 " sidecar%s with other text",
                      left_out.length > 0 ? ", " : "", job->sidecars.left,
                      job->sidecars.left == 1 ? "" : "s");
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
        .good = p->done - p->errors,
        .errors = p->errors,
        .cut = job->cut,
        .earlier = p->skipped,
        .left_out = (const char *)left_out.data,
        .seconds = seconds,
        .more = (const char *)more.data,
    };
    summary_print(&summary);
    buffer_free(&left_out);
    buffer_free(&more);
}

static Exit caption_end(Caption *job, Status status, const AskerStats *stats, Error *error) {
    double seconds = progress_seconds(&job->progress);
    uint64_t worked = job->progress.done - job->progress.skipped;
    bool quiet = job->options->values[OPT_QUIET].given;
    progress_end(&job->progress);
    if (!quiet) {
        caption_summary(job, stats, seconds);
    }
    if (job->write_status != OK) {
        return command_fail("caption", &job->write_error, EXIT_START);
    }
    if (interrupt_asked()) {
        say("tessera caption: interrupted; %s",
            job->journal != NULL ? "the same command goes on where it stopped"
                                 : "with -o FILE the same command would go on from here");
        return EXIT_INTERRUPTED;
    }
    if (status != OK) {
        command_fail("caption", error, EXIT_START);
        if (job->remote && job->journal != NULL) {
            say("tessera caption: the same command goes on where it stopped");
        }
        return EXIT_START;
    }
    if (job->options->values[OPT_HTML].text != NULL &&
        caption_html(job, (double)worked / seconds, error) != OK) {
        return command_fail("caption", error, EXIT_START);
    }
    if (job->old_errors > 0 && !quiet) {
        say("pictures with an error record are tried again with --retry-errors");
    }
    bool in_vain = job->sidecars.left > 0 && job->sidecars.existing == SIDECAR_UNSAID;
    if (in_vain) {
        say("tessera caption: %" PRIu64 " of the sidecars exist with other text and were left; "
            "--existing overwrite replaces them, --existing skip is content with them",
            job->sidecars.left);
    }
    return job->progress.errors > 0 || in_vain ? EXIT_ITEMS : EXIT_GOOD;
}

static Status caption_work(Caption *job, AskerStats *stats, Error *error) {
    const AskerRun run = {
        .next = caption_next,
        .wanted = caption_wanted,
        .finished = caption_finished,
        .tick = caption_tick,
        .context = job,
    };
    return asker_run(job->asker, &run, stats, error);
}

static Exit caption_run(Caption *job) {
    Error error = {0};
    AskerStats stats = {0};
    Status status = caption_settings(job, &error);
    if (status == OK && (status = caption_gather(job, &error)) == E_NOT_FOUND) {
        return command_fail("caption", &error, EXIT_USAGE); // a pattern that matches nothing
    }
    interrupt_install();
    if (status == OK) {
        status = caption_start(job, &error);
    }
    if (status != OK) {
        return command_fail("caption", &error, command_start_exit(status));
    }
    progress_begin(&job->progress, job->inputs.count, !job->options->values[OPT_QUIET].given);
    status = caption_work(job, &stats, &error);
    return caption_end(job, status, &stats, &error);
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

Exit command_caption(const Options *options) {
    Caption job = {
        .options = options,
        .remote = options->values[OPT_SERVER].given,
        .sidecars = caption_sidecars(options),
    };
    Exit result = caption_run(&job);
    Error error = {0};
    if (journal_close(job.journal, &error) != OK) {
        result = command_fail("caption", &error, EXIT_START);
    }
    asker_close(job.asker);
    arena_free(&job.texts);
    free(job.outcomes);
    inputs_free(&job.inputs);
    return result;
}
