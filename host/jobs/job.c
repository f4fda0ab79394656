// SPDX-License-Identifier: Apache-2.0
#include "host/jobs/job.h"

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "host/jobs/html.h"
#include "host/jobs/logprobs_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef enum JobItemState { JOB_OPEN, JOB_CAPTION, JOB_ERROR } JobItemState;

// What became of one input. Written by the thread of the run; `place` by the thread that found the
// record of an earlier run, before the request comes back.
typedef struct JobItem {
    RequestSource source; // from the moment that it is asked about
    JobItemState state;
    Bytes text; // caption or error, in the arena; kept only where there is a contact sheet
    uint32_t tokens_in, tokens_out;
    double ms;
    JournalPlace place;
} JobItem;

// ---- Open and close -----------------------------------------------------------------------------

Status job_open(Job *job, const JobOptions *options, Error *error) {
    job->options = *options;
    if (options->sidecars.wanted) {
        TRY(sidecar_check(&job->inputs, error));
    }
    job->items = calloc(job->inputs.count, sizeof *job->items);
    return job->items != NULL ? OK : error_set(error, E_MEMORY, "no memory for the list");
}

Status job_open_journal(Job *job, Error *error) {
    const char *path = job->options.journal;
    const char *sheet = job->options.sheet;
    if (path == NULL) {
        return OK;
    }
    TRY(journal_open(path, &job->journal, error));
    if (journal_cut_bytes(job->journal) > 0) {
        log_event(LOG_WARN, "journal_cut", "file=%s bytes=%" PRIu64, path,
                  journal_cut_bytes(job->journal));
    }
    if (sheet != NULL && file_is_same(sheet, path)) {
        return error_set(error, E_ARGUMENT, "--html %s: is the journal; name another file", sheet);
    }
    return OK;
}

Status job_close(Job *job, Error *error) {
    Status status = journal_close(job->journal, error);
    arena_free(&job->texts);
    buffer_free(&job->logprobs);
    free(job->items);
    inputs_free(&job->inputs);
    return status;
}

// ---- Questions ----------------------------------------------------------------------------------

