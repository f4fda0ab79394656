// SPDX-License-Identifier: Apache-2.0
// One question to the model on its way through the process. A Request is a slot that is used again
// and again; its memory is kept from one use to the next. Who may touch what, and when:
//
//   FREE -> asked -> PREPARED -> RUNNING -> ANSWERED -> FREE
//    main thread   prep thread   main thread (step loop)
//
// The queues between prep threads and the main thread hand the whole slot over.
#ifndef HOST_REQUEST_REQUEST_H
#define HOST_REQUEST_REQUEST_H

#include "host/request/answer.h"
#include "host/request/prompt.h"

#include <stdatomic.h>

// One picture, sound or film frame as it is given; RequestMedia is what it becomes.
typedef struct RequestSource {
    MediaKind kind;
    const char *path;   // of its file; NULL: the file is in memory
    Bytes file;         // the whole file in memory
    const Error *fault; // why the path cannot be read, known already; NULL: not known
} RequestSource;

typedef struct Request {
    // The question. Set by whoever asks; borrowed until the request is free again.
    const Question *question;
    const RequestSource *sources; // [source_count] in the order of the conversation
    uint32_t source_count;
    uint64_t tag; // the asker's own name for it

    // The asker does not want it any more: set by a prep thread that was told so when it had read
    // the sources, or by the asker at any time, which ends preparing soon. The asker clears it.
    atomic_bool unwanted;

    // Filled by a prep thread.
    Status status;       // of preparing; then of the whole request
    Error error;         // when status != OK
    char content[33];    // hash of the sources' bytes, for PrepRules.wanted; "" where nothing
                         // asks, or when one could not be read
    RequestMedia *media; // [media_max]
    Prompt prompt;

    // Step loop.
    Answer answer;
    uint64_t started_ns, prepared_ns, finished_ns;
} Request;

Status request_open(Request *request, uint32_t media_max, Error *error); // E_MEMORY
void request_free(Request *request, uint32_t media_max);

// What the scheduler is given of a prepared request: its prompt, and what the question says of
// drawing and stopping. It borrows from the request until the sequence's end.
SequenceRequest request_sequence(const Request *request, const GenerationDefaults *model,
                                 uint32_t tag);

// E_UNSUPPORTED: sources of its kind cannot be read yet. The error does not name the source.
Status request_source_check(const RequestSource *source, Error *error);

// Puts source `index`, the next one, into `content`; with several the hash is that of their hashes
// in order.
void request_add_content(Request *request, Bytes file, uint32_t index);

#endif
