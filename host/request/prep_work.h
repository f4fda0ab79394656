// SPDX-License-Identifier: Apache-2.0
// What a prep thread does for its owner: prepare a request, or encode a text. A PrepWork is lent to
// the thread until it comes back; meanwhile nobody else touches it or what it points to, but that
// `unwanted` of the request may be set.
#ifndef HOST_REQUEST_PREP_WORK_H
#define HOST_REQUEST_PREP_WORK_H

#include "host/request/prep.h"

typedef enum PrepWorkKind { WORK_PREPARE, WORK_TOKENIZE } PrepWorkKind;

typedef struct PrepWork {
    PrepWorkKind kind;
    uint32_t tag;     // the service's own name for it
    Request *request; // its status and error say how it went; PREPARE: its prep part is filled
    Bytes text;       // TOKENIZE
    TokenList ids;    // TOKENIZE: filled; emptied first
} PrepWork;

void prep_work_run(Prep *prep, PrepWork *work);

#endif
