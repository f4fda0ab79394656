// SPDX-License-Identifier: Apache-2.0
// Takes questions, gives answers, and hides what computes them: a model in this process (local.c)
// or a tessera server (remote_asker.c).
//
//   asker_open_local, asker_open_remote -> asker_model -> asker_start -> asker_run -> asker_close
//
// Of one request: next -> (wanted) -> text, text, ... -> finished. Requests run many at a time and
// finish in any order. One thread owns an Asker and makes all calls back, but that `wanted` comes
// from other threads where the model is local.
#ifndef HOST_ASKING_ASKER_H
#define HOST_ASKING_ASKER_H

#include "host/asking/model_facts.h"
#include "host/asking/remote.h"
#include "host/request/request.h"
#include "host/runtime/runtime.h"

typedef struct Asker Asker;

// ---- Opening ------------------------------------------------------------------------------------

typedef struct AskerLocalOptions {
    RuntimeOptions runtime;
    uint32_t prep_threads; // 0: one per four processors
} AskerLocalOptions;

// Opens the model. The errors of runtime_open.
Status asker_open_local(const AskerLocalOptions *options, Asker **out, Error *error);

typedef struct AskerRemoteOptions {
    RemoteTarget target;
    uint32_t in_flight; // requests at a time, at least 1
    bool batch;         // their class
    // How long a server that was lost is looked for; 0: not at all. Counts from the loss, or from
    // the first of several between which no answer came.
    uint64_t patience_ms;
    uint64_t seed; // of the pauses between the tries
} AskerRemoteOptions;

// Connects and asks about the model. Errors name the address.
Status asker_open_remote(const AskerRemoteOptions *options, Asker **out, Error *error);
void asker_close(Asker *asker); // NULL is fine

const ModelFacts *asker_model(const Asker *asker);

// ---- Asking -------------------------------------------------------------------------------------

// What an Asker makes itself ready for.
typedef struct AskerNeed {
    const Question *question; // as those that come; used by this call alone
    uint32_t media;           // of one request, at most
    size_t requests;          // in all, at most; at least 1
    bool logits;              // one request, of whose prompt AskerRun.rows takes the logits
} AskerNeed;

// Once, before the first run. The errors of runtime_start; E_UNSUPPORTED: logits of a server.
Status asker_start(Asker *asker, const AskerNeed *need, Error *error);

// Where a run takes its questions from and brings its answers to. What may be NULL says so.
typedef struct AskerRun {
    // Fills the question of a request (request.h), whose sources have paths; false: there is no
    // more.
    bool (*next)(void *context, Request *request);
    // The hash of the sources is known, or one could not be read. False: the request is unwanted
    // and goes to `finished` without more work. NULL wants everything.
    bool (*wanted)(void *context, const Request *request);
    // New text of an answer as it is made, whole UTF-8. False ends the run. May be NULL.
    bool (*text)(void *context, Request *request, AnswerPart part, Bytes text);
    // The request has its answer, or an error, or is unwanted. Once per request. False ends the
    // run.
    bool (*finished)(void *context, Request *request);
    // The logits of the next positions of the prompt, [row_count][vocabulary]. False ends the run.
    // NULL where they are not needed.
    bool (*rows)(void *context, const Request *request, const float *logits, uint32_t row_count);
    void (*tick)(void *context); // after every step and wait; may be NULL
    // A sentence for people about what goes on: the server was lost, it is back. May be NULL.
    void (*notice)(void *context, const char *sentence);
    void *context;
} AskerRun;

typedef struct AskerStats {
    uint64_t tokens_in, tokens_out; // of finished requests
} AskerStats;

// Runs until there is no more. E_CANCELLED: interrupted, or a callback said so. Other errors mean
// that nothing more can be asked (the engine failed, the server is gone and did not come back, or
// came back with another model). What had not finished then is dropped without a call. `stats` is
// filled in any case.
//
// A server that was lost is looked for (AskerRemoteOptions). When it is back, what had no answer is
// asked again, from the pictures on, and `wanted` with it; no answer comes twice. A request of
// which `text` was already told something is not asked again: the run ends.
Status asker_run(Asker *asker, const AskerRun *run, AskerStats *stats, Error *error);

#endif
