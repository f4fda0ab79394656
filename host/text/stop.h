// SPDX-License-Identifier: Apache-2.0
// Stop strings over a stream of text. Text goes in as it is decoded; out comes only what can no
// longer become part of a stop string, and nothing of a stop string or after it. Stop strings may
// lie across any number of pushes.
//
//     Stop stop;
//     TRY(stop_begin(&stop, strings, count, error));
//     while (...) {
//         if (stop_push(&stop, piece, &out)) { finished: a stop string was found; }
//     }
//     stop_flush(&stop, &out); // the generation ended for another reason
//     stop_end(&stop);
#ifndef HOST_TEXT_STOP_H
#define HOST_TEXT_STOP_H

#include "base/bytes.h"
#include "base/status.h"

enum { STOP_STRINGS_MAX = 64, STOP_BYTES_MAX = 1024 }; // strings, bytes of each

typedef struct Stop {
    const Bytes *strings; // [count] borrowed
    size_t count;
    Buffer held; // text that may yet be the beginning of a stop string
    int found;   // index of the stop string, -1 while none
} Stop;

// The strings and their list must outlive the Stop. E_LIMIT, E_ARGUMENT (an empty string).
Status stop_begin(Stop *stop, const Bytes *strings, size_t count, Error *error);

// Adds `text`, appends to `out` what is certain. True when a stop string has been found: of all
// that are in the text the one that begins first, so that the cut does not depend on how the text
// was divided into pushes. (So a complete one waits while an earlier beginning may yet become
// another.) From then on pushes do nothing and return true. Lack of memory shows in out->failed.
bool stop_push(Stop *stop, Bytes text, Buffer *out);

// The text has ended: appends what is still held, up to a stop string that was waiting, in which
// case it returns true.
bool stop_flush(Stop *stop, Buffer *out);

void stop_end(Stop *stop); // frees

#endif
