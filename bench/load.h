// SPDX-License-Identifier: Apache-2.0
// A load on a running server: requests of many users over many connections, in a closed loop (so
// many at a time), an open loop (so many a second, at random times) or at the times of a trace. One
// thread, rpc/client behind one poll. Reports what happened to every request.
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "base/bytes.h"
#include "base/status.h"

typedef struct LoadOptions {
    const char *address;
    const Bytes *tokens; // [user_count] of the users; length 0: none
    uint32_t user_count;
    uint32_t connections; // in all, dealt out to the users in turn
    // One of the three:
    uint32_t concurrency;   // closed loop: requests at a time
    double rate;            // open loop: requests a second, exponential gaps
    const double *trace_ms; // [trace_count] when each request comes
    uint32_t trace_count;
    double seconds;        // no request begins later (0: until requests_max)
    uint32_t requests_max; // 0: until `seconds`
    const Bytes *pictures; // files
    uint32_t picture_count;
    double picture_share; // of the requests that carry a picture
    const char *question;
    uint32_t max_tokens;
    uint32_t budget;
    double temperature; // -1: as the model says
    uint64_t seed;      // of arrivals and choices
    bool batch, whole;  // the batch class; answers whole instead of streamed
    bool unique; // a system turn with the number of the request: no prompt begins like another
} LoadOptions;

typedef enum LoadOutcome { LOAD_ANSWERED, LOAD_REFUSED, LOAD_FAILED } LoadOutcome;

typedef struct LoadRecord {
    uint32_t user;
    bool picture;
    LoadOutcome outcome;
    double began_ms; // when it was due: waiting for the client counts
    double first_ms; // to the first token; of whole answers to the answer
    double total_ms; // to the end; of refusals to the refusal
    uint32_t prompt_tokens, cached_tokens, output_tokens;
} LoadRecord;

typedef struct LoadReport {
    LoadRecord *records;
    uint32_t count;
    double seconds;      // from the first request to the last end
    Error first_failure; // status OK: none
} LoadReport;

// E_LOST, E_AUTH, ... when a connection cannot be made or is lost.
Status load_run(const LoadOptions *options, LoadReport *out, Error *error);
void load_free(LoadReport *report);

#endif