// The key fields of a record of one input.
static Record job_record(const Job *job, const Request *request) {
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

static bool job_next(void *context, Request *request) {
    Job *job = context;
    if (job->next == job->inputs.count) {
        return false;
    }
    RequestSource *source = &job->items[job->next].source;
    *source = (RequestSource){.kind = MEDIA_PICTURE,
                              .path = job->inputs.paths[job->next],
                              .fault = job->inputs.faults[job->next]};
    request->question = &job->question;
    request->sources = source;
    request->source_count = 1;
    request->tag = job->next++;
    return true;
}

// The record of an earlier run makes the work unnecessary.
static bool job_wanted(void *context, const Request *request) {
    Job *job = context;
    if (job->journal == NULL) {
        return true;
    }
    const Record key = job_record(job, request);
    JournalPlace place;
    if (!journal_find(job->journal, &key, &place) ||
        (place.is_error && job->options.retry_errors)) {
        return true;
    }
    job->items[request->tag].place = place;
    return false;
}

// ---- Answers ------------------------------------------------------------------------------------

static bool job_fails(Job *job, Status status) {
    job->write_status = status;
    return status != OK;
}

// Keeps a text for the contact sheet.
static void job_keep(Job *job, JobItem *item, Bytes text) {
    if (job->options.sheet == NULL) {
        return;
    }
    char *copy = arena_copy_text(&job->texts, (const char *)text.data, text.length);
    if (copy != NULL) {
        item->text = (Bytes){(const uint8_t *)copy, text.length};
    }
}

// False ends the run.
static bool job_settle(Job *job, size_t index, bool is_error, Bytes text) {
    JobItem *item = &job->items[index];
    const JobResult result = {job->inputs.paths[index], is_error, text};
    item->state = is_error ? JOB_ERROR : JOB_CAPTION;
    job_keep(job, item, text);
    job->counts.settled++;
    job->counts.errors += is_error;
    if (job->options.settled(job->options.context, &result)) {
        return true;
    }
    return !job_fails(job, error_set(&job->write_error, E_IO,
                                     "standard output cannot be written: %s", strerror(errno)));
}

// A caption is known, or why there is none. A sidecar that cannot be written is an error of this
// picture in this run; the record keeps the caption, and the next run tries the sidecar again.
static bool job_deliver(Job *job, size_t index, bool is_error, Bytes text) {
    Sidecars *sidecars = &job->options.sidecars;
    Error error;
    if (!is_error && sidecars->wanted &&
        sidecar_write(sidecars, job->inputs.paths[index], text, &error) != OK) {
        return job_settle(job, index, true, bytes_of_text(error.text));
    }
    return job_settle(job, index, is_error, text);
}

// A record of an earlier run stands for the work.
static bool job_take_old(Job *job, const Request *request) {
    JobItem *item = &job->items[request->tag];
    JournalEntry entry;
    if (job_fails(job, journal_read(job->journal, item->place, &entry, &job->write_error))) {
        return false;
    }
    item->tokens_in = entry.tokens_in;
    item->tokens_out = entry.tokens_out;
    item->ms = entry.ms;
    bool is_error = item->place.is_error;
    const Buffer *text = is_error ? &entry.error_text : &entry.caption;
    job->counts.earlier++;
    job->counts.earlier_errors += is_error;
    bool more = job_deliver(job, request->tag, is_error, (Bytes){text->data, text->length});
    journal_entry_free(&entry);
    return more;
}

static void job_fill_error(Record *record, const Request *request) {
    record->error = request->status;
    record->error_text = request->error.text;
    record->ms = (double)(request->prepared_ns - request->started_ns) * 1e-6;
}

static void job_fill_caption(Job *job, Record *record, const Request *request) {
    buffer_clear(&job->logprobs);
    logprobs_json(&request->answer.logprobs, &job->logprobs);
    record->caption = answer_trimmed(&request->answer);
    record->finish = request->answer.finish;
    record->tokens_in = request->prompt.token_count;
    record->tokens_out = request->answer.token_count;
    record->tokens_image = request->prompt.image_token_count;
    record->logprobs = (Bytes){job->logprobs.data, job->logprobs.length};
    record->ms = (double)(request->finished_ns - request->started_ns) * 1e-6;
}

static bool job_finished(void *context, Request *request) {
    Job *job = context;
    if (request->unwanted) {
        return job_take_old(job, request);
    }
    JobItem *item = &job->items[request->tag];
    Record record = job_record(job, request);
    bool is_error = request->status != OK;
    if (is_error) {
        job_fill_error(&record, request);
    } else {
        job_fill_caption(job, &record, request);
        job->counts.cut += strcmp(record.finish, "length") == 0;
    }
    if (job->logprobs.failed) {
        return !job_fails(job, error_set(&job->write_error, E_MEMORY,
                                         "no memory for the log probabilities of a record"));
    }
    item->tokens_in = record.tokens_in;
    item->tokens_out = record.tokens_out;
    item->ms = record.ms;
    if (job->journal != NULL &&
        job_fails(job, journal_append(job->journal, &record, &job->write_error))) {
        return false;
    }
    return job_deliver(job, request->tag, is_error,
                       is_error ? bytes_of_text(record.error_text) : record.caption);
}

static void job_tick(void *context) {
    const Job *job = context;
    job->options.tick(job->options.context);
}

static void job_notice(void *context, const char *sentence) {
    const Job *job = context;
    job->options.notice(job->options.context, sentence);
}

Status job_run(Job *job, Asker *asker, Error *error) {
    const AskerRun run = {
        .next = job_next,
        .wanted = job_wanted,
        .finished = job_finished,
        .tick = job_tick,
        .notice = job_notice,
        .context = job,
    };
    job->model = asker_model(asker);
    job->key = job_key(&job->question, job->model);
    return asker_run(asker, &run, &job->stats, error);
}

// ---- The contact sheet --------------------------------------------------------------------------

Status job_sheet(const Job *job, double pictures_per_second, Error *error) {
    HtmlRow *rows = calloc(job->inputs.count, sizeof *rows);
    if (rows == NULL) {
        return error_set(error, E_MEMORY, "no memory for the contact sheet");
    }
    for (size_t i = 0; i < job->inputs.count; i++) {
        const JobItem *item = &job->items[i];
        rows[i] = (HtmlRow){
            .path = job->inputs.paths[i],
            .caption = item->text,
            .error = item->state == JOB_ERROR ? (const char *)item->text.data : NULL,
            .tokens_in = item->tokens_in,
            .tokens_out = item->tokens_out,
            .ms = item->ms,
        };
    }
    const HtmlSheet sheet = {
        .model = job->model->name,
        .weights = job->model->level,
        .prompt = job->question.text,
        .rows = rows,
        .row_count = job->inputs.count,
        .errors = (size_t)job->counts.errors,
        .pictures_per_second = pictures_per_second,
    };
    Status status = html_write(job->options.sheet, &sheet, error);
    free(rows);
    return status;
}
