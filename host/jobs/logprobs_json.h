// SPDX-License-Identifier: Apache-2.0
// Log probabilities as people and scripts read them: a JSON array with one object for each token.
//
//   [{"id":5,"text":"a","logprob":-0.1,"top":[{"id":5,"text":"a","logprob":-0.1},...]},...]
#ifndef HOST_JOBS_LOGPROBS_JSON_H
#define HOST_JOBS_LOGPROBS_JSON_H

#include "host/request/logprobs.h"

// Appends the array, or nothing when there are none. Lack of memory is the Buffer's flag.
void logprobs_json(const Logprobs *logprobs, Buffer *out);

#endif
