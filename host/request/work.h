// SPDX-License-Identifier: Apache-2.0
// What a prep thread does for the server: prepare a request, or encode a text. A Work is lent to
// the thread from ports.work until it comes back; nobody else touches it or what it points to
// meanwhile, but that `unwanted` of the request may be set.
#ifndef HOST_REQUEST_WORK_H
#define HOST_REQUEST_WORK_H

#include "host/request/prep.h"

typedef enum WorkKind { WORK_PREPARE, WORK_TOKENIZE } WorkKind;

typedef struct Work {
    WorkKind kind;
    uint32_t tag;     // the service's own name for it
    Request *request; // PREPARE: its prep part is filled
    Bytes text;       // TOKENIZE
    TokenList ids;    // TOKENIZE: filled; emptied first
    Status status;    // TOKENIZE; of a request: request->status
    Error error;
} Work;

void work_run(Prep *prep, Work *work);

#endif
