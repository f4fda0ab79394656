// SPDX-License-Identifier: Apache-2.0
// Sidecars: NAME.txt with the caption beside every picture. Nobody's text is overwritten unasked,
// a picture or the journal never. A sidecar is made from the caption whenever it is missing, so a
// caption that an earlier run had gets one too.
#ifndef HOST_JOBS_SIDECAR_H
#define HOST_JOBS_SIDECAR_H

#include "base/bytes.h"
#include "base/status.h"
#include "host/jobs/inputs.h"

typedef enum SidecarExisting {
    SIDECAR_UNSAID, // other text is left and counted; the caller says that it was asked for in vain
    SIDECAR_SKIP,   // other text is left and counted
    SIDECAR_OVERWRITE // other text is replaced
} SidecarExisting;

typedef struct Sidecars {
    bool wanted;
    SidecarExisting existing;
    const char *journal; // of the run, which no sidecar replaces; may be NULL
    uint64_t left;       // with other text, and left as they were
} Sidecars;

// E_ARGUMENT: two pictures would write the same sidecar; E_MEMORY.
Status sidecar_check(const Inputs *inputs, Error *error);

// The sidecar of `picture` has `caption` and a newline afterwards, or was left and counted. Errors
// are of this picture alone. E_ARGUMENT: a picture or the journal is in its place; E_IO, E_MEMORY.
Status sidecar_write(Sidecars *sidecars, const char *picture, Bytes caption, Error *error);

#endif
