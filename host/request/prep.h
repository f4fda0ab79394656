// SPDX-License-Identifier: Apache-2.0
// Preparing requests: read the files of the sources (or take their bytes), decode pictures, resize,
// cut into patches, build the prompt. Sounds and film frames have no reader yet: a request with one
// ends with E_UNSUPPORTED. One Prep per thread: it owns the working memory that is used again
// from request to request.
#ifndef HOST_REQUEST_PREP_H
#define HOST_REQUEST_PREP_H

#include "host/request/request.h"

typedef struct PrepRules {
    const PromptMaker *maker;
    MediaLimits limits;
    // Asked when the sources are read and their hash is known (or reading failed): false makes the
    // request `unwanted` and saves the work. Called from prep threads; NULL wants everything.
    bool (*wanted)(void *context, const Request *request);
    void *context;
} PrepRules;

typedef struct Prep {
    const PrepRules *rules;
    Buffer file;
    MediaScratch scratch;
    PromptScratch prompt_scratch;
} Prep;

// Fills the request's prep part; what goes wrong is its status and error, and harms nothing else.
// Of a request that becomes unwanted meanwhile the prep part is not to be used.
void prep_run(Prep *prep, Request *request);
void prep_free(Prep *prep);

#endif
