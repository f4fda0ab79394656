// SPDX-License-Identifier: Apache-2.0
// A captioning job: the inputs through an Asker into a journal, sidecars and a contact sheet.
//
//   inputs -> asker -> journal -> sidecar -> settled
//
// The journal decides what is asked: an input whose record an earlier run wrote is settled from it.
// Whatever ends a run, what was settled before stands, and the next run does the rest.
//
//   inputs_add(&job.inputs, ...); job_open; job.question = ...; job_run; job_sheet; job_close
#ifndef HOST_JOBS_JOB_H
#define HOST_JOBS_JOB_H

#include "base/arena.h"
#include "host/asking/asker.h"
#include "host/jobs/inputs.h"
#include "host/jobs/job_key.h"
#include "host/jobs/journal.h"
#include "host/jobs/sidecar.h"

// An input is settled: its caption, or why there is none.
typedef struct JobResult {
    const char *path;
    bool is_error;
    Bytes text;
} JobResult;

typedef struct JobOptions {
    const char *journal; // NULL: none; "-" is standard output
    const char *sheet;   // the contact sheet; NULL: none
    Sidecars sidecars;
    bool retry_errors; // inputs whose record is an error are asked about again
    // One call for each input, as it is settled. False: it cannot be told, errno says why.
    bool (*settled)(void *context, const JobResult *result);
    void (*tick)(void *context);                         // now and then
    void (*notice)(void *context, const char *sentence); // as AskerRun has it
    void *context;
} JobOptions;

typedef struct JobCounts {
    uint64_t settled; // in all
    uint64_t errors;  // of settled
    uint64_t earlier; // of settled, by a record of an earlier run
    uint64_t earlier_errors;
    uint64_t cut; // captions of this run that --max-tokens ended
} JobCounts;

typedef struct Job {
    JobOptions options;
    Inputs inputs;     // named by the caller
    Question question; // set by the caller, who knows the model
    // The rest is the job's; others read.
    JobCounts counts;
    AskerStats stats;
    Status write_status; // what could not be written ended the run
    Error write_error;
    const ModelFacts *model;
    JobKey key;
    Journal *journal;
    struct JobItem *items; // [inputs.count]
    size_t next;
    Arena texts;
    Buffer logprobs; // of the record being written
} Job;

// The inputs are named: makes room for what becomes of them. E_ARGUMENT (two sidecars of one name),
// E_MEMORY. job_close in any case.
Status job_open(Job *job, const JobOptions *options, Error *error);

// Opens the journal. The errors of journal_open; E_ARGUMENT: the contact sheet is the journal.
Status job_open_journal(Job *job, Error *error);

// Asks about all inputs. The errors of asker_run; write_status is looked at first.
Status job_run(Job *job, Asker *asker, Error *error);

// Writes the contact sheet.
Status job_sheet(const Job *job, double pictures_per_second, Error *error);

Status job_close(Job *job, Error *error); // E_IO: the journal may not be durable

#endif
