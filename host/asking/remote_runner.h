// SPDX-License-Identifier: Apache-2.0
// What runner.h does with an engine, done by a server: requests from a source over the socket to a
// sink, many in flight, by one thread. What the server refuses as busy is asked again when it says.
#ifndef HOST_ASKING_REMOTE_RUNNER_H
#define HOST_ASKING_REMOTE_RUNNER_H

#include "host/asking/remote.h"
#include "host/request/request.h"

typedef struct RemoteRunnerOptions {
    Remote *remote;
    uint32_t in_flight; // requests at a time, at least 1
    bool batch;         // their class
    // As RunnerOptions have them: fills the question; sees the content; new text; has ended. False
    // of the last two ends the run.
    bool (*next)(void *context, Request *request);
    bool (*wanted)(void *context, const Request *request);                      // may be NULL
    bool (*text)(void *context, Request *request, AnswerPart part, Bytes text); // may be NULL
    bool (*finished)(void *context, Request *request);
    void (*tick)(void *context); // may be NULL
    void *context;
} RemoteRunnerOptions;

typedef struct RemoteRunnerStats {
    uint64_t tokens_in, tokens_out; // of finished requests
} RemoteRunnerStats;

// Runs until the source is dry. E_CANCELLED: interrupted, or a callback said so; E_LOST, E_DRAIN
// and others: the server is gone. What had not finished is dropped without a callback.
Status remote_runner_run(const RemoteRunnerOptions *options, RemoteRunnerStats *stats,
                         Error *error);

#endif
